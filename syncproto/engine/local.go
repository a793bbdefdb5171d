package engine

import (
	"github.com/pfsync/pfsync/pfstate"
)

// The way of an event:
//
//  1. Local takes a batch and calls the handler of each kind.
//  2. find looks the entry up: its tuple, or its exact reverse.
//  3. The handler lets the State absorb the entry and judges what is new.
//  4. What peers have to know is queued (queue.go); frames are made later.

// refreshSlack is what a timeout must have grown by to count as refreshed:
// the kernel tells whole seconds.
const refreshSlack = 2 * second

// Local takes news from the kernel. Events that our own operations caused must
// not be among them.
func (e *Engine) Local(now int64, evs []pfstate.Event) {
	e.awake(now)
	for i := range evs {
		ev := &evs[i]
		switch ev.Kind {
		case pfstate.EventNew:
			e.localNew(now, &ev.Flow)
		case pfstate.EventUpdate:
			e.localChange(now, &ev.Flow)
		case pfstate.EventDestroy:
			e.localDestroy(now, &ev.Flow, ev.Asked)
		case pfstate.EventDumpBegin:
			e.dumpBegin(now, ev.Partial)
		case pfstate.EventDump:
			e.dumpRecord(now, &ev.Flow)
		case pfstate.EventDumpEnd:
			e.dumpEnd(now, true, ev.Partial)
		case pfstate.EventDumpFail:
			e.dumpEnd(now, false, ev.Partial)
		case pfstate.EventOverrun:
			e.overrun(ev.Partial)
		}
	}
	e.deferBind(now)
}

// find returns the state of a kernel entry, and the entry as that state sees
// it: turned round where the kernel's runs the other way.
func (e *Engine) find(f *pfstate.Flow) (r pfstate.Ref, seen *pfstate.Flow) {
	r, reply, ok := e.tab.ByTuple(&f.Orig, f.AF, f.Proto, f.Zone[0])
	if !ok {
		return 0, f
	}
	s := e.tab.At(r)
	if !reply {
		if s.Has(pfstate.FlagReversed) && f.Reply == s.Reply {
			s.Set(pfstate.FlagReversed, false)
		}
		return r, f
	}
	if s.Orig != f.Reply || s.Zone != [2]uint16{f.Zone[1], f.Zone[0]} {
		return 0, f // only one tuple is shared: another connection
	}
	s.Set(pfstate.FlagReversed, true)
	e.scratch.flow = f.Reversed()
	return r, &e.scratch.flow
}

// localNew: an entry was made by a packet or by another program.
func (e *Engine) localNew(now int64, f *pfstate.Flow) {
	if e.cfg.Filter.Match(f) {
		e.reason(ReasonNoSync)
		return
	}
	made := f // as the kernel runs it, whatever an earlier connection did
	r, f := e.find(f)
	if r == 0 {
		e.localMade(now, f)
		return
	}
	s := e.tab.At(r)
	if s.Defer&pfstate.DeferPending != 0 {
		e.deferMade(now, r, f)
		return
	}
	if f.Reply != s.Reply {
		e.translated(now, r, f)
		return
	}
	if e.madeAnew(now, s, f) || e.reused(now, s, f) && !crossed(now, s, f) {
		e.reason(ReasonReused)
		e.bury(now, r, true)
		e.localMade(now, made)
		return
	}
	lacked := !s.Has(pfstate.FlagInKernel) // if not, a dump was read before the event, which is the older
	e.localNews(now, r, f)
	if lacked && f.Proto != pfstate.ProtoTCP && e.kernelBehind(s, f) { // it had refused what peers have told
		e.wantOp(r, pfstate.OpUpdate)
	}
	if s.Has(pfstate.FlagUnclaimed) { // made after we began to listen: nobody else can have a name for it
		e.nameIt(now, r)
	}
}

// madeAnew reports whether a NEW event begins a later connection than s. The
// kernel made an entry, so the earlier one was gone; only a state as young as
// the event may be the same, told by a peer first.
func (e *Engine) madeAnew(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	if s.Tries > 0 && !s.Has(pfstate.FlagInKernel) {
		return true // the earlier one expired, and we were asking whether it lives elsewhere
	}
	return opening(f) && s.Src.State >= pfstate.PFEstablished && now-s.Created > opSettle
}

// crossed reports whether an event of a handshake was overtaken by those that
// came after it: packets of both directions are handled by different processors
// at once, and each sends its events when it gets to it. A later connection's
// would be heard after the end of s, unless the kernel has dropped events, and
// then a dump follows.
func crossed(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	return f.Reply == s.Reply && s.LastLocal != 0 && now-s.LastLocal < opSettle
}

