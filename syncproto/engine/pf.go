package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// What is different towards a pf (design section 5, pairs and to pf; measured
// in linux-facts section 9):
//
//   - It needs two states for a forwarded connection. What passes here gets a
//     second name of ours, and both are always sent in one frame.
//   - A TCP state that it made itself is strict: it checks sequence numbers,
//     and Linux has none. Under such a name it hears nothing of ours but the
//     delete: only a pf's own words are repeated, unchanged, to who asks. Once
//     the connection passes here, one frame deletes the pf's names and inserts
//     both states under ours, with sloppy tracking.

// toPF reports whether a pf may be listening: a peer without Linux region was
// heard in the last hour, or we were told to speak as one that has none.
func (e *Engine) toPF(now int64) bool {
	return e.cfg.Format != syncproto.Format6 || now < e.peers.pf
}

// foreign is what a pf told of the state's side, nil if none did.
func (e *Engine) foreign(s *pfstate.State, side pfstate.Side) *pfstate.Foreign {
	if s.Ext == 0 || side > pfstate.SideOut {
		return nil
	}
	if f := &e.tab.Extra(s).Foreign[side]; f.Set {
		return f
	}
	return nil
}

// endedAtPF: a pf has deleted one of its names of a state. It never takes ours
// for what it has itself, so when ours are all that is left the connection has
// ended, unless it passes here.
func (e *Engine) endedAtPF(x *rx, r pfstate.Ref) {
	s := e.tab.At(r)
	if x.info != nil || s.Carried() {
		return
	}
	for side := range pfstate.Sides {
		if id := s.Name(side); !id.IsZero() && !e.ours(id) {
			return
		}
	}
	for side := range pfstate.Sides {
		if id := s.Name(side); !id.IsZero() {
			e.deleteName(x.now, id, false)
		}
	}
	e.erase(r, false)
}

// words is the same if it is still the last that is known of that side: if
// nothing has passed here since.
func (e *Engine) words(s *pfstate.State, side pfstate.Side) *pfstate.Foreign {
	if f := e.foreign(s, side); f != nil && f.Halves {
		return f
	}
	return nil
}

// strictSide reports whether the name of a side is one that a pf gave to a TCP
// state with sequence numbers.
func (e *Engine) strictSide(s *pfstate.State, side pfstate.Side) bool {
	f := e.foreign(s, side)
	return f != nil && s.Proto == pfstate.ProtoTCP && f.StateFlags&syncproto.FlagSloppy == 0 && !s.Name(side).IsZero()
}

func (e *Engine) strict(s *pfstate.State) bool {
	return e.strictSide(s, pfstate.SideIn) || e.strictSide(s, pfstate.SideOut)
}

// takesOver reports whether a pf has to be told that its connection passes
// here now.
func (e *Engine) takesOver(now int64, s *pfstate.State) bool {
	return s.Carried() && e.strict(s) && e.toPF(now) && !e.leftStrict(now, s)
}

// mayTell reports whether the state can be told under its names. If not it is
// off its queue, or on the one for what is taken over.
func (e *Engine) mayTell(now int64, r pfstate.Ref) bool {
	s := e.tab.At(r)
	if !e.strict(s) || !e.toPF(now) {
		return true
	}
	if s.Carried() && !e.leftStrict(now, s) {
		e.enqueue(now, r, qTake)
		e.dueBy(now)
		return false
	}
	for side := range pfstate.SideAlias {
		if !s.Name(side).IsZero() && e.words(s, side) == nil {
			e.dequeue(r)
			return false
		}
	}
	return true
}

// staleHalves reports which halves of a record are behind what we have. A pf's
// state is compared with what pfs told of that state: the two of a pair are
// told one after the other, and a connection moves on between.
func (e *Engine) staleHalves(s *pfstate.State, m *record) (src, dst bool) {
	if f := e.words(s, m.side); f != nil && !m.linux && s.Name(m.side) == m.name {
		return staleWords(s.Proto, &f.Src, &m.src, true), staleWords(s.Proto, &f.Dst, &m.dst, false)
	}
	return staleHalf(s.Proto, &s.Src, &m.src, true), staleHalf(s.Proto, &s.Dst, &m.dst, false)
}

