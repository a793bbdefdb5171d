package engine

import (
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// opRank: of two operations wanted for one entry the higher serves both.
var opRank = [...]uint8{0: 0, pfstate.OpGet: 1, pfstate.OpUpdate: 2, pfstate.OpCreate: 3, pfstate.OpDelete: 4}

// writes reports whether an operation changes the kernel's entry, so that what
// the kernel tells may be of the time before it.
func writes(op pfstate.OpKind) bool { return opRank[op] > opRank[pfstate.OpGet] }

// wantOp asks for an operation on the kernel's entry of r. There is at most
// one wanted and one under way for a state; what the kernel is told is made
// when it is handed out.
func (e *Engine) wantOp(r pfstate.Ref, kind pfstate.OpKind) {
	s := e.tab.At(r)
	if opRank[kind] <= opRank[s.Op] || kind == pfstate.OpCreate && e.waits(r, s) {
		return
	}
	if s.Op == 0 && s.InFlight == 0 {
		e.tab.Push(&e.ops, r)
	}
	s.Op = kind
}

// dying is an entry whose delete waits for the operation under way, and the
// state that is to be created after it.
type dying struct{ old, next pfstate.Ref }

// waits reports whether a create has to wait until an earlier connection of
// the tuple is deleted: that comes first whatever was handed out before.
func (e *Engine) waits(r pfstate.Ref, s *pfstate.State) bool {
	if len(e.dying) == 0 {
		return false
	}
	k := entryKey{s.Orig, s.Zone[0], s.AF, s.Proto}
	d, ok := e.dying[k]
	if !ok || d.old == r {
		return false
	}
	e.dying[k] = dying{d.old, r}
	return true
}

// dead lets the create go on that waited for old.
func (e *Engine) dead(old pfstate.Ref, s *pfstate.State) {
	k := entryKey{s.Orig, s.Zone[0], s.AF, s.Proto}
	d, ok := e.dying[k]
	if !ok || d.old != old {
		return
	}
	delete(e.dying, k)
	if d.next != 0 && e.tab.InUse(d.next) && e.tab.TuplesLinked(d.next) && e.tab.At(d.next).Orig == s.Orig {
		e.wantOp(d.next, pfstate.OpCreate)
	}
}

// cancelOp forgets what was wanted, not what is under way.
func (e *Engine) cancelOp(r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Op != 0 && s.InFlight == 0 {
		e.tab.Remove(&e.ops, r)
	}
	s.Op = 0
}

// OpsLen is the number of operations that wait to be pulled.
func (e *Engine) OpsLen() int { return e.ops.Len() }

// Ops fills dst with operations and returns how many. They must be done in
// this order, and each answered through Done.
func (e *Engine) Ops(now int64, dst []pfstate.Op) int {
	n := 0
	for n < len(dst) && e.ops.Len() > 0 {
		r := e.tab.Pop(&e.ops)
		s := e.tab.At(r)
		s.InFlight, s.Op = s.Op, 0
		e.fillOp(now, r, s, &dst[n])
		n++
	}
	return n
}

func (e *Engine) fillOp(now int64, r pfstate.Ref, s *pfstate.State, op *pfstate.Op) {
	op.Kind, op.Ref, op.MaxLeft = s.InFlight, uint64(r), 0
	op.Flow = e.tab.FlowOf(s, now)
	if op.Kind == pfstate.OpUpdate {
		e.spareAdjusted(s, &op.Flow)
	}
	switch op.Kind {
	case pfstate.OpCreate:
		e.Stats.OpsCreate++
	case pfstate.OpUpdate:
		e.Stats.OpsUpdate++
	case pfstate.OpGet:
		e.Stats.OpsGet++
	case pfstate.OpDelete:
		e.Stats.OpsDelete++
		e.deletes = append(e.deletes, r)
		if !s.Has(pfstate.FlagKilled) && s.KernExpire != 0 {
			op.MaxLeft = uint32(max(1, (s.KernExpire-now+refreshSlack)/second))
		}
	}
	if writes(op.Kind) {
		s.LastOp = now
	}
	if op.Kind == pfstate.OpCreate || op.Kind == pfstate.OpUpdate {
		s.KernExpire = now + int64(op.Flow.Timeout)*second
	}
}

// Done takes the kernel's answers.
func (e *Engine) Done(now int64, res []pfstate.Result) {
	e.answers += uint64(len(res))
	for i := range res {
		e.done(now, &res[i])
	}
}

func (e *Engine) done(now int64, res *pfstate.Result) {
	r := pfstate.Ref(res.Ref)
	if !e.tab.InUse(r) || e.tab.At(r).InFlight != res.Kind {
		return // not an answer to anything we asked
	}
	s := e.tab.At(r)
	s.InFlight = 0
	if res.Kind == pfstate.OpCreate || res.Kind == pfstate.OpUpdate {
		s.KernExpire += now - s.LastOp // the kernel counts from when it did it, at the latest now
	}
	if writes(res.Kind) {
		s.LastOp = now
	}
	if s.Op != 0 {
		e.tab.Push(&e.ops, r)
	}
	if s.Has(pfstate.FlagDead) && res.Kind != pfstate.OpDelete {
		e.doneDead(r, s)
		return
	}
	switch res.Kind {
	case pfstate.OpCreate:
		e.doneCreate(now, r, res)
	case pfstate.OpUpdate:
		e.doneUpdate(now, r, res)
	case pfstate.OpGet:
		e.doneGet(now, r, res)
	case pfstate.OpDelete:
		e.doneDelete(now, r, res)
	}
	if e.tab.InUse(r) {
		e.known(r)
	}
}

// doneDead: the state went while the operation was under way. One that waits
// for its delete to be sent, or for the kernel to delete the entry, stays.
func (e *Engine) doneDead(r pfstate.Ref, s *pfstate.State) {
	if s.Queue != qDel && s.Op == 0 {
		e.tab.Free(r)
	}
}

func (e *Engine) doneCreate(now int64, r pfstate.Ref, res *pfstate.Result) {
	switch res.Code {
	case pfstate.ResultOK:
		s := e.tab.At(r)
		s.CtID = 0 // that of an entry before
		e.tab.CountNewEntry(r)
		if s.Op == pfstate.OpCreate {
			s.Op = pfstate.OpUpdate // for news that came meanwhile: it is there now
		}
		e.expectsLost(s)
		e.toldKernel(s)
		e.inKernel(now, r)
	case pfstate.ResultExists:
		e.reason(ReasonKernelExists)
		e.wantOp(r, pfstate.OpGet)
	default:
		e.refused(now, r, res.Code)
	}
}

// inKernel: the kernel has what the peer told, and it hears so if it waits.
func (e *Engine) inKernel(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Has(pfstate.FlagRefused) {
		e.roomAgain(now, r)
	}
	s.Flags |= pfstate.FlagInKernel
	s.Flags &^= pfstate.FlagRefused | pfstate.FlagRetried
	e.expectsToKernel(now, s)
	if s.Has(pfstate.FlagAckWanted) {
		s.Flags &^= pfstate.FlagAckWanted
		e.ack(now, r)
	}
}

// refused: the kernel does not take it. It stays in the table, for another
// peer may ask; a full kernel is tried again after each dump.
func (e *Engine) refused(now int64, r pfstate.Ref, c pfstate.ResultCode) {
	e.reason(kernelReason(c))
	if c == pfstate.ResultFull {
		e.noRoom(now)
	}
	e.dump.refused = true
	s := e.tab.At(r)
	s.Flags |= pfstate.FlagRefused
	s.Flags &^= pfstate.FlagAckWanted | pfstate.FlagDeaf
}

func (e *Engine) doneUpdate(now int64, r pfstate.Ref, res *pfstate.Result) {
	switch res.Code {
	case pfstate.ResultOK:
		e.inKernel(now, r)
		e.adjusted(r)
	case pfstate.ResultMissing:
		e.tab.At(r).Set(pfstate.FlagInKernel, false)
		e.wantOp(r, pfstate.OpCreate)
	case pfstate.ResultReversed:
		e.turn(r)
		e.wantOp(r, pfstate.OpUpdate)
	default:
		e.reason(kernelReason(res.Code))
		e.inKernel(now, r)
	}
}

// turn notes that the kernel's entry runs the other way.
func (e *Engine) turn(r pfstate.Ref) {
	s := e.tab.At(r)
	s.Set(pfstate.FlagReversed, !s.Has(pfstate.FlagReversed))
}

// doneGet follows a create that found the tuple taken, a DESTROY that may be
// old news, and an entry that a dump did not tell.
func (e *Engine) doneGet(now int64, r pfstate.Ref, res *pfstate.Result) {
	s := e.tab.At(r)
	if s.Op == pfstate.OpGet {
		return // something has happened since it was asked for, and it is asked for again
	}
	found := res.Code == pfstate.ResultOK || res.Code == pfstate.ResultReversed
	switch {
	case found && res.Flow.Orig != s.Orig && res.Flow.Orig == s.Reply && res.Flow.Reply == s.Orig:
		s.Flags |= pfstate.FlagReversed // which an event may have told since we asked
		f := res.Flow.Reversed()
		e.gotEntry(now, r, &f)
	case res.Code == pfstate.ResultOK:
		s.Set(pfstate.FlagReversed, false)
		e.gotEntry(now, r, &res.Flow)
	case res.Code == pfstate.ResultReversed:
		e.reason(ReasonCollision)
		s.Flags |= pfstate.FlagRefused
		s.Flags &^= pfstate.FlagAckWanted | pfstate.FlagInKernel | pfstate.FlagDeaf
	case res.Code != pfstate.ResultMissing:
		e.reason(kernelReason(res.Code))
	case s.Has(pfstate.FlagInKernel):
		// Gone. If we did not see how, it was killed if it had time left; but
		// of what somebody else carries only its carrier knows.
		e.foundOther(now, r, syncproto.FoundGone)
		e.gone(now, r, s.Has(pfstate.FlagKilled) || s.Carried() && s.KernExpire > now+refreshSlack)
	case s.Has(pfstate.FlagRetried):
		e.reason(ReasonCollision) // the reply tuple is another connection's
		s.Flags |= pfstate.FlagRefused
		s.Flags &^= pfstate.FlagAckWanted | pfstate.FlagDeaf
	default:
		s.Flags |= pfstate.FlagRetried
		e.wantOp(r, pfstate.OpCreate) // it was there, and went
	}
}

// gotEntry: the kernel has an entry of the tuple. What it knows and we do not
// is ours to tell; where it lags behind it is updated.
func (e *Engine) gotEntry(now int64, r pfstate.Ref, f *pfstate.Flow) {
	s := e.tab.At(r)
	s.Set(pfstate.FlagKilled, false)
	s.Seen = e.dump.gen
	if f.Reply != s.Reply {
		e.gotOther(now, r, f)
		return
	}
	if e.readjust(r, f) {
		return
	}
	e.tab.CountKernel(r, f)
	behind := e.kernelBehind(s, f)
	c := e.tab.Absorb(s, f) &^ pfstate.ChangeBack // then it merely lags behind
	late := s.Expire <= now+refreshSlack
	if late && s.Carried() && !s.Has(pfstate.FlagUnclaimed) && e.refreshed(now, s, f) {
		e.push(now, r) // who asked for it waits
	}
	if f.Has&pfstate.HasTimeout != 0 {
		s.KernExpire = now + int64(f.Timeout)*second
		if c != 0 {
			s.Expire = s.KernExpire
		}
	}
	e.inKernel(now, r)
	if c != 0 && !s.Has(pfstate.FlagUnclaimed) {
		e.localUpdate(now, r, c&pfstate.ChangeMeta != 0)
	}
	if behind {
		e.wantOp(r, pfstate.OpUpdate)
	}
}

// gotOther: the kernel has the original tuple, translated otherwise: an
// earlier connection or a later one. The one that saw the last packet stays, as
// soon as that can be told.
func (e *Engine) gotOther(now int64, r pfstate.Ref, f *pfstate.Flow) {
	e.reason(ReasonCollision)
	s := e.tab.At(r)
	s.Flags &^= pfstate.FlagInKernel
	there := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status))*second - (s.Expire - now)
	here := int64(e.cfg.Timeouts.For(f.Proto, f.ProtoState, f.Status))*second - int64(f.Timeout)*second
	switch {
	case here > there+refreshSlack:
		e.uproot(f)
		e.wantOp(r, pfstate.OpCreate)
	case there > here+refreshSlack && now-s.LastPeer < refreshSlack && !s.Has(pfstate.FlagCarried):
		e.bury(now, r, false)
		e.localMade(now, f)
	default:
		s.Flags |= pfstate.FlagRefused
		s.Flags &^= pfstate.FlagAckWanted | pfstate.FlagDeaf
		e.askTime(now, s)
	}
}

