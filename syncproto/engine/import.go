package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// record is a state record, or a compressed update, in our terms: what a peer
// tells of one connection.
type record struct {
	name        pfstate.ID
	side        pfstate.Side
	af, proto   uint8
	orig, reply pfstate.Tuple
	zone        [2]uint16
	src, dst    pfstate.Peer
	timeout     uint8
	expire      uint32 // seconds left
	age         uint32 // seconds
	counts      pfstate.Counts
	compressed  bool // an UPD_C: no tuples, nothing but the halves
	ackWanted   bool
	carried     bool // the sender carries it
	unsure      bool // or it would if nobody else did
	linux       bool // the sender is a Linux
	isNew       bool // an INS

	mark     uint32
	status   uint32 // with statusOf
	statusOf bool
	tcpFlags [2]uint8 // 0: nothing odd
	ext      pfstate.Extra
	extOf    bool
	state    uint8           // SCTP, DCCP
	pf       pfstate.Foreign // what only a pf tells
	other    pfstate.ID      // Linux: the name of the other half of a pair
	expects  []pfstate.Expect
}

// familyOf translates a family of the wire; 0 if it is none.
func familyOf(wire uint8) uint8 {
	switch wire {
	case syncproto.FamilyIPv4:
		return pfstate.AFInet
	case syncproto.FamilyIPv6OpenBSD, syncproto.FamilyIPv6FreeBSD:
		return pfstate.AFInet6
	}
	return 0
}

// fromWire reads a record (pf_state_import). The reason says why a Linux
// kernel cannot hold it, or why we do not take it.
func (e *Engine) fromWire(x *rx, f syncproto.Format, w *syncproto.State, m *record) (Reason, bool) {
	*m = record{
		name: pfstate.ID{ID: w.ID, CreatorID: w.CreatorID}, proto: w.Proto,
		timeout: w.Timeout, expire: w.Expire, age: w.Creation,
		ackWanted: w.StateFlags&syncproto.FlagAck != 0, linux: x.info != nil,
		counts:  pfstate.Counts{Packets: w.Packets, Bytes: w.Bytes},
		expects: e.scratch.expect[:0],
	}
	if w.CreatorID == 0 {
		return ReasonCreatorZero, false
	}
	if w.StateFlags&syncproto.FlagNoSync != 0 {
		return ReasonNoSync, false
	}
	if why, is := unfit(f, w); is {
		return why, false
	}
	wire, _ := w.Families(f)
	m.af = familyOf(wire)
	m.keys(f, w)
	m.src, m.dst = peerFromWire(&w.Src), peerFromWire(&w.Dst)
	if x.info == nil {
		m.foreign(f, w)
		m.carried = !x.peer.sending
		if m.expire == 0 { // pf restarts the timeout (pfsync-protocol.md section 10)
			m.expire = e.timeoutOf(m)
		}
	} else {
		m.carried = x.info.Flags&syncproto.InfoCarried != 0
		if m.proto == pfstate.ProtoTCP && w.StateFlags&syncproto.FlagSloppy == 0 {
			m.foreign(f, w) // a pf's, told by a third
		}
	}
	m.readExtras(x)
	return 0, true
}

// keys makes the two tuples of the two keys (pfsync-protocol.md section 8;
// design section 5, direction and pairs).
func (m *record) keys(f syncproto.Format, w *syncproto.State) {
	wk, sk := &w.Key[syncproto.KeyWire], &w.Key[syncproto.KeyStack]
	src, dst := 0, 1
	m.side = pfstate.SideIn
	if w.Direction == syncproto.DirOut {
		src, dst = 1, 0
		m.side = pfstate.SideOut
	}
	before := wk // the packet before translation
	if m.side == pfstate.SideOut {
		before = sk
	}
	// FreeBSD 13 and earlier tell the id of ICMP twice and not the type.
	twice := f == syncproto.Format1301 && before.Port[0] == before.Port[1]
	wt, st := m.tuple(wk, src, dst, twice), m.tuple(sk, src, dst, twice)
	if m.side == pfstate.SideOut {
		m.orig, m.reply = st, wt.Inverse(m.proto)
	} else {
		m.orig, m.reply = wt, st.Inverse(m.proto)
	}
}

