package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// dump follows one dump of the kernel's table at a time, and one of a part of it
// that is made while one of the whole is under way.
type dump struct {
	running  bool
	inner    bool  // the one of a part is
	outer    int64 // start of the other meanwhile
	partial  bool
	crowded  bool  // more ended than tombs has room for: an unknown record may be of the dead
	gen      uint8 // of State.Seen
	start    int64
	tombs    map[entryKey]struct{} // destroyed since it began: dumps tell of the dead
	sweep    pfstate.Ref           // cursor of the walk over what it did not tell, 0 none
	swept    int64                 // start of the dump that is being swept
	all      bool                  // it was of the whole table
	full     bool                  // the kernel's table is: since the sweep began a create was refused for it
	fullAt   int64                 // when one last was, 0 never
	refused  bool                  // creates were, and none of them was taken since
	lacking  int64                 // when peers were last compared with for that
	diverged bool                  // events were lost and no dump has made up for it
	losing   bool                  // and still are: a dump now would not
	wanted   bool                  // a filter was taken away: there may be entries that have no state
	serving  bool                  // the one running is for that
}

func (d *dump) bury(f *pfstate.Flow) {
	switch {
	case !d.running:
	case len(d.tombs) < maxTombs:
		d.tombs[keyOf(f)] = struct{}{}
	default:
		d.crowded, d.partial = true, true
	}
}

// NeedDump reports whether a whole dump is wanted at once: events were lost, or
// a filter was taken away.
func (e *Engine) NeedDump() bool { return e.WantsDump() && !e.dump.running }

// WantsDump reports whether one is wanted, though another one is under way.
func (e *Engine) WantsDump() bool {
	return !e.dump.losing && (e.dump.diverged || e.dump.wanted || e.look.wanted)
}

// overrun: events were lost; more says that they still are.
func (e *Engine) overrun(more bool) {
	if !e.dump.losing {
		e.reason(ReasonOverrun)
	}
	e.dump.losing = more
	if e.dump.running {
		e.dump.partial = true // it proves nothing any more
	}
	if !e.dump.diverged {
		e.log("kernel dropped events, reconciling by a dump")
	}
	e.dump.diverged = true
}

// dumpBegin: a dump was asked for. One that is filtered tells of life, and no
// more.
func (e *Engine) dumpBegin(now int64, filtered bool) {
	d := &e.dump
	if d.running && filtered {
		d.inner, d.outer, d.start = true, d.start, now
		e.buryDoomed()
		return
	}
	d.running, d.partial, d.crowded, d.start = true, filtered, false, now
	d.tombs = map[entryKey]struct{}{}
	e.buryDoomed()
	if filtered {
		d.serving = false
		return
	}
	d.gen++
	d.sweep = 0
	d.wanted, d.serving = false, d.wanted
	e.look.wanted, e.look.running = false, e.look.wanted
}

// buryDoomed: what is about to be deleted, or being deleted, the dump may still
// tell.
func (e *Engine) buryDoomed() {
	bury := func(r pfstate.Ref) {
		f := e.tab.FlowOf(e.tab.At(r), 0)
		e.dump.bury(&f)
	}
	for r := e.ops.Head(); r != 0; r = e.tab.NextOn(&e.ops, r) {
		if e.tab.At(r).Op == pfstate.OpDelete {
			bury(r)
		}
	}
	for _, r := range e.deletes {
		bury(r)
	}
	for _, d := range e.dying {
		bury(d.old)
	}
}