// opening reports whether f is in the first steps of a TCP handshake.
func opening(f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoTCP && (f.ProtoState == pfstate.TCPSynSent || f.ProtoState == pfstate.TCPSynRecv)
}

// translated: an event is of an entry with the tuple of r under another
// translation. There can be one of a tuple only, so it is of a later connection,
// and if the kernel had the earlier one, that has ended.
func (e *Engine) translated(now int64, r pfstate.Ref, f *pfstate.Flow) {
	e.reason(ReasonReused)
	e.bury(now, r, e.tab.At(r).Has(pfstate.FlagInKernel))
	e.localMade(now, f)
}

// lags reports whether what the kernel tells may be of the time before an
// operation of ours that changes the entry.
func lags(now int64, s *pfstate.State) bool {
	return writes(s.Op) || writes(s.InFlight) || s.LastOp != 0 && now-s.LastOp < opSettle
}

// reused reports whether f begins a later connection with the tuple of s. While
// an operation of ours changes the entry the kernel may merely lag behind.
func (e *Engine) reused(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	if lags(now, s) {
		return false
	}
	if !s.Has(pfstate.FlagInKernel) {
		return false // what the kernel has is another connection
	}
	if f.Reply != s.Reply {
		return true
	}
	return opening(f) && s.Src.State >= pfstate.PFEstablished
}

// localMade enters a state that this host has seen begin.
func (e *Engine) localMade(now int64, f *pfstate.Flow) pfstate.Ref {
	r := e.enter(now, f)
	e.setCarried(e.tab.At(r), true)
	e.alive(now)
	e.nameIt(now, r)
	return r
}

// enter makes a state of a kernel entry, without a name.
func (e *Engine) enter(now int64, f *pfstate.Flow) pfstate.Ref {
	r, s := e.tab.Alloc(f.AF, f.Proto)
	s.Orig, s.Reply, s.Zone = f.Orig, f.Reply, f.Zone
	s.Created = now
	s.Flags = pfstate.FlagInKernel
	s.Mark = f.Mark
	s.Src.State, s.Dst.State = firstPeers(f.Proto)
	e.tab.Absorb(s, f)
	e.takeTimeout(now, s, f)
	s.LastLocal = now
	s.Seen = e.dump.gen
	e.tab.CountKernel(r, f)
	e.tab.LinkTuples(r)
	return r
}

// firstPeers are the halves before Absorb: nothing seen, or for protocols
// without a handshake the one packet that made the entry.
func firstPeers(proto uint8) (src, dst uint8) {
	if proto == pfstate.ProtoTCP {
		return pfstate.PFClosed, pfstate.PFClosed
	}
	return pfstate.OtherToPeers(proto, 0)
}

// nameIt gives a state our name and announces it.
func (e *Engine) nameIt(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Has(pfstate.FlagUnclaimed) {
		s.Set(pfstate.FlagUnclaimed, false)
		e.claim.waiting--
	}
	side := pfstate.SideIn
	if s.Direction() == pfstate.DirOut {
		side = pfstate.SideOut
	}
	e.tab.SetName(r, side, e.newName())
	e.announce(now, r)
}

// takeTimeout sets the times of s from what the kernel tells.
func (e *Engine) takeTimeout(now int64, s *pfstate.State, f *pfstate.Flow) {
	if f.Has&pfstate.HasTimeout != 0 {
		s.Expire = now + int64(f.Timeout)*second
		s.KernExpire = s.Expire
	}
}

// localNews lets a state absorb an event that a packet, or another program,
// caused, and queues what peers have to know.
func (e *Engine) localNews(now int64, r pfstate.Ref, f *pfstate.Flow) {
	s := e.tab.At(r)
	c := e.tab.Absorb(s, f)
	pending := s.Op != 0 || s.InFlight != 0
	switch {
	case c == pfstate.ChangeBack:
		c = 0 // older than the operation that took the entry further
	case !pending || c&pfstate.ChangePeers != 0:
		e.takeTimeout(now, s, f)
	}
	if c&pfstate.ChangePeers != 0 && (s.InFlight == pfstate.OpUpdate || s.LastOp != 0 && now-s.LastOp < opCrossed) {
		e.wantOp(r, pfstate.OpGet) // the operation may have taken the entry back
	}
	if s.InFlight == pfstate.OpGet {
		e.wantOp(r, pfstate.OpGet) // the answer may be of the time before
	}
	s.Flags |= pfstate.FlagInKernel
	s.Flags &^= pfstate.FlagRefused | pfstate.FlagDeaf | pfstate.FlagDoubted
	s.Defer &^= pfstate.DeferPending
	s.LastLocal = now
	e.setCarried(s, true)
	e.alive(now)
	if s.Has(pfstate.FlagUnclaimed) {
		return
	}
	if s.Tries > 0 { // asked for, and here it is
		s.Tries = 0
		c |= pfstate.ChangeMeta
	}
	switch {
	case c&pfstate.ChangeMeta != 0:
		e.localUpdate(now, r, true)
	case c != 0:
		e.localUpdate(now, r, e.needsFull(now, s))
	}
}