// askTime asks peers how long ago its last packet is. What we have been told of
// that may be as old as our kernel's entry.
func (e *Engine) askTime(now int64, s *pfstate.State) {
	if now-s.LastPeer >= refreshSlack {
		s.Flags |= pfstate.FlagDoubted
		e.requestState(now, s)
	}
}

// uproot deletes a kernel entry that no state of ours stands for.
func (e *Engine) uproot(f *pfstate.Flow) {
	r, s := e.tab.Alloc(f.AF, f.Proto)
	s.Orig, s.Reply, s.Zone = f.Orig, f.Reply, f.Zone
	s.Flags = pfstate.FlagDead | pfstate.FlagKilled | pfstate.FlagInKernel
	e.dump.bury(f)
	e.wantOp(r, pfstate.OpDelete)
}

// kernelBehind reports whether the state is further than the kernel's entry.
func (e *Engine) kernelBehind(s *pfstate.State, f *pfstate.Flow) bool {
	if s.Proto == pfstate.ProtoTCP {
		src, dst := pfstate.TCPToPeers(f.ProtoState, f.TCPFlags)
		return src < s.Src.State || dst < s.Dst.State
	}
	return s.Status&pfstate.StatusLife&^f.Status != 0
}

func (e *Engine) doneDelete(now int64, r pfstate.Ref, res *pfstate.Result) {
	if i := slices.Index(e.deletes, r); i >= 0 { // the first, for answers come in order
		e.deletes = slices.Delete(e.deletes, i, i+1)
	}
	s := e.tab.At(r)
	if res.Code == pfstate.ResultReversed && s.Flags&(pfstate.FlagDead|pfstate.FlagRetried) == pfstate.FlagDead {
		// The kernel's entry runs the other way: a packet of that way was first.
		s.Flags |= pfstate.FlagRetried
		e.turn(r)
		e.wantOp(r, pfstate.OpDelete)
		return
	}
	if res.Code == pfstate.ResultLiving && s.Proto == pfstate.ProtoTCP && !s.Has(pfstate.FlagKilled) && e.kernelBehind(s, &res.Flow) {
		// Its time is that of an earlier step, which we have not got round to
		// write over: no packet has lengthened it.
		s.Flags |= pfstate.FlagKilled
		e.wantOp(r, pfstate.OpDelete)
		return
	}
	_, _, taken := e.tab.ByTuple(&s.Orig, s.AF, s.Proto, s.Zone[0])
	if res.Code == pfstate.ResultLiving && !taken && !s.MainName().IsZero() {
		e.refuseDelete(now, r, &res.Flow)
		return
	}
	e.dead(r, s)
	if s.Queue != qDel {
		e.tab.Free(r)
	}
}