// dumpRecord: the kernel has this entry, or had it a moment ago.
func (e *Engine) dumpRecord(now int64, f *pfstate.Flow) {
	if _, dead := e.dump.tombs[keyOf(f)]; dead || f.Status&pfstate.StatusDying != 0 {
		return
	}
	nosync := e.cfg.Filter.Match(f)
	r, f := e.find(f)
	switch {
	case nosync && r == 0:
	case nosync:
		e.withdraw(now, r)
	case r == 0 && e.dump.crowded: // the next dump tells again what lives
	case r == 0 && e.claim.active:
		s := e.tab.At(e.unclaimed(now, f))
		s.Flags |= pfstate.FlagDeaf
		e.aliveBefore(e.idle(now, s))
	case r == 0:
		if !e.dump.serving {
			e.reason(ReasonReconciled)
		}
		r = e.localMade(now, f)
		e.tab.At(r).Flags |= pfstate.FlagDeaf
		e.foundOther(now, r, syncproto.FoundNew)
	default:
		e.dumpKnown(now, r, f)
	}
}

func (e *Engine) dumpKnown(now int64, r pfstate.Ref, f *pfstate.Flow) {
	s := e.tab.At(r)
	s.Seen = e.dump.gen
	passed := e.tab.Counts(r).Packets
	e.tab.CountKernel(r, f)
	if s.LastLocal >= e.dump.start || s.LastOp >= e.dump.start || s.Op != 0 || s.InFlight != 0 {
		return
	}
	if !s.Has(pfstate.FlagInKernel) && f.Reply != s.Reply {
		return // doneCreate has found it and judged
	}
	if e.misheld(s, f) {
		e.putOut(r, f)
		return
	}
	if e.reused(now, s, f) || e.reopened(now, s, f) {
		e.reason(ReasonReconciled)
		e.bury(now, r, true)
		e.localMade(now, f)
		return
	}
	s.Flags |= pfstate.FlagInKernel
	s.Flags &^= pfstate.FlagRefused
	c := e.tab.Absorb(s, f)
	if c == pfstate.ChangeBack {
		return // reused cannot tell yet; the next dump will
	}
	refreshed := e.refreshed(now, s, f)
	if fixed(f) {
		refreshed = e.refreshFixed(now, r, f, passed != e.tab.Counts(r).Packets)
	}
	if c != 0 {
		e.takeTimeout(now, s, f) // also a shorter one: it closes
	}
	if s.Has(pfstate.FlagUnclaimed) {
		return
	}
	switch {
	case c != 0: // an event that did not reach us
		if !s.Has(pfstate.FlagDeaf) {
			e.reason(ReasonReconciled)
			e.foundOther(now, r, syncproto.FoundChanged)
		}
		e.setCarried(s, true)
		e.localUpdate(now, r, c&pfstate.ChangeMeta != 0 || e.needsFull(now, s))
	case refreshed:
		taken := !s.Carried()
		e.setCarried(s, true)
		e.alive(now)
		full := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status)) * second
		if taken || s.Expire-s.SentExpire > full/8 {
			e.signOfLife(now, r)
		}
	}
}

// reopened reports whether the kernel's entry is of a later connection than s,
// which has ended, and of which it had the end: the events between were lost.
func (e *Engine) reopened(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoTCP && f.Has&pfstate.HasProto != 0 && f.ProtoState == pfstate.TCPEstablished &&
		s.Has(pfstate.FlagInKernel) && now-s.LastOp >= opSettle && min(s.Src.State, s.Dst.State) > pfstate.PFEstablished
}

// refreshed reports whether packets have passed here: the timeout is longer
// than anything we knew of.
func (e *Engine) refreshed(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	if f.Has&pfstate.HasTimeout == 0 {
		return false
	}
	ends := now + int64(f.Timeout)*second
	switch {
	case s.KernExpire == 0:
	case ends < s.KernExpire-refreshSlack:
		e.shorter(s, ends)
		return false
	case ends <= s.KernExpire+refreshSlack:
		return false
	}
	if !s.Carried() && ends <= s.Expire {
		s.KernExpire = ends // by a packet from before it passed elsewhere
		return false
	}
	s.Expire, s.KernExpire = ends, ends
	return true
}

