package engine

import (
	"github.com/pfsync/pfsync/pfstate"
)

// updateAlias takes a record under a name that lost: its sender has yet to
// learn the one that stays.
func (e *Engine) updateAlias(x *rx, r pfstate.Ref, m *record) {
	e.deferKnown(r, DeferUpdated)
	s := e.tab.At(r)
	e.vouch(x, s, m)
	if !m.compressed {
		if m.orig == s.Reply && m.reply == s.Orig {
			m.reverse()
		}
		e.merge(x.now, r, m)
	}
	e.answer(x.now, r)
}

// updateKnown takes a record about a state that is known by name.
func (e *Engine) updateKnown(x *rx, r pfstate.Ref, m *record) {
	e.deferKnown(r, DeferUpdated)
	s := e.tab.At(r)
	e.vouch(x, s, m)
	if !m.carried && !s.Has(pfstate.FlagInKernel) && int64(m.expire)*second <= refreshSlack {
		return // it is over there too
	}
	asked := s.Flags & (pfstate.FlagRefused | pfstate.FlagDoubted)
	stale := e.merge(x.now, r, m)
	if stale > 0 {
		e.count(CountStale)
		e.pushC(x.now, r)
	}
	if asked == pfstate.FlagRefused|pfstate.FlagDoubted { // gotOther knows more now
		e.wantOp(r, pfstate.OpGet)
	}
	if stale < 2 && s.Tries > 0 && (m.carried || s.Tries&triesDenied == 0) {
		s.Tries = 0
		e.reason(ReasonRevived)
	}
	e.acknowledge(x.now, r, m)
}

// acknowledge answers a record that asks for it under the name that the record
// has, of the two of a pf's pair, as soon as the kernel has the connection.
func (e *Engine) acknowledge(now int64, r pfstate.Ref, m *record) {
	if !m.ackWanted {
		return
	}
	s := e.tab.At(r)
	s.Set(pfstate.FlagAckOut, m.side == pfstate.SideOut)
	if s.Has(pfstate.FlagInKernel) && s.Op == 0 && s.InFlight == 0 {
		e.ack(now, r)
	} else {
		s.Flags |= pfstate.FlagAckWanted
	}
}

// merge lets a record change a state (pfsync-protocol.md section 11, OpenBSD's
// rules: a half never goes back), asks the kernel to follow, and returns how
// many halves of the record were stale.
func (e *Engine) merge(now int64, r pfstate.Ref, m *record) (stale int) {
	s := e.tab.At(r)
	if m.linux && !m.carried && s.Carried() && !handshake(s, m) && !e.endedLater(now, s, m) {
		s.LastPeer = now
		if s.Proto == pfstate.ProtoTCP && (m.src.State > s.Src.State || m.dst.State > s.Dst.State) {
			e.doubted(now, r)
		}
		return 0 // hearsay: what passes here is newer
	}
	s.Flags &^= pfstate.FlagDoubted
	was := *s
	srcOld, dstOld := e.staleHalves(s, m)
	switch {
	case srcOld && dstOld:
		s.LastPeer = now
		return 2
	case srcOld || dstOld:
		stale = 1
	}
	changed := e.take(now, r, m, !srcOld, !dstOld)
	e.follow(r, &was, changed)
	return stale
}

// endedLater reports whether a record is of an end that was seen after the last
// packet here.
func (e *Engine) endedLater(now int64, s *pfstate.State, m *record) bool {
	return !m.compressed && s.Proto == pfstate.ProtoTCP && min(m.src.State, m.dst.State) > pfstate.PFEstablished &&
		e.idleThere(m)+refreshSlack < e.idle(now, s)
}

// rename gives a state that is carried here another of our names, because a
// peer has contents under the old one that belong to another connection, and
// a half never goes back.
func (e *Engine) rename(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Queue == qIns || s.Op != 0 || s.InFlight != 0 || now-s.LastLocal < opSettle {
		return
	}
	e.reason(ReasonLater)
	for side := range pfstate.Sides {
		if id := s.Name(side); !id.IsZero() {
			e.deleteName(now, id, true)
			e.tab.ClearName(r, side)
		}
	}
	s.Flags &^= pfstate.FlagAnnounced
	s.LastLocal = now
	e.nameIt(now, r)
}

// handshake reports whether a record is further than we are in what two
// firewalls see a half each of: that can do no harm.
func handshake(s *pfstate.State, m *record) bool {
	there := max(m.src.State, m.dst.State)
	return s.Proto != pfstate.ProtoTCP || there < pfstate.PFEstablished ||
		there == pfstate.PFEstablished && max(s.Src.State, s.Dst.State) < pfstate.PFEstablished
}

