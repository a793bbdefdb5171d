package engine

import (
	"fmt"

	"github.com/pfsync/pfsync/pfstate"
)

// broken says what is wrong with the inside of an engine; "" if nothing is.
func broken(e *Engine) string {
	for _, check := range []func(*Engine) string{brokenQueues, brokenOps, brokenIndexes, brokenCounts, brokenKept} {
		if s := check(e); s != "" {
			return s
		}
	}
	return ""
}

// brokenQueues: a state is on the queue that it names, and on no other.
func brokenQueues(e *Engine) string {
	on := map[pfstate.Ref]uint8{}
	bytes := 0
	for q := range queueKinds {
		n := 0
		for r := e.queues[q].Head(); r != 0; r = e.tab.NextOn(&e.queues[q], r) {
			if !e.tab.InUse(r) || e.tab.At(r).Queue != q || on[r] != 0 {
				return fmt.Sprintf("state %d on queue %d, names %d, is on %d", r, q, e.tab.At(r).Queue, on[r])
			}
			on[r] = q
			bytes += e.queueLen(q)
			if n++; n > e.queues[q].Len() {
				return fmt.Sprintf("queue %d is longer than %d", q, e.queues[q].Len())
			}
		}
		if n != e.queues[q].Len() {
			return fmt.Sprintf("queue %d has %d, says %d", q, n, e.queues[q].Len())
		}
	}
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if e.tab.InUse(r) && e.tab.At(r).Queue != on[r] {
			return fmt.Sprintf("state %d names queue %d, is on %d", r, e.tab.At(r).Queue, on[r])
		}
	}
	if bytes != e.queuedB {
		return fmt.Sprintf("%d bytes queued, says %d", bytes, e.queuedB)
	}
	return ""
}

// brokenOps: who wants an operation and has none under way waits for it.
func brokenOps(e *Engine) string {
	n := 0
	for r := e.ops.Head(); r != 0; r = e.tab.NextOn(&e.ops, r) {
		if s := e.tab.At(r); !e.tab.InUse(r) || s.Op == 0 || s.InFlight != 0 {
			return fmt.Sprintf("state %d waits with operation %d, under way %d", r, s.Op, s.InFlight)
		}
		n++
	}
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if e.tab.InUse(r) && e.tab.At(r).Op != 0 && e.tab.At(r).InFlight == 0 {
			n--
		}
	}
	if n != 0 || len(e.dying) > e.tab.Len() {
		return fmt.Sprintf("%d operations wait that nobody wants; %d dying", n, len(e.dying))
	}
	return ""
}

// brokenIndexes: names and tuples lead to their states.
func brokenIndexes(e *Engine) string {
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if !e.tab.InUse(r) {
			continue
		}
		s := e.tab.At(r)
		for side := range pfstate.Sides {
			if id := s.Name(side); !id.IsZero() {
				if got, gotSide, ok := e.tab.ByName(id); !ok || got != r || gotSide != side {
					return fmt.Sprintf("name %s of state %d leads to %d side %d", id, r, got, gotSide)
				}
			}
		}
		if e.tab.TuplesLinked(r) {
			if got, reply, ok := e.tab.ByTuple(&s.Orig, s.AF, s.Proto, s.Zone[0]); !ok || !reply && e.tab.At(got).Orig != s.Orig {
				return fmt.Sprintf("tuple of state %d leads to %d", r, got)
			}
		} else if !s.Has(pfstate.FlagDead) {
			return fmt.Sprintf("state %d lives and is not found by tuple", r)
		}
	}
	return ""
}

// brokenCounts: numbers kept beside the table agree with it, and what is kept
// for peers is bounded.
func brokenCounts(e *Engine) string {
	carried, held, waiting, n := 0, 0, 0, 0
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if !e.tab.InUse(r) {
			continue
		}
		n++
		s := e.tab.At(r)
		if s.Has(pfstate.FlagCarried) {
			carried++
		}
		if s.Queue == qDel {
			held++
		}
		if s.Has(pfstate.FlagUnclaimed) {
			waiting++
		}
	}
	switch {
	case n != e.tab.Len():
		return fmt.Sprintf("%d states, says %d", n, e.tab.Len())
	case carried != e.carried:
		return fmt.Sprintf("%d carried, says %d", carried, e.carried)
	case held != e.held:
		return fmt.Sprintf("%d dead held, says %d", held, e.held)
	case waiting != e.claim.waiting:
		return fmt.Sprintf("%d unclaimed, says %d", waiting, e.claim.waiting)
	case brokenLimits(e) != "":
		return brokenLimits(e)
	case e.rawDel.len() > maxHeld || e.held > maxHeld || e.reqs.len() > ringSize || len(e.repair.answers) > maxAnswers:
		return "more is kept for peers than bounds allow"
	}
	return ""
}

// brokenLimits: no source is over what it may make us do.
func brokenLimits(e *Engine) string {
	for i := range e.peers.list {
		p := &e.peers.list[i]
		if p.replies.used > replyBurst || p.clrs.used > clrBurst || p.bulks.used > bulkBurst {
			return fmt.Sprintf("%s is over its limits: %+v", p.Addr, p)
		}
	}
	return ""
}

// brokenKept: what is kept beside the table has its place, and no name is in
// both.
func brokenKept(e *Engine) string {
	k := &e.kept
	used := 0
	for i := range k.list {
		if !k.list[i].used {
			continue
		}
		used++
		id := pfstate.ID(k.list[i].State.StateID())
		if place, ok := k.byName[id]; !ok || place != i {
			return fmt.Sprintf("%s, kept at %d, leads to %d", id, i, place)
		}
		if _, _, ok := e.tab.ByName(id); ok {
			return fmt.Sprintf("%s is kept, and in the table", id)
		}
	}
	if used != len(k.byName) || used+len(k.free) != len(k.list) {
		return fmt.Sprintf("%d kept, %d names, %d free of %d", used, len(k.byName), len(k.free), len(k.list))
	}
	return ""
}
