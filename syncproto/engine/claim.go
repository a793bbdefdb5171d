package engine

import "github.com/pfsync/pfsync/pfstate"

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
