package engine

import (
	"github.com/pfsync/pfsync/pfstate"
)

// Digests of what was told
//
// The sums of the table's buckets (pfstate/digest.go) stand for what peers have
// been told, and have told us: a state is entered anew when a frame with it
// leaves, when a peer's record of it has been taken in, and when the kernel has
// answered. So the sums that go with a frame are what its receiver's are once
// it has read that frame, however fast the tables change; only what the
// receiver told at the same moment is not in them.
//
// A slow walk enters every state again as it is. What changed without being
// told, which should not happen, becomes a difference that is seen.

const (
	recountStep  = 1 << 14 // table slots in one Tick at most
	recountLeast = 1 << 10
	recountParts = 16 // a table is gone through in so many steps, a second each
)

// recount is the slow walk.
type recount struct {
	cursor pfstate.Ref
	at     int64 // when its next step is due, with the first Tick after that: there is one at every heartbeat
	whole  bool  // it is waited for: no pause until it has gone through once
}

// told enters a state into its bucket's sum as it is now.
func (e *Engine) told(r pfstate.Ref) {
	if e.tab.At(r).Flags&(pfstate.FlagDead|pfstate.FlagUnclaimed) != 0 {
		e.tab.DigestOut(r)
		return
	}
	e.tab.DigestIn(r)
}

// known enters a state of which news came, unless it has news of its own that
// nobody was told: then its frame will.
func (e *Engine) known(r pfstate.Ref) {
	if q := e.tab.At(r).Queue; q == qNone || q == qIack {
		e.told(r)
	}
}

// heardOf is the same for the state of a name that a peer told of.
func (e *Engine) heardOf(id pfstate.ID) {
	if r, _, ok := e.tab.ByName(id); ok {
		e.known(r)
	}
}

// recountAll goes through the whole table as soon as possible.
func (e *Engine) recountAll() {
	e.recount = recount{cursor: 1, whole: true}
}

func (e *Engine) recountTick(now int64) {
	c := &e.recount
	if now < c.at && !c.whole || !e.cfg.Sync {
		return
	}
	step := recountStep
	if !c.whole {
		step = min(recountStep, max(recountLeast, int(e.tab.End())/recountParts))
	}
	end := min(max(c.cursor, 1)+pfstate.Ref(step), e.tab.End())
	for c.cursor = max(c.cursor, 1); c.cursor < end; c.cursor++ {
		if e.tab.InUse(c.cursor) && !e.tab.At(c.cursor).Has(pfstate.FlagDead) {
			e.known(c.cursor)
		}
	}
	c.at = now + second
	if c.cursor >= e.tab.End() {
		c.cursor, c.whole = 1, false
	}
}

// bucketIndex finds the states of a bucket. It is made when buckets are told,
// by a walk, and thrown away soon after: states that came since are not in it.
type bucketIndex struct {
	head   []uint32 // by bucket, the first state
	next   []uint32 // by state, the next one of its bucket
	cursor pfstate.Ref
	making bool
	made   int64 // when the walk ended, 0 never
	used   int64
}

const (
	indexFresh = 2 * second  // an older one is made again before it is used
	indexKeep  = 60 * second // unused, its memory is given back
)

// indexReady reports whether the index can be used, and sees to it that it will
// be if not.
func (e *Engine) indexReady(now int64) bool {
	x := &e.index
	x.used = now
	if x.made != 0 && now-x.made < indexFresh {
		return true
	}
	if !x.making {
		e.indexBegin()
		e.indexTick(now)
	}
	return !x.making
}

func (e *Engine) indexBegin() {
	x := &e.index
	if len(x.head) == 0 {
		x.head = make([]uint32, pfstate.DigestBuckets)
	}
	clear(x.head)
	if n := int(e.tab.End()); cap(x.next) < n {
		x.next = make([]uint32, n+n/8)
	}
	x.next = x.next[:cap(x.next)]
	x.cursor, x.making, x.made = 1, true, 0
}

// indexTick makes a part of the index.
func (e *Engine) indexTick(now int64) {
	x := &e.index
	if !x.making {
		if x.head != nil && now-x.used > indexKeep {
			*x = bucketIndex{}
		}
		return
	}
	last := min(e.tab.End(), pfstate.Ref(len(x.next)))
	end := min(x.cursor+recountStep, last)
	for ; x.cursor < end; x.cursor++ {
		if !e.tab.InUse(x.cursor) || e.tab.At(x.cursor).Digest() == 0 {
			continue
		}
		b := &x.head[pfstate.DigestBucket(e.tab.At(x.cursor).DigestName())]
		x.next[x.cursor], *b = *b, uint32(x.cursor)
	}
	if x.cursor >= last {
		x.making, x.made = false, now
	}
}

// inBucket calls f with the states of one of so many buckets, until it returns
// false.
func (e *Engine) inBucket(buckets, number int, f func(pfstate.Ref, *pfstate.State) bool) {
	per := pfstate.DigestBuckets / buckets
	for b := number * per; b < (number+1)*per; b++ {
		for r := pfstate.Ref(e.index.head[b]); r != 0; r = pfstate.Ref(e.index.next[r]) {
			if !e.tab.InUse(r) {
				continue
			}
			if s := e.tab.At(r); s.Digest() != 0 && pfstate.DigestBucket(s.DigestName()) == b && !f(r, s) {
				return
			}
		}
	}
}

const (
	settleTime = second      // how long after a change a state counts as changing
	youngTime  = 3 * second  // how long a new one does
	endingTime = 15 * second // before its end, which kernels see at different times
)

// changing reports whether a state changes right now, so that a difference in
// it says nothing yet.
func (e *Engine) changing(now int64, s *pfstate.State) bool {
	switch {
	case s.Queue != qNone && s.Queue != qIack, s.Op != 0, s.InFlight != 0, s.Tries > 0, s.Defer&pfstate.DeferPending != 0:
		return true
	}
	return now-s.LastOp < settleTime && s.LastOp != 0 || now-s.Created < youngTime
}

// ending reports whether a state is about to end, so that a difference in it
// will be over soon.
func (e *Engine) ending(now int64, s *pfstate.State) bool { return s.Expire < now+endingTime }
