package engine

import (
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// The rounds of a check, from the digests of a slice to the contents of the
// buckets that differ (check.go, steps 2 to 4).

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