// disown gives a connection that passes here another of our names, for the
// one it has is another connection's: two hosts gave out the same, because they
// had one hostid or because a clock was set back.
func (e *Engine) disown(now int64, r pfstate.Ref) {
	e.reason(ReasonHostidClash)
	e.unsureEnd(e.tab.At(r))
	for side := range pfstate.Sides {
		e.tab.ClearName(r, side)
	}
	e.dequeue(r)
	e.tab.At(r).Flags &^= pfstate.FlagAnnounced
	e.nameIt(now, r)
}

// staleHalf reports whether a received half is behind the stored one. A seqlo
// of 0 is not known: Linux has none to tell.
func staleHalf(proto uint8, have, got *pfstate.Peer, src bool) bool {
	if proto != pfstate.ProtoTCP {
		return have.State > got.State
	}
	if have.State == got.State {
		return got.SeqLo != 0 && have.SeqLo != 0 && int32(have.SeqLo-got.SeqLo) > 0
	}
	if src && have.State >= pfstate.PFProxySrc && got.State < pfstate.PFProxySrc {
		return false // a synproxy has finished its handshake
	}
	return have.State > got.State
}

// follow asks the kernel to do what a peer's record changed: at once where
// contents changed; a mere sign of life only when the entry's time runs short
// of it, for a busy pf sends thousands a second (design section 5, liveness).
// changed says that what few states have did.
func (e *Engine) follow(r pfstate.Ref, was *pfstate.State, changed bool) {
	s := e.tab.At(r)
	switch {
	case s.Has(pfstate.FlagRefused), s.Has(pfstate.FlagDead):
	case !s.Has(pfstate.FlagInKernel):
		e.wantOp(r, pfstate.OpCreate)
	case s.Src.State != was.Src.State || s.Dst.State != was.Dst.State || s.Status&^was.Status != 0 ||
		s.Mark != was.Mark || s.ProtoState != was.ProtoState || isOdd(s) != isOdd(was) || changed || e.handedOver(s, was):
		e.wantOp(r, pfstate.OpUpdate)
	default:
		full := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status)) * second
		// Never less than the kernel has: packets may pass here meanwhile, and
		// tell nothing.
		if s.Expire-s.KernExpire > full/4 && s.Expire-s.LastPeer > refreshSlack {
			e.wantOp(r, pfstate.OpUpdate)
		}
	}
}

func isOdd(s *pfstate.State) bool {
	_, odd := s.OddTCP()
	return odd
}

// sameEnds reports whether a record is about the connection that the state of
// its name is: the same original tuple or, for the half that a pf has of a
// translated one, the same tuple on its inner side.
func (e *Engine) sameEnds(s *pfstate.State, m *record) bool {
	if m.compressed || s.Orig == m.orig || s.Reply == m.reply {
		return true
	}
	return s.Orig == m.reply
}

// match finds the state of a record that is not known by name: by its original
// tuple, as exact reverse, or as the other half of a pf's pair.
func (e *Engine) match(m *record) pfstate.Ref {
	r, reply, ok := e.tab.ByTuple(&m.orig, m.af, m.proto, m.zone[0])
	if ok && !reply {
		return r
	}
	if ok && e.tab.At(r).Orig == m.reply {
		m.reverse()
		return r
	}
	if m.linux {
		return 0
	}
	return e.otherHalf(m)
}

// reverse turns the record to the direction in which we have the connection.
func (m *record) reverse() {
	m.orig, m.reply = m.reply, m.orig
	m.zone[0], m.zone[1] = m.zone[1], m.zone[0]
	m.src, m.dst = m.dst, m.src
	m.tcpFlags[0], m.tcpFlags[1] = m.tcpFlags[1], m.tcpFlags[0]
	m.counts = m.counts.Reversed()
	x := &m.ext
	x.VTag[0], x.VTag[1] = x.VTag[1], x.VTag[0]
	x.SeqAdj[0], x.SeqAdj[1] = x.SeqAdj[1], x.SeqAdj[0]
	x.DCCPRole ^= 1
	x.Has &^= pfstate.HasSynproxy // it means nothing the other way
	x.Proxy = pfstate.Synproxy{}
	m.expects = m.expects[:0] // their directions would have to be turned too
}

// otherHalf finds the State of which a pf's record is the other side: both
// have the same endpoints on the stack side (design section 5, pairs).
func (e *Engine) otherHalf(m *record) pfstate.Ref {
	if m.side == pfstate.SideIn { // its stack side is the inverse of reply; that is the orig of the out half
		t := m.reply.Inverse(m.proto)
		if r, reply, ok := e.tab.ByTuple(&t, m.af, m.proto, m.zone[0]); ok && !reply {
			return r
		}
		return 0
	}
	t := m.orig.Inverse(m.proto) // the reply tuple of an in half that translates
	if r, reply, ok := e.tab.ByTuple(&t, m.af, m.proto, m.zone[1]); ok && reply {
		return r
	}
	if r, reply, ok := e.tab.ByTuple(&m.reply, m.af, m.proto, m.zone[1]); ok && reply { // translated both ways, and known whole
		if s := e.tab.At(r); s.Orig.Src == m.orig.Src && s.Orig.SrcPort == m.orig.SrcPort {
			return r
		}
	}
	return 0
}