// localChange: an entry changed.
func (e *Engine) localChange(now int64, f *pfstate.Flow) {
	nosync := e.cfg.Filter.Match(f)
	r, f := e.find(f)
	switch {
	case nosync && r == 0:
	case nosync:
		e.setCarried(e.tab.At(r), true)
		e.withdraw(now, r)
	case r == 0 && e.unlabelled(f):
	case r == 0 && e.claim.active:
		e.unclaimed(now, f)
	case r == 0:
		e.reason(ReasonReconciled)
		e.localMade(now, f)
	case e.misheld(e.tab.At(r), f):
		e.putOut(r, f)
	case f.Reply != e.tab.At(r).Reply && lags(now, e.tab.At(r)):
		e.reason(ReasonCollision)
		e.wantOp(r, pfstate.OpGet) // gotOther judges
	case f.Reply != e.tab.At(r).Reply:
		e.translated(now, r, f)
	case e.reused(now, e.tab.At(r), f) && !crossed(now, e.tab.At(r), f):
		e.reason(ReasonReused)
		e.bury(now, r, true)
		e.localMade(now, f)
	default:
		e.localNews(now, r, f)
	}
}

// localDestroy: an entry is gone. asked tells a program's wish from the
// kernel's own doing.
func (e *Engine) localDestroy(now int64, f *pfstate.Flow, asked bool) {
	e.dump.bury(f)
	r, f := e.find(f)
	killed := f.Has&pfstate.HasTimeout != 0
	if r == 0 {
		e.claim.buryFlow(f, killed, now-int64(e.cfg.Timeouts.For(f.Proto, f.ProtoState, f.Status))*second)
		return
	}
	s := e.tab.At(r)
	if s.Defer&pfstate.DeferPending != 0 {
		return // an earlier connection's: of this one the kernel has not told yet
	}
	if killed && !asked && (evicted(f) || e.pushedOut(now, s, f)) {
		killed = false
		e.setCarried(s, false)
	}
	if s.InFlight != 0 || s.Op == pfstate.OpCreate || s.Op == pfstate.OpUpdate || s.LastOp != 0 && now-s.LastOp < opSettle {
		// It may tell of the time before our operation: ask.
		s.Set(pfstate.FlagKilled, killed)
		e.wantOp(r, pfstate.OpGet)
		return
	}
	e.gone(now, r, killed)
}

// evicted reports whether the kernel threw a living connection out: when an
// address or interface goes, as at every failover, it drops what it has
// masqueraded with it (nf_nat_masquerade.c masq_inet_event). The peer that now
// has the address goes on with the connection.
func evicted(f *pfstate.Flow) bool {
	src, _ := f.Translated()
	return src && f.Status&pfstate.StatusSeenReply != 0 && !ended(f)
}

// ended reports whether nothing more was to pass by a kernel's entry.
func ended(f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoTCP && (f.ProtoState == pfstate.TCPTimeWait || f.ProtoState == pfstate.TCPClose)
}

// gone: our kernel has no entry of r any more.
func (e *Engine) gone(now int64, r pfstate.Ref, killed bool) {
	s := e.tab.At(r)
	s.Set(pfstate.FlagInKernel|pfstate.FlagKilled, false)
	switch {
	case s.Has(pfstate.FlagUnclaimed):
		e.claim.bury(s, killed, now-e.idle(now, s))
		e.release(r)
	case killed, s.Carried():
		e.bury(now, r, killed)
	default:
		e.lose(now, r)
	}
}

// lose: a state that somebody else carries expired here. Only its carrier
// knows whether it still lives.
func (e *Engine) lose(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if !e.peers.anyLiving(now) {
		e.unsureEnd(s)
		e.release(r)
		return
	}
	e.reason(ReasonLost)
	s.Tries = 1
	e.requestState(now, s)
	e.peers.lost.put(named{ID: s.MainName()})
	e.peers.lostAt(now)
}