func (m *record) tuple(k *syncproto.Key, src, dst int, twice bool) (t pfstate.Tuple) {
	n := 16
	if m.af == pfstate.AFInet {
		n = 4
	}
	copy(t.Src[:n], k.Addr[src][:])
	copy(t.Dst[:n], k.Addr[dst][:])
	switch m.proto {
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		t.SrcPort = k.Port[src]
		typ := k.Port[dst]
		if twice {
			typ = 8
			if m.proto == pfstate.ProtoICMPv6 {
				typ = 128
			}
		}
		t.DstPort = typ << 8
	default:
		if hasPorts(m.proto) {
			t.SrcPort, t.DstPort = k.Port[src], k.Port[dst]
		}
	}
	return t
}

func peerFromWire(w *syncproto.Peer) pfstate.Peer {
	return pfstate.Peer{
		SeqLo: w.SeqLo, SeqHi: w.SeqHi, SeqDiff: w.SeqDiff, TSMod: w.ScrubTSMod,
		MaxWin: w.MaxWin, MSS: w.MSS, ScrubFlags: w.ScrubFlags & 1, ScrubTTL: w.ScrubTTL, ScrubValid: w.ScrubValid,
		State: w.State, WScale: w.WScale,
	}
}

// timeoutOf is how long our kernel keeps an entry that is as the record says,
// seconds.
func (e *Engine) timeoutOf(m *record) uint32 {
	var state uint8
	if m.proto == pfstate.ProtoTCP {
		state, _ = pfstate.TCPFromPeers(m.src.State, m.dst.State)
	}
	return e.cfg.Timeouts.For(m.proto, state, pfstate.StatusFromPeers(m.proto, m.src.State, m.dst.State))
}

// fromUpdC reads a compressed update of a known state.
func (e *Engine) fromUpdC(x *rx, u *syncproto.UpdC, s *pfstate.State, m *record) {
	*m = record{
		name: pfstate.ID{ID: u.ID, CreatorID: u.CreatorID}, compressed: true, af: s.AF, proto: s.Proto,
		src: peerFromWire(&u.Src), dst: peerFromWire(&u.Dst), timeout: u.Timeout,
		mark: s.Mark, linux: x.info != nil, carried: true, expects: e.scratch.expect[:0],
	}
	if x.info != nil {
		m.carried = x.info.Flags&syncproto.InfoCarried != 0
	}
	m.readExtras(x)
	state := s.ProtoState
	if s.Proto == pfstate.ProtoTCP {
		state, _ = pfstate.TCPFromPeers(max(m.src.State, s.Src.State), max(m.dst.State, s.Dst.State))
	}
	m.expire = e.cfg.Timeouts.For(s.Proto, state, s.Status|pfstate.StatusFromPeers(s.Proto, m.src.State, m.dst.State))
}

// readExtras takes what the Linux region tells about the state.
func (m *record) readExtras(x *rx) {
	var ex syncproto.Extra
	for i := 1; i < x.extra.Whole(); i++ {
		if syncproto.ParseExtra(x.extra.Message(i), &ex) != nil || ex.ID != m.name.ID || ex.CreatorID != m.name.CreatorID {
			continue
		}
		for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
			m.readTLV(t, v)
		}
	}
}

func (m *record) readTLV(t syncproto.TLV, v []byte) {
	switch t {
	case syncproto.TLVMark:
		_ = syncproto.ParseUint32(v, &m.mark) // too short: stays 0
	case syncproto.TLVStatus:
		m.statusOf = syncproto.ParseUint32(v, &m.status) == nil
	case syncproto.TLVCarried:
		m.carried = true
	case syncproto.TLVUnsure:
		m.unsure = true
	case syncproto.TLVZone:
		var z syncproto.Zone
		if syncproto.ParseZone(v, &z) == nil {
			m.zone = [2]uint16{z.Orig, z.Reply}
		}
	case syncproto.TLVTCP:
		var p syncproto.TCP
		if syncproto.ParseTCP(v, &p) == nil {
			m.tcpFlags = [2]uint8{p.Flags[0] &^ pfstate.TCPFlagLiberal, p.Flags[1] &^ pfstate.TCPFlagLiberal}
		}
	case syncproto.TLVICMPCode:
		var code uint8
		if syncproto.ParseICMPCode(v, &code) == nil {
			m.orig.DstPort |= uint16(code)
			m.reply.DstPort |= uint16(code)
		}
	case syncproto.TLVGRE:
		var g syncproto.GRE
		if syncproto.ParseGRE(v, &g) == nil {
			m.orig.SrcPort, m.orig.DstPort = g.Orig[0], g.Orig[1]
			m.reply.SrcPort, m.reply.DstPort = g.Reply[0], g.Reply[1]
		}
	case syncproto.TLVPair:
		var p syncproto.Pair
		if syncproto.ParsePair(v, &p) == nil {
			m.readPair(&p)
		}
	default:
		m.readRareTLV(t, v)
	}
}