// meet: a record with a name we do not know is about a connection we have.
func (e *Engine) meet(x *rx, r pfstate.Ref, m *record) {
	e.deferKnown(r, DeferUpdated)
	s := e.tab.At(r)
	e.vouch(x, s, m)
	switch {
	case s.Has(pfstate.FlagUnclaimed):
		e.claimed(x, r, m)
	case e.supersedes(s, m) && s.Reply == m.reply && !earlier(m, s) && !over(s, m) && !e.leftover(x.now, s, m):
		// The same connection: its maker has forgotten the old name (a restart).
		side := m.side
		if m.other.IsZero() {
			side = s.MainSide()
		}
		e.nameSide(r, side, m.name)
		e.merge(x.now, r, m)
		if s.Carried() {
			e.answer(x.now, r)
		}
	case e.supersedes(s, m), e.leftover(x.now, s, m):
		e.replace(x, r, m)
	case e.outdated(s, m):
		e.reason(ReasonLater)
	case !m.linux && e.begunAnew(s, m):
		e.reason(ReasonLater)
		e.deleteName(x.now, m.name, false)
	case !m.linux && s.Name(m.side).IsZero() && !s.MainName().IsZero():
		e.pair(x, r, m)
	case m.linux && m.reply != s.Reply:
		e.otherNAT(x, r, m)
	case e.leftoverThere(x.now, s, m):
		e.reason(ReasonLater)
		e.answer(x.now, r)
	default:
		e.alias(x, r, m)
	}
}

// earlier reports whether a record is in the handshake of a connection that
// is past it here.
func earlier(m *record, s *pfstate.State) bool {
	return s.Proto == pfstate.ProtoTCP && m.src.State < pfstate.PFEstablished && s.Src.State >= pfstate.PFEstablished
}

// over reports whether s closes or is closed, not here, and the record is not:
// its maker has seen the next one begin.
func over(s *pfstate.State, m *record) bool {
	return s.Proto == pfstate.ProtoTCP && !s.Carried() && max(s.Src.State, s.Dst.State) > pfstate.PFEstablished && max(m.src.State, m.dst.State) <= pfstate.PFEstablished
}

// begunAnew reports whether a connection passes here under our name, and a
// transfer tells of one of its tuple that closes: an earlier one.
func (e *Engine) begunAnew(s *pfstate.State, m *record) bool {
	return s.Proto == pfstate.ProtoTCP && s.Has(pfstate.FlagCarried) && !m.carried && e.ours(s.MainName()) &&
		max(s.Src.State, s.Dst.State) <= pfstate.PFEstablished && max(m.src.State, m.dst.State) > pfstate.PFEstablished
}

// nameLike is the name of s that the record's would take the place of. A pf
// has one for each side.
func nameLike(s *pfstate.State, m *record) pfstate.ID {
	if m.linux && m.other.IsZero() {
		return s.MainName()
	}
	return s.Name(m.side)
}

// otherNAT: two connections of one original tuple, translated differently, can
// only have followed each other. Who carries one knows which is the later.
func (e *Engine) otherNAT(x *rx, r pfstate.Ref, m *record) {
	s, slack := e.tab.At(r), int64(0)
	if s.Carried() {
		slack = refreshSlack
	}
	if m.carried && e.idleThere(m)+slack <= e.idle(x.now, s) {
		e.replace(x, r, m)
		return
	}
	e.reason(ReasonCollision)
	e.answer(x.now, r)
}

// leftover reports whether our state is what is left of an earlier connection
// of the tuple: it is over, or it is further than what passes at the sender
// right now.
func (e *Engine) leftover(now int64, s *pfstate.State, m *record) bool {
	ahead := m.linux && m.carried && s.Proto == pfstate.ProtoTCP && (s.Src.State > m.src.State || s.Dst.State > m.dst.State)
	if s.Carried() {
		return ahead && e.idle(now, s) > e.idleThere(m)+refreshSlack
	}
	if s.Tries > 0 && !s.Has(pfstate.FlagInKernel) || s.Expire <= now {
		return true
	}
	return ahead
}

// leftoverThere is the same with the roles changed: it passes here.
func (e *Engine) leftoverThere(now int64, s *pfstate.State, m *record) bool {
	ahead := s.Proto == pfstate.ProtoTCP && (m.src.State > s.Src.State || m.dst.State > s.Dst.State)
	return m.linux && s.Carried() && ahead && (!m.carried || e.idleThere(m) > e.idle(now, s)+refreshSlack)
}