// shorter: the kernel will end an entry earlier than we thought. The event of
// its last packet was old when we read it, after a stop or in a storm.
func (e *Engine) shorter(s *pfstate.State, ends int64) {
	if s.Carried() && s.Expire <= s.KernExpire {
		s.Expire = ends
	}
	s.KernExpire = ends
}

// fixed reports whether packets do not refresh an entry: GRE's, if we made it
// (linux-facts 8).
func fixed(f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoGRE && f.Status&pfstate.StatusFixedTimeout != 0
}

// refreshFixed is refreshed for an entry that packets do not refresh: that they
// have passed its counters say. Once it has lost a quarter of its life it is made
// anew.
func (e *Engine) refreshFixed(now int64, r pfstate.Ref, f *pfstate.Flow, passed bool) bool {
	if !passed {
		return false
	}
	s := e.tab.At(r)
	full := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status)) * second
	s.Expire = now + full
	if f.Has&pfstate.HasTimeout != 0 && int64(f.Timeout)*second < full-full/4 {
		e.wantOp(r, pfstate.OpUpdate)
	}
	return true
}

// dumpEnd: after a whole dump, what it did not tell is looked at; after each,
// what the kernel has refused.
func (e *Engine) dumpEnd(now int64, ended, filtered bool) {
	d := &e.dump
	start := d.start
	switch {
	case d.inner && filtered:
		d.inner, d.start = false, d.outer
		return
	case d.inner: // it ends before the one within it has begun
		d.inner, start = false, d.outer
	default:
		d.running, d.tombs = false, nil
	}
	whole := ended && !d.partial && !filtered
	e.lookDumped(now, whole)
	if !whole {
		d.wanted = d.wanted || d.serving
		if ended && d.sweep == 0 {
			d.sweep, d.all, d.full = 1, false, false
		}
		return
	}
	d.sweep, d.swept, d.all, d.full = 1, start, true, false
	if d.diverged {
		d.diverged = false
		e.doubtOurs(now)
		e.log("reconciled with the kernel")
	}
	if !e.claim.dumped {
		e.claim.dumped = true
		e.onlyPF.began(e.claim.written, e.cfg.LastRun.OnlyPF)
		e.serveLate(now)
		e.bulkLink(now)
		e.claimTick(now)
	}
	e.expectEarly(now)
}

// sweepStep is how many table slots one Tick looks at.
const sweepStep = 16384

// overdue is how long after its end a state that the kernel does not have is
// kept: its delete, or a sign of life, may be on the way.
const overdue = 60 * second

// sweepTick asks the kernel for states that the last whole dump did not tell:
// absence from a dump is no proof. It also tries again what the kernel refused,
// unless its table turns out to be full still, and forgets what the kernel never
// had once its time is over: nobody would tell of its end.
func (e *Engine) sweepTick(now int64) {
	d := &e.dump
	if d.sweep == 0 {
		return
	}
	end := min(d.sweep+sweepStep, e.tab.End())
	for ; d.sweep < end; d.sweep++ {
		if !e.tab.InUse(d.sweep) {
			continue
		}
		s := e.tab.At(d.sweep)
		if s.Flags&pfstate.FlagDead != 0 || s.Op != 0 || s.InFlight != 0 {
			continue
		}
		quiet := s.LastLocal < d.swept && s.LastOp < d.swept
		switch {
		case !s.Has(pfstate.FlagInKernel) && s.Expire+overdue <= now:
			e.unsureEnd(s)
			e.release(d.sweep)
		case s.Has(pfstate.FlagRefused) && (d.full || s.Has(pfstate.FlagDeaf)):
		case s.Has(pfstate.FlagRefused):
			s.Flags &^= pfstate.FlagRetried
			e.wantOp(d.sweep, pfstate.OpCreate)
		case d.all && s.Has(pfstate.FlagInKernel) && s.Seen != d.gen && quiet:
			e.wantOp(d.sweep, pfstate.OpGet)
		}
	}
	if d.sweep >= e.tab.End() {
		d.sweep = 0
	}
}
