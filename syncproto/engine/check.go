package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// A check compares our table with that of one Linux peer, and heals what
// differs (design section 7, repair):
//
//  1. On demand both first look at their kernels by a dump.
//  2. The digests of the buckets are asked for, as many at a time as a frame
//     holds, and compared with ours when the frame has been read.
//  3. Those that differ are asked for again, twice: what changes right now is
//     equal a moment later.
//  4. Of buckets that still differ the contents are asked for, state by state.
//     A state that differs at two such rounds in the same way is a difference;
//     it is healed (differ.go), and further rounds see whether that helped.
//  5. What cannot be healed, for the other kernel refused it or a filter keeps
//     it out, is remembered as the sum that the bucket differs by, so that it
//     is not talked about again until that changes.
//
// There is one check at a time, with one question open. Of two peers the one
// with the higher creatorid asks, at a slow pace, for ever; whoever is in doubt
// asks at once, and whoever is told to.

// checkWhy is what a check is made for.
type checkWhy uint8

const (
	checkSlow   checkWhy = iota // in the background
	checkDoubt                  // something may have been missed
	checkDemand                 // somebody wants to know
)

// checkPhase is what a check waits for.
type checkPhase uint8

const (
	checkLooks   checkPhase = iota // both sides' kernels
	checkDigests                   // the digests of the slice
	checkSettle                    // a moment, to ask for them again
	checkBuckets                   // the contents of buckets
	checkRest                      // a moment, to ask for those again
)

const (
	maxSlice     = pfstate.DigestBuckets    // buckets compared before contents are asked for
	maxQuestion  = 4 * syncproto.MaxDigests // digests asked for at a time
	leastMass    = 32                       // buckets that must differ for a transfer to be cheaper
	checkTimes   = 3                        // comparisons of digests before contents are asked for
	checkRounds  = 12                       // of contents
	checkWaits   = 4                        // of them for a state that keeps changing
	checkHeals   = 3                        // of one state
	checkHits    = 2                        // rounds in which a state must differ
	checkAhead   = 8                        // buckets asked for at a time
	checkRetry   = 250 * milli
	checkTries   = 12
	checkPause   = 200 * milli // before the digests are asked for again
	roundPause   = second
	slowPause    = 250 * milli // between two questions in the background
	slowEvery    = 20 * second // between two checks of a peer in the background
	slowMost     = 640 * second
	differsEvery = 5 * second // the same where a difference is known: that it is gone is to be said
	doubtAfter   = 200 * milli
	doubtAgain   = 5 * second
	doubtTries   = 10
	massAgain    = 60 * second // between two transfers asked for because too much differs
	statesBucket = 32          // states in a bucket, about
	leastBuckets = 16
	maxRepeats   = 64 // of a slice with more differences than fit
)

// check is the one under way.
type check struct {
	on      bool
	began   int64
	why     checkWhy
	phase   checkPhase
	peer    int    // place in the list
	creator uint32 // of the peer
	epoch   uint32 // of the peer
	known   int    // lasting differences when it began
	ask     bool   // the question is to be sent
	timer   int64  // when it is asked again, or the rest is over
	tries   int

	buckets, first, count int
	got, differ           [maxSlice]bool
	left                  int  // digests of the slice not told yet
	pause                 bool // there is time until the next question
	times                 int  // the slice was compared
	repeats               int

	round    int
	todo     []uint16 // buckets to be told in this round
	at       int      // place in todo of the one that is being told
	askedTo  int      // place in todo up to which was asked
	items    []syncproto.Item
	suspects []suspect
	byName   map[pfstate.ID]int // place in suspects
	overflow bool               // more differ than have room
	open     int                // differences not healed yet
	differed bool               // a bucket did, until the end
	healed   bool               // something was

	number  uint32 // of the look
	sawHere bool   // our kernel
	sawPeer bool
}

// checkDeadline is when something of this is due.
func (e *Engine) checkDeadline() int64 {
	if e.index.making || e.recount.whole {
		return 0
	}
	d := e.tellAt()
	if e.look.until != 0 {
		d = min(d, e.look.until)
	}
	if e.check.on && !e.check.ask {
		d = min(d, e.check.timer)
	}
	return d
}

// checkTick lets time pass for all of this.
func (e *Engine) checkTick(now int64) {
	e.recountTick(now)
	e.indexTick(now)
	e.lookTick(now)
	c := &e.check
	if c.on && c.why == checkSlow && e.doubtDue(now) >= 0 {
		e.checkEnd(now, VerifyBroken) // that cannot wait, and may be about what was compared already
	}
	switch {
	case !c.on:
		e.checkNext(now)
		return
	case !e.comparable():
		if c.why != checkDemand || e.bulk.over() {
			e.checkEnd(now, VerifyBroken)
		}
		return
	case !e.peers.list[c.peer].checkable(now):
		e.checkEnd(now, VerifySilent)
		return
	case e.peers.list[c.peer].Epoch != c.epoch:
		e.checkEnd(now, VerifyBroken)
		return
	case now < c.timer:
		return
	}
	switch {
	case c.phase == checkSettle:
		e.askDigests(now)
	case c.phase == checkRest:
		e.roundBegin(now)
	case c.pause:
		c.pause, c.ask, c.timer = false, true, now+checkRetry
	default:
		e.checkLate(now)
	}
}