// supersedes: a creator gives rising ids and never has two states of one
// tuple, so its higher one is a later connection.
func (e *Engine) supersedes(s *pfstate.State, m *record) bool {
	n := nameLike(s, m)
	return n.CreatorID == m.name.CreatorID && m.name.ID > n.ID
}

// outdated: its lower one is an earlier connection.
func (e *Engine) outdated(s *pfstate.State, m *record) bool {
	n := nameLike(s, m)
	return n.CreatorID == m.name.CreatorID && m.name.ID < n.ID
}

// replace ends a state and makes one of the record: the tuple was used again.
func (e *Engine) replace(x *rx, r pfstate.Ref, m *record) {
	e.reason(ReasonReused)
	e.erase(r, false)
	e.insert(x, m)
}

// pair adds the other half of a pf's two states to the one we have.
func (e *Engine) pair(x *rx, r pfstate.Ref, m *record) {
	s := e.tab.At(r)
	orig, reply := s.Orig, s.Reply
	if m.side == pfstate.SideIn {
		orig = m.orig
	} else {
		reply = m.reply
	}
	moved := orig != s.Orig || reply != s.Reply
	if moved && s.LastOp == 0 && s.Has(pfstate.FlagInKernel) && (s.Has(pfstate.FlagCarried) || e.idle(x.now, s)+refreshSlack < e.idleThere(m)) {
		// Packets alone made the entry, without this translation: the pair is an
		// earlier connection's. Who does not obey answers, so it is told at a pace.
		if s.LastSent == 0 || x.now-s.LastSent >= answerPace {
			e.deleteName(x.now, m.name, false)
		}
		e.setCarried(s, true)
		e.doubted(x.now, r)
		return
	}
	e.nameSide(r, m.side, m.name)
	e.countRoute(m)
	expire := s.Expire
	was := *s
	changed := e.take(x.now, r, m, true, true)
	s.Expire = max(expire, s.Expire)
	if moved { // the second half translates: the kernel cannot change that of an entry
		e.recreate(r, orig, reply)
	} else {
		e.follow(r, &was, changed)
	}
	e.acknowledge(x.now, r, m)
}

// recreate moves a state to other tuples: the kernel's old entry is deleted
// under a state of its own, then the new one is created.
func (e *Engine) recreate(r pfstate.Ref, orig, reply pfstate.Tuple) {
	s := e.tab.At(r)
	if s.Has(pfstate.FlagInKernel) || s.InFlight != 0 {
		f := e.tab.FlowOf(s, 0)
		e.uproot(&f)
		s = e.tab.At(r)
	}
	e.cancelOp(r)
	e.tab.UnlinkTuples(r)
	s.Orig, s.Reply = orig, reply
	s.Flags &^= pfstate.FlagInKernel | pfstate.FlagReversed
	e.tab.LinkTuples(r)
	e.wantOp(r, pfstate.OpCreate)
}

// alias: one connection has two names. The lower stays, on every firewall;
// whoever made the other deletes it, once (design section 5, identity).
func (e *Engine) alias(x *rx, r pfstate.Ref, m *record) {
	e.reason(ReasonAlias)
	s := e.tab.At(r)
	side := s.MainSide()
	if !s.Name(m.side).IsZero() || s.MainName().IsZero() || m.linux { // of one connection all Linux name one side
		side = m.side
	}
	have := s.Name(side)
	winner, loser := have, m.name
	if have.IsZero() || m.name.Less(have) {
		winner, loser = m.name, have
	}
	if winner != have {
		e.nameSide(r, side, winner)
		s.Flags |= pfstate.FlagAnnounced
		if o := s.Name(side.Other()); m.other.IsZero() && o.CreatorID == loser.CreatorID {
			e.tab.ClearName(r, side.Other()) // the loser's pair goes with it
			e.loserName(x.now, r, o)
		}
	}
	e.loserName(x.now, r, loser)
	if e.merge(x.now, r, m) > 0 {
		e.count(CountStale)
	}
	if winner == have {
		e.answer(x.now, r) // so that the maker of the other learns ours
	} else if s.Queue == qIns {
		e.enqueue(x.now, r, qUpd)
	}
	if m.ackWanted && s.Has(pfstate.FlagInKernel) {
		e.ack(x.now, r)
	}
}

// loserName keeps a lost name as alias until its maker deletes it; we delete
// our own at once.
func (e *Engine) loserName(now int64, r pfstate.Ref, id pfstate.ID) {
	if id.IsZero() {
		return
	}
	if e.ours(id) {
		e.deleteName(now, id, false)
		return
	}
	e.tab.SetName(r, pfstate.SideAlias, id)
}
