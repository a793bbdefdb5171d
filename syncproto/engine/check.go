package engine

import (
	"slices"

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

// checkable reports whether a peer can be compared with.
func (p *Peer) checkable(now int64) bool {
	return p.used && p.Linux && p.Digests && p.CreatorID != 0 && p.Living(now)
}

// doubt: a peer may have told what we did not hear.
func (e *Engine) doubt(now int64, p *Peer) {
	if !p.Digests || e.cfg.Format != syncproto.Format6 {
		e.bulkQuietly(now)
		return
	}
	p.doubt, p.doubtAt, p.doubtTries = true, now+doubtAfter, 0
}

// doubtAll is doubt about every peer. What could not be had may be had now.
func (e *Engine) doubtAll(now int64) {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Linux {
			p.forgive()
			e.doubt(now, p)
		}
	}
}

// doubtOurs: it was we who may have missed something, and what we told of it may
// have been wrong.
func (e *Engine) doubtOurs(now int64) {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Digests {
			e.doubt(now, p)
		}
	}
}

// forgive forgets which differences could not be healed.
func (p *Peer) forgive() { p.explained, p.lasting, p.unhealed = nil, nil, 0 }

// differs reports whether a difference from a peer's table is known, or frames
// were lost for good and what they told is not known yet.
func (e *Engine) differs() bool {
	if e.check.on && e.check.open > 0 {
		return true
	}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && (p.unhealed > 0 || p.doubt && p.missed) {
			return true
		}
	}
	return false
}

// lasting is how many states differ for good, 0 if there is more that will be
// put right.
func (e *Engine) lasting() (n int) {
	if e.dump.diverged || e.repair.doubt() || e.check.on && e.check.open > 0 {
		return 0
	}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used {
			if p.doubt && p.missed {
				return 0
			}
			n += p.unhealed
		}
	}
	return n
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
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.doubt && now >= p.doubtAt && p.checkable(now) {
			e.checkBegin(now, i, checkDoubt)
			return
		}
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