// checkLate: no answer came.
func (e *Engine) checkLate(now int64) {
	c := &e.check
	most := checkTries
	if c.phase == checkLooks {
		most *= 10 // a large table takes its time
	}
	if c.tries++; c.tries > most {
		e.checkEnd(now, VerifyMute)
		return
	}
	c.ask = true
	c.askedTo = c.at
	c.timer = now + checkRetry*int64(min(c.tries, 4))
}

// checkNext begins the check that is due, if one is.
func (e *Engine) checkNext(now int64) {
	if !e.comparable() {
		return
	}
	if i, ok := e.verifyNext(now); ok {
		e.checkBegin(now, i, checkDemand)
		return
	}
	if i := e.doubtDue(now); i >= 0 {
		e.checkBegin(now, i, checkDoubt)
		return
	}
	for i := range e.peers.list {
		p := &e.peers.list[i]
		mine := p.CreatorID < e.cfg.HostID || p.unhealed > 0
		if p.checkable(now) && (p.InSync || p.unhealed > 0) && mine && now >= p.nextCheck && !e.serve.active {
			e.checkBegin(now, i, checkSlow)
			return
		}
	}
}

// doubtDue is the place of a peer that a check is due of, for there is doubt
// about it; -1 none.
func (e *Engine) doubtDue(now int64) int {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.doubt && now >= p.doubtAt && p.checkable(now) {
			return i
		}
	}
	return -1
}

func (e *Engine) checkBegin(now int64, peer int, why checkWhy) {
	c, p := &e.check, &e.peers.list[peer]
	if c.byName == nil {
		c.byName = map[pfstate.ID]int{}
	}
	*c = check{on: true, began: now, why: why, peer: peer, creator: p.CreatorID, epoch: p.Epoch, known: p.unhealed, number: c.number + 1,
		todo: c.todo[:0], items: c.items[:0], suspects: c.suspects[:0], byName: c.byName}
	c.buckets = leastBuckets
	for c.buckets < pfstate.DigestBuckets && c.buckets*statesBucket < max(e.tab.Len(), int(p.States)) {
		c.buckets *= 2
	}
	e.reason(ReasonChecks)
	if why == checkDemand {
		p.forgive()
		c.phase, c.ask, c.timer = checkLooks, true, now+checkRetry
		e.lookWant(now)
		return
	}
	e.sliceBegin(now, 0)
}

// checkEnd ends a check, and says when the next is due.
func (e *Engine) checkEnd(now int64, how Outcome) {
	c := &e.check
	p := &e.peers.list[c.peer]
	c.on, c.ask = false, false
	every := slowEvery
	if p.unhealed > 0 {
		every = differsEvery
	}
	switch {
	case how != VerifyEqual: // it was not made to the end
	case p.unhealed > 0 && c.known == 0:
		p.checkEvery = every
	case c.differed && !c.healed: // nothing helps, or it lies
		p.checkEvery = min(max(2*p.checkEvery, every), slowMost)
	default:
		p.checkEvery = 0
	}
	p.nextCheck = now + max(p.checkEvery, every)
	if c.why == checkDemand {
		e.verifyEnded(now, how)
	}
	if c.why != checkDoubt {
		return
	}
	switch {
	case how == VerifyEqual && p.doubtAt > c.began: // again, about what was compared already
		p.doubtAt = now + doubtAgain
	case how == VerifyEqual:
		p.doubt, p.missed = false, false
	case how == VerifySilent: // when it is heard again
		p.doubtAt = now + doubtAfter
	case p.doubtTries+1 >= doubtTries:
		p.doubt, p.missed = false, false
		e.bulkQuietly(now)
	default:
		p.doubtTries++
		p.doubtAt = now + doubtAgain
	}
}

// checkStop gives up all that is under way: there is no link.
func (e *Engine) checkStop(now int64) {
	if e.check.on {
		e.checkEnd(now, VerifyBroken)
	}
	e.verifyStop()
}

// checkLooked: the peer has looked at its kernel.
func (e *Engine) checkLooked(x *rx, v []byte) {
	c := &e.check
	var m syncproto.Looked
	if syncproto.ParseLooked(v, &m) != nil || !c.on || c.phase != checkLooks || c.peer != int(x.index) || m.Number != c.number {
		return
	}
	e.verifyFoundThere(x.now, &m)
	c.sawPeer = true
	e.checkSaw(x.now)
}

// checkSawKernel: we have looked at ours.
func (e *Engine) checkSawKernel(now int64) {
	c := &e.check
	if !c.on || c.phase != checkLooks || c.sawHere {
		return
	}
	c.sawHere = true
	for i := range e.look.found {
		f := &e.look.found[i]
		e.verifyFound(now, pfstate.ID(f.ID), foundKind(f.How, DifferGoneHere), &f.record)
	}
	e.checkSaw(now)
}

func (e *Engine) checkSaw(now int64) {
	if c := &e.check; c.sawHere && c.sawPeer {
		e.sliceBegin(now, 0)
	}
}