// staleWords is staleHalf where both sides know sequence numbers
// (pfsync-protocol.md section 11, OpenBSD).
func staleWords(proto uint8, have, got *pfstate.Peer, src bool) bool {
	if proto == pfstate.ProtoTCP && have.State == got.State {
		return int32(have.SeqLo-got.SeqLo) > 0
	}
	return staleHalf(proto, have, got, src)
}

// takeWords keeps what a pf told: all of a state's first record, then halves
// and times; a pf changes no more than these of a state that it has. Of what
// passes here its halves are old and not kept.
func (e *Engine) takeWords(now int64, s *pfstate.State, m *record, src, dst bool) {
	if m.side > pfstate.SideOut || s.Name(m.side) != m.name || !m.pf.Set && s.Ext == 0 {
		return
	}
	first := false
	if m.pf.Set {
		if f := &e.tab.NeedExtra(s).Foreign[m.side]; !f.Set {
			*f, first = m.pf, true
		}
	}
	f := e.foreign(s, m.side)
	if f == nil || s.Has(pfstate.FlagCarried) {
		return
	}
	if m.linux {
		if m.carried { // it passes there now
			e.dropWords(s)
		}
		return
	}
	if src || first {
		takePeer(&f.Src, &m.src)
	}
	if dst || first {
		takePeer(&f.Dst, &m.dst)
	}
	f.Halves = f.Halves || first || src && dst
	f.Timeout = m.timeout
	expire := now + int64(m.expire)*second
	if m.compressed {
		f.Expire = now + int64(pfTimeout(m.timeout))*second
		return
	}
	if !m.carried {
		expire = max(expire, f.Expire) // a copy knows no better than who told it
	}
	f.Expire = expire
	if o := e.words(s, m.side.Other()); o != nil && f.Halves { // of a pair the longer counts
		s.Expire = max(s.Expire, o.Expire)
	}
}

// pfTimeout is pf's default of a timeout index, seconds (pfsync-protocol.md
// section 7.1). Those of SCTP are not known; TCP's stand in.
func pfTimeout(i uint8) uint32 {
	defaults := [...]uint32{120, 30, 86400, 900, 45, 90, 60, 30, 60, 20, 10, 60, 30, 60,
		20: 120, 21: 30, 22: 86400, 23: 900, 24: 90}
	if int(i) < len(defaults) {
		return defaults[i]
	}
	return 0
}

// dropWords: something has passed at a Linux, so what a pf told is old.
func (e *Engine) dropWords(s *pfstate.State) {
	for side := range pfstate.SideAlias {
		if f := e.foreign(s, side); f != nil {
			f.Halves = false
		}
	}
}

// nameSide gives a state another name of a side. What a pf told under the old
// one goes.
func (e *Engine) nameSide(r pfstate.Ref, side pfstate.Side, id pfstate.ID) {
	s := e.tab.At(r)
	if f := e.foreign(s, side); f != nil && s.Name(side) != id {
		*f = pfstate.Foreign{}
	}
	e.tab.SetName(r, side, id)
	e.kept.drop(id)
}

// second gives a connection that passes here the second name that a pf wants
// to hear, and returns the queue as which it is to be sent: a name that nobody
// knows needs a full record.
func (e *Engine) second(now int64, r pfstate.Ref, q uint8) uint8 {
	s := e.tab.At(r)
	side := s.MainSide()
	if !e.toPF(now) || !s.Carried() || !s.Name(side.Other()).IsZero() || e.foreign(s, side) != nil {
		return q
	}
	e.nameSide(r, side.Other(), e.newName())
	if q == qUpdC {
		return qUpd
	}
	return q
}

// maxTakes is how many connections one frame takes over at most.
const maxTakes = 16

// fillTakes puts in the connections that pfs made and that pass here now. The
// deletes come first: a pf keeps the state that it has.
func (e *Engine) fillTakes(now int64, f *frame) bool {
	for e.queues[qTake].Len() > 0 {
		takes, n := e.takesFor(now, f)
		if n == 0 {
			return e.queues[qTake].Len() == 0
		}
		for _, r := range takes[:n] {
			for side := range pfstate.Sides {
				if id := e.tab.At(r).Name(side); !id.IsZero() {
					e.addDelete(f, id, false)
				}
			}
		}
		for i, r := range takes[:n] {
			e.adopt(r)
			e.dequeue(r)
			if !e.addState(now, f, r, qIns, false) {
				for _, r := range takes[i:n] { // an MTU too small for a pair
					e.adopt(r)
					e.enqueue(now, r, qIns)
				}
				return false
			}
		}
	}
	return true
}