// refuseDelete: a peer deletes a connection that has shown life here since the
// peer could know (design section 5, carrier). It stays, and the peer is told.
func (e *Engine) refuseDelete(now int64, r pfstate.Ref, f *pfstate.Flow) {
	e.reason(ReasonDelRefused)
	s := e.tab.At(r)
	e.dead(r, s)
	s.Flags &^= pfstate.FlagDead | pfstate.FlagKilled
	s.Flags |= pfstate.FlagInKernel
	e.tab.LinkTuples(r)
	e.takeTimeout(now, s, f)
	e.setCarried(s, true)
	e.push(now, r)
}

// erase ends a state because a peer says so: the kernel's entry goes, and the
// state when it has. Until then it is found by name only, so that its tuple
// is free for a later connection.
func (e *Engine) erase(r pfstate.Ref, killed bool) {
	s := e.tab.At(r)
	e.deferRelease(r, DeferGone)
	e.dequeue(r)
	there := s.Has(pfstate.FlagInKernel) || s.InFlight != 0 || s.Op == pfstate.OpGet // a create found it there
	e.cancelOp(r)
	if s.Has(pfstate.FlagUnclaimed) {
		s.Flags &^= pfstate.FlagUnclaimed
		e.claim.waiting--
	}
	if !there {
		e.release(r)
		return
	}
	e.setCarried(s, false)
	e.tab.UnlinkTuples(r)
	e.tab.DigestOut(r)
	s.Flags |= pfstate.FlagDead
	s.Set(pfstate.FlagKilled, killed)
	f := e.tab.FlowOf(s, 0)
	e.dump.bury(&f) // we shall not hear of our own delete
	if s.InFlight != 0 {
		e.dying[entryKey{s.Orig, s.Zone[0], s.AF, s.Proto}] = dying{old: r}
	}
	e.wantOp(r, pfstate.OpDelete)
}