func (m *record) readRareTLV(t syncproto.TLV, v []byte) {
	ext := &m.ext
	switch t {
	case syncproto.TLVLabels:
		if syncproto.ParseLabels(v, &ext.Labels) == nil {
			ext.Has |= pfstate.HasLabels
		}
	case syncproto.TLVHelper:
		ext.Helper = [16]byte{}
		copy(ext.Helper[:15], v)
		ext.Has |= pfstate.HasHelper
	case syncproto.TLVSCTP:
		var p syncproto.SCTP
		if syncproto.ParseSCTP(v, &p) == nil {
			m.state, ext.VTag = p.State, p.VTag
		}
	case syncproto.TLVDCCP:
		var p syncproto.DCCP
		if syncproto.ParseDCCP(v, &p) == nil {
			m.state, ext.DCCPRole, ext.DCCPSeq = p.State, p.Role, p.HandshakeSeq
		}
	case syncproto.TLVSeqAdj:
		var p [2]syncproto.SeqAdj
		if syncproto.ParseSeqAdj(v, &p) == nil {
			ext.SeqAdj = [2]pfstate.SeqAdj{pfstate.SeqAdj(p[0]), pfstate.SeqAdj(p[1])}
			ext.Has |= pfstate.HasSeqAdj
		}
	case syncproto.TLVSynproxy:
		if syncproto.ParseSynproxy(v, (*syncproto.Synproxy)(&ext.Proxy)) == nil {
			ext.Has |= pfstate.HasSynproxy
		}
	case syncproto.TLVMaster:
		if !m.readMaster(v) {
			return
		}
	case syncproto.TLVExpect:
		m.readExpect(v)
		return
	default:
		return
	}
	m.extOf = true
}

// extraFlag reports whether the Linux region has a TLV of type t about id.
func (e *Engine) extraFlag(x *rx, id pfstate.ID, t syncproto.TLV) bool {
	var ex syncproto.Extra
	for i := 1; i < x.extra.Whole(); i++ {
		if syncproto.ParseExtra(x.extra.Message(i), &ex) == nil && ex.ID == id.ID && ex.CreatorID == id.CreatorID {
			if _, ok := syncproto.FindTLV(ex.TLVs, t); ok {
				return true
			}
		}
	}
	return false
}

// flow is the kernel entry that the record stands for, for filters.
func (m *record) flow() pfstate.Flow {
	return pfstate.Flow{Orig: m.orig, Reply: m.reply, AF: m.af, Proto: m.proto, Zone: m.zone, Mark: m.mark, Labels: m.ext.Labels}
}

// insert makes a state of a record about a connection nobody here knows.
func (e *Engine) insert(x *rx, m *record) {
	f := m.flow()
	switch {
	case e.cfg.Filter.Match(&f):
		e.refuse(x, m, ReasonNoSync)
		return
	case !x.peer.admitInsert(x.now):
		e.refuse(x, m, ReasonRateInsert)
		return
	case !e.roomFor() && !e.evictFor(x, m):
		e.refuse(x, m, ReasonMaxStates)
		return
	case m.expire == 0 && m.linux:
		return // over before it came
	}
	if dead, killed := e.deadHere(x, m); dead {
		e.buried.put(m.name, killed) // what is said of it before that is heard is hearsay
		e.deleteName(x.now, m.name, killed)
		return
	}
	r, s := e.tab.Alloc(m.af, m.proto)
	s.Orig, s.Reply, s.Zone = m.orig, m.reply, m.zone
	s.Created = x.now - int64(m.age)*second
	s.Flags = pfstate.FlagImported | pfstate.FlagAnnounced
	s.Source = sourceOf(x, m)
	e.tab.LinkTuples(r)
	if dead, side, ok := e.tab.ByName(m.name); ok {
		e.tab.ClearName(dead, side) // of an earlier connection, which the kernel is to delete
	}
	e.tab.SetName(r, m.side, m.name)
	e.take(x.now, r, m, true, true)
	e.expectUsed(s)
	e.countRoute(m)
	e.imported = true
	e.onlyPF.writes(x.peer, m.name)
	e.wantOp(r, pfstate.OpCreate)
	e.acknowledge(x.now, r, m)
}

// refuse: a peer's state is not taken.
func (e *Engine) refuse(x *rx, m *record, why Reason) {
	e.reason(why)
	e.refusals.put(x, m.name, why)
	e.checkRefused(m.name, why)
}