func (e *Engine) checkBegin(now int64, peer int, why checkWhy) {
	c, p := &e.check, &e.peers.list[peer]
	if c.byName == nil {
		c.byName = map[pfstate.ID]int{}
	}
	*c = check{on: true, why: why, peer: peer, creator: p.CreatorID, epoch: p.Epoch, known: p.unhealed, number: c.number + 1,
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
	case how == VerifyEqual:
		p.doubt, p.missed = false, false
	case how == VerifySilent: // when it is heard again there is doubt again
		p.doubt = false
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

// sliceBegin goes on with the buckets from first.
func (e *Engine) sliceBegin(now int64, first int) {
	c := &e.check
	if first >= c.buckets {
		e.checkEnd(now, VerifyEqual)
		return
	}
	if first != c.first {
		c.repeats = 0
	}
	c.first, c.count, c.times = first, min(maxSlice, c.buckets-first), 0
	for i := range c.count {
		c.differ[i] = true
	}
	e.askDigests(now)
}

// askDigests asks for those of the buckets that differ, or may.
func (e *Engine) askDigests(now int64) {
	c := &e.check
	c.phase, c.ask, c.pause, c.tries, c.timer = checkDigests, true, false, 0, now+checkRetry
	c.left = 0
	for i := range c.count {
		c.got[i] = !c.differ[i]
		if c.differ[i] {
			c.left++
		}
	}
}

// missing is the next range of the slice of which digests are to be asked for.
func (c *check) missing() (first, n int) {
	first = slices.Index(c.got[:c.count], false)
	for i := first; i < min(first+maxQuestion, c.count); i++ {
		if !c.got[i] {
			n = i - first + 1
		}
	}
	return first, n
}

// fillCheck puts in the question.
func (e *Engine) fillCheck(f *frame) {
	c := &e.check
	if !c.on || !c.ask {
		return
	}
	tlvs := e.scratch.tlvs[:0]
	switch c.phase {
	case checkLooks:
		if c.sawPeer {
			c.ask = false
			return
		}
		tlvs = syncproto.AppendLook(tlvs, c.number)
	case checkDigests:
		first, n := c.missing()
		tlvs = syncproto.AppendWantDigests(tlvs, &syncproto.WantDigests{
			Buckets: uint16(c.buckets), First: uint16(c.first + first), Count: uint16(n)})
	case checkBuckets:
		c.askedTo = min(c.at+checkAhead, len(c.todo))
		tlvs = syncproto.AppendWantBuckets(tlvs, uint16(c.buckets), c.todo[c.at:c.askedTo])
	}
	if !f.room(len(tlvs)) {
		return
	}
	c.ask = false
	f.control(c.creator, tlvs)
	e.reason(ReasonCheckAsked)
}

// checkHear reads the answers in a frame, after all else in it.
func (e *Engine) checkHear(x *rx) {
	c := &e.check
	if !c.on || c.peer != int(x.index) || x.info == nil || x.late || x.peer.gap.n > 0 {
		return
	}
	var ex syncproto.Extra
	left := c.left
	for i := 1; i < x.extra.Whole(); i++ {
		if syncproto.ParseExtra(x.extra.Message(i), &ex) != nil || ex.ID != 0 || ex.CreatorID != e.cfg.HostID {
			continue
		}
		for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
			var d syncproto.Digest
			var b syncproto.Bucket
			switch {
			case t == syncproto.TLVDigest && c.phase == checkDigests && syncproto.ParseDigest(v, &d) == nil:
				e.heardDigests(&d)
			case t == syncproto.TLVBucket && c.phase == checkBuckets && syncproto.ParseBucket(v, &b) == nil:
				e.heardBucket(x.now, &b)
			}
		}
	}
	switch {
	case c.phase != checkDigests:
	case c.left == 0:
		e.sliceCompared(x.now)
	case c.left < left && c.why == checkSlow:
		c.pause, c.timer = true, x.now+slowPause
	case c.left < left:
		c.ask, c.timer = true, x.now+checkRetry
	}
}

// heardDigests compares.
func (e *Engine) heardDigests(d *syncproto.Digest) {
	c := &e.check
	if int(d.Buckets) != c.buckets {
		return
	}
	p := &e.peers.list[c.peer]
	for i := range d.Len() {
		n := int(d.First) + i - c.first
		if n < 0 || n >= c.count || c.got[n] {
			continue
		}
		c.got[n] = true
		c.left--
		if d.At(i)-e.tab.DigestSum(c.buckets, c.first+n) == p.explainedSum(c.buckets, c.first+n) {
			c.differ[n] = false
		}
	}
	c.tries = 0
}

// explainedSum is by how much a bucket is known to differ.
func (p *Peer) explainedSum(buckets, bucket int) (sum uint64) {
	if p.explained == nil {
		return 0
	}
	per := pfstate.DigestBuckets / buckets
	for _, d := range p.explained[bucket*per : (bucket+1)*per] {
		sum += d
	}
	return sum
}

// sliceCompared: all digests of the slice are here.
func (e *Engine) sliceCompared(now int64) {
	c := &e.check
	c.todo = c.todo[:0]
	for i := range c.count {
		if c.differ[i] {
			c.todo = append(c.todo, uint16(c.first+i))
		}
	}
	p := &e.peers.list[c.peer]
	c.times++
	switch {
	case len(c.todo) == 0:
		e.sliceBegin(now, c.first+c.count)
	case c.times < checkTimes:
		c.phase, c.timer = checkSettle, now+checkPause
	case c.why != checkDemand && len(c.todo) > leastMass && len(c.todo) > c.count/2 && (p.bulked == 0 || now-p.bulked > massAgain):
		p.bulked = now // cheaper than to name all these
		c.differed, c.healed = true, true
		e.checkEnd(now, VerifyBroken)
		e.bulkQuietly(now)
	default:
		e.reasonN(ReasonCheckBuckets, len(c.todo))
		c.differed, c.round, c.overflow = true, 0, false
		c.suspects = c.suspects[:0]
		clear(c.byName)
		e.roundBegin(now)
	}
}

// roundBegin asks for the contents of the buckets with something open.
func (e *Engine) roundBegin(now int64) {
	c := &e.check
	if c.round > 0 {
		c.todo = c.todo[:0]
		for i := range c.suspects {
			if s := &c.suspects[i]; s.state == suspectOpen {
				c.todo = append(c.todo, s.bucketOf(c.buckets))
			}
		}
		slices.Sort(c.todo)
		c.todo = slices.Compact(c.todo)
	}
	c.round++
	c.at, c.askedTo, c.items = 0, 0, c.items[:0]
	c.phase, c.ask, c.tries, c.timer = checkBuckets, true, 0, now+checkRetry
	e.indexReady(now)
}

// heardBucket takes a part of a bucket; the parts come in order.
func (e *Engine) heardBucket(now int64, b *syncproto.Bucket) {
	c := &e.check
	if int(b.Buckets) != c.buckets || c.at >= len(c.todo) || b.Number != c.todo[c.at] || int(b.First) != len(c.items) {
		return
	}
	if b.Total > maxBucket || b.Len() == 0 && b.Total != b.First {
		e.reason(ReasonBadCheck)
		return
	}
	for i := range b.Len() {
		c.items = append(c.items, b.At(i))
	}
	c.tries, c.timer = 0, now+checkRetry
	if len(c.items) < int(b.Total) {
		return
	}
	e.bucketCompared(now, int(b.Number))
	c.items = c.items[:0]
	c.at++
	switch {
	case c.at == len(c.todo):
		e.roundEnd(now)
	case c.at == c.askedTo:
		c.ask = true
	}
}

// reasonN counts n.
func (e *Engine) reasonN(r Reason, n int) { e.Stats.Reason[r] += uint64(n) }