// takesFor picks the next states of the queue that have room together. One
// always has in an empty frame.
func (e *Engine) takesFor(now int64, f *frame) (takes [maxTakes]pfstate.Ref, n int) {
	length, tlvs := 0, 0
	for r := e.queues[qTake].Head(); r != 0 && n < maxTakes; {
		s, next := e.tab.At(r), e.tab.NextOn(&e.queues[qTake], r)
		if !e.takesOver(now, s) {
			e.dequeue(r) // carried elsewhere meanwhile
			r = next
			continue
		}
		length += syncproto.SubheaderLen/2 + int(pfstate.Sides)*syncproto.IDLen + 2*syncproto.ActIns.Length(e.cfg.Format)
		tlvs = max(tlvs, e.extrasBound(now, s))
		if !e.fits(f, 2*(n+1), length+syncproto.SubheaderLen, tlvs) && !(n == 0 && f.w.Empty()) {
			break
		}
		takes[n], r = r, next
		n++
	}
	return takes, n
}

// adopt makes a pf's state one of ours: our names, no sequence numbers, bound
// to no interface or rule of the pf.
func (e *Engine) adopt(r pfstate.Ref) {
	s := e.tab.At(r)
	e.tab.ClearName(r, pfstate.SideAlias)
	for side := range pfstate.SideAlias {
		e.tab.SetName(r, side, e.newName())
		if f := e.foreign(s, side); f != nil {
			f.StateFlags |= syncproto.FlagSloppy
			f.IfName, f.Rule, f.Anchor, f.Halves = ifAll, syncproto.NoRule, syncproto.NoRule, false
		}
	}
	s.Set(pfstate.FlagImported, false)
	for _, p := range [...]*pfstate.Peer{&s.Src, &s.Dst} {
		*p = pfstate.Peer{State: p.State, WScale: p.WScale, MSS: p.MSS}
	}
}

// readPair completes a Linux peer's record of one of two states.
func (m *record) readPair(p *syncproto.Pair) {
	m.other = pfstate.ID(p.Other)
	addr, port := &m.reply.Dst, &m.reply.DstPort
	icmp := m.proto == pfstate.ProtoICMP || m.proto == pfstate.ProtoICMPv6
	switch {
	case m.side == pfstate.SideOut:
		addr, port = &m.orig.Dst, &m.orig.DstPort
	case icmp:
		port = &m.reply.SrcPort
	}
	*addr = p.Addr
	if hasPorts(m.proto) || icmp && m.side == pfstate.SideIn {
		*port = p.Port
	}
}

// pairOf is what the record of a side cannot tell by its keys.
func pairOf(s *pfstate.State, side pfstate.Side) syncproto.Pair {
	p := syncproto.Pair{Other: syncproto.ID(s.Name(side.Other())), Addr: s.Reply.Dst, Port: s.Reply.DstPort}
	switch {
	case side == pfstate.SideOut:
		p.Addr, p.Port = s.Orig.Dst, s.Orig.DstPort
	case s.Proto == pfstate.ProtoICMP || s.Proto == pfstate.ProtoICMPv6:
		p.Port = s.Reply.SrcPort
	}
	return p
}

// hasPorts reports whether the keys of a protocol tell ports.
func hasPorts(proto uint8) bool {
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoUDPLite, pfstate.ProtoSCTP, pfstate.ProtoDCCP:
		return true
	}
	return false
}

// otherKnown finds the state of which the record is the other half by name.
func (e *Engine) otherKnown(m *record) (pfstate.Ref, bool) {
	if m.other.IsZero() {
		return 0, false
	}
	r, side, ok := e.tab.ByName(m.other)
	if !ok || side != m.side.Other() || e.tab.At(r).Has(pfstate.FlagDead) || !e.tab.At(r).Name(m.side).IsZero() {
		return 0, false
	}
	return r, true
}
