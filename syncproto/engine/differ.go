package engine

import (
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Differences between two tables, found by a check (check.go), and how each is
// healed: what carries a state is right; what is only on one side is given to
// the other, or is over. A state that lives is never deleted: that it does not
// is known only if every firewall has been there all its life, none carries
// it, and the kernel has seen no packet of it since (design section 5,
// carrier).

// Difference is the kind of one.
type Difference uint8

// Kinds of difference.
const (
	DifferMissingHere  Difference = iota // the peer has it
	DifferMissingThere                   // only we have it
	DifferContents
	DifferRefusedHere  // our kernel did not take it
	DifferRefusedThere // the peer's did not
	DifferNamed        // the peer has it under another name
	DifferGoneHere     // our kernel's entry was gone
	DifferChangedHere  // it had changed
	DifferNewHere      // there was an entry without a state
	DifferGoneThere    // of the peer's kernel
	DifferChangedThere
	DifferNewThere
	Differences
)

var differenceNames = [Differences]string{
	"missing here", "missing there", "contents", "refused here", "refused there", "named otherwise",
	"gone here", "changed here", "new here", "gone there", "changed there", "new there",
}

func (d Difference) String() string { return differenceNames[d] }

const maxSuspects = 1 << 12 // states of a slice that differ

// suspectState is what has become of a suspect.
type suspectState uint8

const (
	suspectOpen     suspectState = iota // differs, or may
	suspectDropped                      // it did not last
	suspectHealed                       // it did, and was healed
	suspectUnhealed                     // nothing helped
)

// suspect is a state that differs.
type suspect struct {
	id           pfstate.ID
	kind         Difference
	theirs, mine uint32 // digests, 0 none
	flags        uint8  // of the peer's item
	round        int    // in which it was last seen
	hits         int    // rounds in which it differed in this way
	heals        int
	waits        bool // it changes: neither a hit nor healed
	confirmed    bool
	withheld     bool // our filter keeps it out
	state        suspectState
	told         int // 1 + place in the verification, 0 none
}

func (s *suspect) bucketOf(buckets int) uint16 {
	return uint16(pfstate.DigestBucket(s.id) * buckets / pfstate.DigestBuckets)
}

// bucketCompared compares the contents of a bucket, all of which are in items,
// with ours.
func (e *Engine) bucketCompared(now int64, number int) {
	c := &e.check
	for i := range c.items {
		e.itemCompared(now, &c.items[i])
	}
	byID := func(a, b syncproto.Item) int {
		switch {
		case a.ID == b.ID:
			return 0
		case pfstate.ID(a.ID).Less(pfstate.ID(b.ID)):
			return -1
		}
		return 1
	}
	slices.SortFunc(c.items, byID)
	e.inBucket(c.buckets, number, func(_ pfstate.Ref, s *pfstate.State) bool {
		id := s.DigestName()
		_, there := slices.BinarySearchFunc(c.items, syncproto.Item{ID: syncproto.ID(id)}, byID)
		if !there && !e.ending(now, s) {
			e.suspect(suspect{id: id, kind: DifferMissingThere, mine: s.Digest(), waits: e.changing(now, s)})
		}
		return true
	})
	for i := range c.suspects {
		s := &c.suspects[i]
		if s.state == suspectOpen && s.round != c.round && int(s.bucketOf(c.buckets)) == number {
			e.settled(now, s)
		}
	}
}

// itemCompared compares one state of the peer's with ours.
func (e *Engine) itemCompared(now int64, it *syncproto.Item) {
	id := pfstate.ID(it.ID)
	if id.IsZero() || it.Flags&syncproto.ItemEnding != 0 {
		return
	}
	v := suspect{id: id, kind: DifferMissingHere, theirs: it.Digest, flags: it.Flags, waits: it.Flags&syncproto.ItemChanging != 0}
	r, _, ok := e.tab.ByName(id)
	if ok {
		s := e.tab.At(r)
		refusedHere, refusedThere := !s.Has(pfstate.FlagInKernel), it.Flags&syncproto.ItemRefused != 0
		v.mine = s.Digest()
		switch {
		case s.Has(pfstate.FlagDead) || e.ending(now, s) || v.mine == v.theirs:
			return
		case s.DigestName() != id:
			v.kind = DifferNamed
		case refusedHere && !refusedThere:
			v.kind = DifferRefusedHere
		case refusedThere && !refusedHere:
			v.kind = DifferRefusedThere
		default:
			v.kind = DifferContents
		}
		v.waits = v.waits || e.changing(now, s)
	}
	e.suspect(v)
}

// suspect notes that a state differs in this round.
func (e *Engine) suspect(v suspect) {
	c := &e.check
	i, ok := c.byName[v.id]
	switch {
	case !ok && len(c.suspects) >= maxSuspects:
		c.overflow = true
		return
	case !ok:
		i = len(c.suspects)
		c.byName[v.id] = i
		c.suspects = append(c.suspects, suspect{id: v.id})
	}
	s := &c.suspects[i]
	if s.kind != v.kind || s.theirs != v.theirs || s.mine != v.mine {
		s.hits = 0
	}
	if s.state == suspectDropped {
		s.state = suspectOpen
	}
	s.theirs, s.mine, s.flags, s.round, s.waits = v.theirs, v.mine, v.flags, c.round, v.waits
	if !s.confirmed {
		s.kind = v.kind
	}
	if !v.waits {
		s.hits++
	}
}

// settled: a suspect was not seen in a round that told all of its bucket.
func (e *Engine) settled(now int64, s *suspect) {
	s.state = suspectDropped
	e.check.healed = true
	if s.confirmed {
		s.state = suspectHealed
		e.check.open--
		e.reason(ReasonCheckHealed)
		e.verifyHealed(now, s)
	}
}

// roundEnd judges what a round has shown.
func (e *Engine) roundEnd(now int64) {
	c := &e.check
	open := 0
	for i := range c.suspects {
		s := &c.suspects[i]
		if s.state != suspectOpen {
			continue
		}
		if s.hits >= checkHits && !s.confirmed {
			s.confirmed = true
			c.open++
			e.reason(ReasonCheckDiffered)
			e.verifyDiffers(now, s)
		}
		switch {
		case s.confirmed && !s.waits && (s.heals >= checkHeals || s.withheld), c.round >= checkRounds, s.waits && !s.confirmed && c.round >= checkWaits:
			e.unhealed(now, s)
			continue
		case s.confirmed && !s.waits:
			e.heal(now, s)
			s.heals++
		}
		open++
	}
	if open > 0 {
		c.phase, c.timer = checkRest, now+roundPause
		return
	}
	e.explain()
	next := c.first + c.count
	if c.overflow && c.healed && c.repeats < maxRepeats {
		c.repeats++
		next = c.first
	}
	e.sliceBegin(now, next)
}

func (e *Engine) unhealed(now int64, s *suspect) {
	if !s.confirmed {
		s.state = suspectDropped
		return
	}
	s.state = suspectUnhealed
	e.check.open--
	if !s.withheld {
		e.reason(ReasonCheckUnhealed)
	}
	e.verifyUnhealed(now, s)
}

// explain keeps by how much the slice's buckets differ for good.
func (e *Engine) explain() {
	c := &e.check
	p := &e.peers.list[c.peer]
	per := pfstate.DigestBuckets / c.buckets
	for i := range c.count {
		if !c.differ[i] || p.explained == nil {
			continue
		}
		for b := (c.first + i) * per; b < (c.first+i+1)*per; b++ {
			p.unhealed -= int(p.lasting[b])
			p.explained[b], p.lasting[b] = 0, 0
		}
	}
	for i := range c.suspects {
		s := &c.suspects[i]
		if s.state != suspectUnhealed {
			continue
		}
		if p.explained == nil {
			p.explained, p.lasting = make([]uint64, pfstate.DigestBuckets), make([]uint16, pfstate.DigestBuckets)
		}
		b := pfstate.DigestBucket(s.id)
		p.explained[b] += pfstate.DigestTerm(s.theirs) - pfstate.DigestTerm(s.mine)
		if !s.withheld && p.lasting[b] < 1<<16-1 {
			p.lasting[b]++
			p.unhealed++
		}
	}
}

// heal does what can be done about a difference.
func (e *Engine) heal(now int64, s *suspect) {
	c := &e.check
	p := &e.peers.list[c.peer]
	r, _, ok := e.tab.ByName(s.id)
	if ok && e.tab.At(r).Has(pfstate.FlagDead) {
		return
	}
	switch {
	case !ok && s.kind != DifferMissingHere:
	case !ok && s.flags&syncproto.ItemCarried != 0:
		e.request(now, s.id)
	case !ok && len(e.tells.lacks) < maxSuspects:
		e.tells.lacks = append(e.tells.lacks, lack{p.CreatorID, s.id})
	case !ok:
	case s.theirs == 0:
		e.unwanted(now, r)
	case s.kind == DifferNamed:
		e.push(now, r)
	case s.kind == DifferRefusedHere:
		e.tab.At(r).Flags &^= pfstate.FlagRetried
		e.wantOp(r, pfstate.OpCreate)
	case s.kind == DifferRefusedThere:
	default:
		e.healContents(now, s, r)
	}
}

// healContents: the side that carries a state is right, or the one with the
// lower creatorid; if that did not help, both tell.
func (e *Engine) healContents(now int64, s *suspect, r pfstate.Ref) {
	here, there := e.tab.At(r).Carried(), s.flags&syncproto.ItemCarried != 0
	ours, step := e.cfg.HostID < e.check.creator, s.heals
	if here != there {
		ours = here
	}
	if ours && here != there && e.check.why == checkDemand {
		if step == 0 {
			e.request(now, s.id) // hearsay, ignored but for what it says of the difference
			return
		}
		step--
	}
	if ours == (step%2 == 0) {
		e.push(now, r)
	} else {
		e.request(now, s.id)
	}
}

// triesDenied marks in State.Tries a state that a peer would have if it lived.
const triesDenied = 0x80

// unwanted: a peer does not have a state that we have. Either it is given one,
// or the state is over.
func (e *Engine) unwanted(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Has(pfstate.FlagCarried) || !e.allThere(now, s.Created) {
		e.push(now, r)
		return
	}
	if s.Tries > 0 || e.reqs.len() > ringSize/2 {
		return
	}
	e.reason(ReasonLost)
	s.Tries = triesDenied | 1
	e.request(now, s.MainName())
	e.peers.lost.put(named{ID: s.MainName()})
	e.peers.lostAt(now)
}

// allThere reports whether every firewall of the last hour is a Linux peer, is
// there now, and has been since before t without a restart: what lived since t
// and passes at one of them, that one knows.
func (e *Engine) allThere(now, t int64) bool {
	for i := range e.peers.list {
		p := &e.peers.list[i]
		if !p.used || now-p.Last > forgetPeer {
			continue
		}
		if !p.Linux || !p.Living(now) || p.runSince+refreshSlack > t {
			return false
		}
	}
	return true
}

// lacking: a peer compares its table with ours and lacks a state that we told
// of. What has ended there meanwhile is no news.
func (e *Engine) lacking(x *rx, id pfstate.ID) {
	r, _, ok := e.tab.ByName(id)
	if !ok || !e.comparable() || !x.peer.Digests {
		return
	}
	s := e.tab.At(r)
	if s.Flags&(pfstate.FlagDead|pfstate.FlagUnclaimed) == 0 && !e.changing(x.now, s) && !e.ending(x.now, s) && e.mayReply(x.now, x.peer) {
		e.unwanted(x.now, r)
	}
}
