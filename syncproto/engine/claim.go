package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// maxTombs bounds each set of tombstones.
const maxTombs = 1 << 16

// entryKey is what tells kernel entries apart.
type entryKey struct {
	pfstate.Tuple
	zone      uint16
	af, proto uint8
}

func keyOf(f *pfstate.Flow) entryKey { return entryKey{f.Orig, f.Zone[0], f.AF, f.Proto} }

// claim holds what is true from start until the first bulk transfer has ended:
// the entries found in the kernel have no names yet, for a peer may know them
// under one (design section 5, claim).
type claim struct {
	active  bool              // names are still waited for
	dumped  bool              // the first dump has ended
	waiting int               // unclaimed states
	written int               // of those found in the kernel, what a program had written
	tombs   map[entryKey]tomb // unclaimed entries that ended meanwhile
	told    int64             // when nothing but a witness was waited for, 0 not yet
	naming  pfstate.Ref       // cursor of the walk that names the rest, 0 none
}

// tomb is an entry that nobody had named when it ended.
type tomb struct {
	killed bool
	last   int64 // when its last packet passed
}

func (c *claim) init() { c.active, c.tombs = true, map[entryKey]tomb{} }

// bury notes that an unclaimed entry ended: a name for it may be the name of
// the dead. What had closed was not killed, however it ended: the port may be
// used again.
func (c *claim) bury(s *pfstate.State, killed bool, last int64) {
	if c.active && len(c.tombs) < maxTombs {
		c.tombs[entryKey{s.Orig, s.Zone[0], s.AF, s.Proto}] = tomb{killed && !closed(s), last}
	}
}

// buryFlow is the same for one that the first dump has not told yet.
func (c *claim) buryFlow(f *pfstate.Flow, killed bool, last int64) {
	if c.active && !c.dumped && len(c.tombs) < maxTombs {
		c.tombs[keyOf(f)] = tomb{killed && !ended(f), last}
	}
}

// unclaimed enters an entry that was there before we were.
func (e *Engine) unclaimed(now int64, f *pfstate.Flow) pfstate.Ref {
	r := e.enter(now, f)
	e.tab.At(r).Created = now - 2*opSettle // nobody knows; a NEW event from now on is of a later one
	e.tab.At(r).Flags |= pfstate.FlagUnclaimed
	if written(f) {
		e.tab.At(r).Flags |= pfstate.FlagImported
		e.tab.At(r).Created -= int64(e.cfg.DownFor) // a run wrote it
		e.tab.At(r).LastOp = e.tab.At(r).Created    // then, or before
		e.claim.written++
	}
	e.claim.waiting++
	return r
}

// claimStep is how many table slots one Tick walks.
const claimStep = 4096

func (c *claim) deadline() int64 {
	if c.naming != 0 {
		return 0
	}
	return never
}

// claimTick: when nobody will claim any more, and nothing that was said is
// missing, what is left gets our names.
func (e *Engine) claimTick(now int64) {
	c := &e.claim
	waited := e.bulk.over() || e.bulk.state == SyncStart && now-e.bulk.downAt >= linkHold
	if c.active && c.dumped && c.naming == 0 && waited && e.repair.gaps == 0 && !e.asksAgain(now) && !e.awaitsWitness(now) {
		c.naming = 1
	}
	if c.naming == 0 {
		return
	}
	end := min(c.naming+claimStep, e.tab.End())
	for ; c.naming < end; c.naming++ {
		r := c.naming
		if !e.tab.InUse(r) || !e.tab.At(r).Has(pfstate.FlagUnclaimed) {
			continue
		}
		e.nameRest(now, r)
	}
	if c.naming >= e.tab.End() {
		*c = claim{dumped: true}
		e.settles()
	}
}

// claimed: a peer's record names an entry that we found at start. The record
// may be about an earlier connection of the tuple than the kernel's entry, or
// about a later one; where the two contradict each other, the one that saw the
// last packet is right.
func (e *Engine) claimed(x *rx, r pfstate.Ref, m *record) {
	now, s := x.now, e.tab.At(r)
	ahead := s.Src.State > m.src.State || s.Dst.State > m.dst.State
	behind := (s.Src.State < m.src.State || s.Dst.State < m.dst.State) && max(m.src.State, m.dst.State) >= pfstate.PFEstablished // a handshake goes on
	tcp := s.Proto == pfstate.ProtoTCP
	idle := e.idle(now, s) - e.idleThere(m) // how much longer ours has been
	otherNAT := m.linux && m.reply != s.Reply
	done := min(s.Src.State, s.Dst.State) > pfstate.PFEstablished && max(m.src.State, m.dst.State) <= pfstate.PFEstablished
	younger := !m.linux && e.idle(now, s) > int64(m.age)*second+refreshSlack // than our last packet: how idle it is there its timeouts may hide
	switch {
	case otherNAT && (idle > refreshSlack || m.carried && idle > 0), m.linux && (m.carried || done) && tcp && ahead && idle > refreshSlack,
		tcp && done && younger:
		e.reason(ReasonLater) // ours is a leftover
		e.erase(r, false)
		e.insert(x, m)
		return
	case otherNAT, tcp && behind && (idle < -refreshSlack || !m.carried && !s.Has(pfstate.FlagImported) && idle < refreshSlack):
		e.reason(ReasonLater) // what the record names is over
		e.deleteName(now, m.name, false)
		if !m.other.IsZero() {
			e.deleteName(now, m.other, false)
		}
		e.nameLeft(now, r)
		return
	}
	s.Flags &^= pfstate.FlagUnclaimed
	e.claim.waiting--
	e.onlyPF.names(m, e.sinceLastRun(now)+runSlack)
	e.tab.SetName(r, m.side, m.name)
	s.Flags |= pfstate.FlagAnnounced
	s.Set(pfstate.FlagImported, !e.ours(m.name))
	s.SentExpire = now + int64(m.expire)*second
	opens := tcp && ahead && openedHere(s, m)
	later := idle < -refreshSlack && (tcp && ahead || s.KernExpire-now > int64(m.expire)*second+refreshSlack)
	if opens || later { // packets have passed here since the peer last heard of any
		e.setCarried(s, true)
		m.carried = false
		ahead = true
	}
	e.merge(now, r, m)
	e.acknowledge(now, r, m)
	if ahead { // the peer missed something, from us or from a third
		s.Expire = max(s.Expire, s.KernExpire) // and the time that went with it
		e.localUpdate(now, r, true)
	}
}

// openedHere reports whether a handshake of which the peer has seen a part has
// come further here: by packets, unless a program wrote the entry.
func openedHere(s *pfstate.State, m *record) bool {
	have := max(s.Src.State, s.Dst.State)
	return max(m.src.State, m.dst.State) < pfstate.PFEstablished &&
		(have < pfstate.PFEstablished || have == pfstate.PFEstablished && s.LastOp == 0)
}

// idle is how long ago the last packet of s passed here.
func (e *Engine) idle(now int64, s *pfstate.State) int64 {
	return int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status))*second - (s.KernExpire - now)
}

// idleThere is the same of a record at its sender, as far as that knew. A pf has
// timeouts of its own; of what is above its defaults we know no better than ours.
func (e *Engine) idleThere(m *record) int64 {
	if full := pfTimeout(m.timeout); !m.linux && full >= m.expire {
		return int64(full-m.expire) * second
	}
	return (int64(e.timeoutOf(m)) - int64(m.expire)) * second
}

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