// deadHere reports whether the record names an entry that our kernel had and
// has no more, and nobody carries: it ended while nobody had claimed it, or
// while no daemon ran here.
func (e *Engine) deadHere(x *rx, m *record) (dead, killed bool) {
	if !e.claim.active {
		return m.isNew && e.endedBetweenRuns(x, m), false
	}
	elsewhere := !m.linux || m.carried
	f := m.flow()
	t, buried := e.claim.tombs[keyOf(&f)]
	switch {
	case t.killed:
		return true, true
	case buried && !elsewhere && !m.isNew && x.now-e.idleThere(m) <= t.last+refreshSlack:
		return true, false
	}
	return e.endedBetweenRuns(x, m), false
}

// take copies the contents of a record into a state: src and dst say which
// halves. Times are taken where the record is evidence. changed says that what
// few states have is other than before.
func (e *Engine) take(now int64, r pfstate.Ref, m *record, src, dst bool) (changed bool) {
	s := e.tab.At(r)
	if src && m.src.State >= s.Src.State { // the other half of a pair may be further
		takePeer(&s.Src, &m.src)
	}
	if dst && m.dst.State >= s.Dst.State {
		takePeer(&s.Dst, &m.dst)
	}
	if m.statusOf {
		s.Status |= m.status&(pfstate.StatusSeenReply|pfstate.StatusAssured|pfstate.StatusFixedTimeout) | pfstate.StatusConfirmed
	} else {
		s.Status |= pfstate.StatusFromPeers(s.Proto, s.Src.State, s.Dst.State)
	}
	was := s.ProtoState
	if s.Proto == pfstate.ProtoTCP {
		s.ProtoState, _ = pfstate.TCPFromPeers(s.Src.State, s.Dst.State)
	} else if m.state != 0 {
		s.ProtoState = m.state
	}
	if m.linux {
		takeTCPFlags(s, m.tcpFlags)
	}
	s.Timeout = pfstate.TimeoutIndex(s.Proto, s.Src.State, s.Dst.State)
	changed = e.takeExtra(now, s, m)
	e.tab.CountPeer(r, m.counts)
	s.LastPeer = now
	if m.carried && s.Has(pfstate.FlagCarried) && now-s.LastLocal > opSettle && e.later(now, s, m) {
		e.setCarried(s, false) // they have seen the latest packet
	}
	expire := now + int64(m.expire)*second
	switch {
	case m.carried && s.Carried(): // it passes there too
		s.Expire = max(s.Expire, expire)
	case m.carried, !m.compressed && !s.Carried(): // hearsay is no sign of life
		s.Expire = expire
	}
	if s.ProtoState != was || !src || !dst { // what closes has not the time of what was open
		s.Expire = min(s.Expire, now+int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status))*second)
	}
	e.takeWords(now, s, m, src, dst)
	return e.takeModulation(s, m) || changed
}

// takeTCPFlags takes over what a Linux peer finds worth telling of the kernel's
// flags; 0 is that they are as of nearly all connections.
func takeTCPFlags(s *pfstate.State, flags [2]uint8) {
	_, odd := s.OddTCP()
	if flags == [2]uint8{} && !odd {
		return
	}
	for i := range flags {
		s.TCPFlags[i] = flags[i] | s.TCPFlags[i]&pfstate.TCPFlagLiberal
	}
}

// later reports whether the sender of a record has seen a packet after the
// last that we know of. A state about to expire there says nothing.
func (e *Engine) later(now int64, s *pfstate.State, m *record) bool {
	return m.compressed || int64(m.expire)*second > refreshSlack && e.idleThere(m) <= e.idle(now, s)
}

// takePeer takes over one half; what a record leaves out stays.
func takePeer(to, from *pfstate.Peer) {
	wscale, mss := to.WScale, to.MSS
	*to = *from
	if to.WScale == 0 {
		to.WScale = wscale
	}
	if to.MSS == 0 {
		to.MSS = mss
	}
}

// takeExtra takes over what few states have, and reports whether that changed
// what our kernel shall have.
func (e *Engine) takeExtra(now int64, s *pfstate.State, m *record) (changed bool) {
	if m.linux && !m.compressed {
		s.Mark = m.mark
		changed = e.takeExpects(now, s, m)
	}
	if !m.extOf {
		return changed
	}
	ext := e.tab.NeedExtra(s)
	was := *ext
	*ext = m.ext
	ext.Foreign = was.Foreign
	keepAdjusted(ext, &was)
	return changed || *ext != was
}
