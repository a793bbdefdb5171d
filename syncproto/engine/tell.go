package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// What is told to a peer that compares its table with ours (check.go). Every
// request is answered by what has room, at most, in a few frames, and frames
// leave at a pace, so that whatever is asked, and how often, costs no more than
// that. What has no room is dropped and counted: who needs it asks again.

const (
	maxTellDigests = 16
	maxTellBuckets = 256
	maxTellLooks   = maxPeers
	tellPace       = 5 * milli               // between two frames
	lookEvery      = 5 * second              // between two dumps for peers
	lookSettle     = 300 * milli             // after a dump, for what it found to be put right
	maxFound       = 4 * syncproto.MaxLooked // of a look, remembered by name; one TLV of them is told
	maxBucket      = 1 << 12                 // states of a bucket that are told
)

// tells is what is to be told.
type tells struct {
	digests []tellDigests
	buckets []tellBucket
	looks   []tellLook
	lacks   []lack
	at      int64 // when the next frame may leave
}

type tellDigests struct {
	to uint32 // creatorid
	syncproto.WantDigests
}

type tellBucket struct {
	to              uint32
	buckets, number uint16
	place           int // of the first state not told yet
}

type tellLook struct {
	to, number uint32
	done       bool
}

type lack struct {
	to uint32
	id pfstate.ID
}

// comparable reports whether our table is worth being compared: all of it has
// names, and no peer's is waited for.
func (e *Engine) comparable() bool {
	return e.cfg.Sync && e.cfg.Format == syncproto.Format6 && e.link.Up && e.claim.dumped && !e.claim.active && e.bulk.over()
}

// power reports whether n is a number of buckets.
func power(n uint16) bool { return n != 0 && n&(n-1) == 0 && n <= pfstate.DigestBuckets }

// asked takes what a peer wants to know, or says, of tables.
func (e *Engine) asked(x *rx, t syncproto.TLV, v []byte) {
	switch t {
	case syncproto.TLVWantDigests:
		e.askedDigests(x, v)
	case syncproto.TLVWantBuckets:
		e.askedBuckets(x, v)
	case syncproto.TLVLook:
		e.askedLook(x, v)
	case syncproto.TLVLack:
		for id, rest, ok := syncproto.NextLack(v); ok; id, rest, ok = syncproto.NextLack(rest) {
			e.lacking(x, pfstate.ID(id))
		}
	case syncproto.TLVLooked:
		e.checkLooked(x, v)
	}
}

func (e *Engine) askedDigests(x *rx, v []byte) {
	var m syncproto.WantDigests
	if syncproto.ParseWantDigests(v, &m) != nil || !power(m.Buckets) || m.First >= m.Buckets || m.Count == 0 {
		e.reason(ReasonBadCheck)
		return
	}
	m.Count = min(m.Count, m.Buckets-m.First)
	if !e.comparable() {
		return // they ask again
	}
	for i := range e.tells.digests {
		if e.tells.digests[i].to == x.peer.CreatorID {
			e.tells.digests[i].WantDigests = m // one at a time
			return
		}
	}
	if len(e.tells.digests) >= maxTellDigests {
		e.reason(ReasonCheckDropped)
		return
	}
	e.tells.digests = append(e.tells.digests, tellDigests{x.peer.CreatorID, m})
}

func (e *Engine) askedBuckets(x *rx, v []byte) {
	var m syncproto.WantBuckets
	if syncproto.ParseWantBuckets(v, &m) != nil || !power(m.Buckets) {
		e.reason(ReasonBadCheck)
		return
	}
	if !e.comparable() {
		return
	}
	for i := range m.Len() {
		n := m.At(i)
		switch {
		case n >= m.Buckets:
			e.reason(ReasonBadCheck)
			return
		case e.telling(x.peer.CreatorID, m.Buckets, n):
		case len(e.tells.buckets) >= maxTellBuckets:
			e.reason(ReasonCheckDropped)
			return
		default:
			e.tells.buckets = append(e.tells.buckets, tellBucket{to: x.peer.CreatorID, buckets: m.Buckets, number: n})
		}
	}
}

// telling reports whether a bucket is to be told already.
func (e *Engine) telling(to uint32, buckets, number uint16) bool {
	for i := range e.tells.buckets {
		if b := &e.tells.buckets[i]; b.to == to && b.buckets == buckets && b.number == number {
			return true
		}
	}
	return false
}

// tellAt is when a frame of these may leave.
func (e *Engine) tellAt() int64 {
	t := &e.tells
	switch {
	case len(t.digests)+len(t.lacks) > 0, e.check.ask:
		return t.at
	case len(t.buckets) > 0 && !e.index.making:
		return t.at
	}
	for i := range t.looks {
		if t.looks[i].done {
			return t.at
		}
	}
	return never
}

// fillTells puts in what is due, in a frame of its own: its messages are long,
// and all of a region have the length of the longest.
func (e *Engine) fillTells(now int64, f *frame) bool {
	if !e.cfg.Sync || e.cfg.Format != syncproto.Format6 || now < e.tellAt() {
		return false
	}
	n := len(f.extras)
	t := &e.tells
	e.fillCheck(f)
	e.fillLooked(f)
	e.fillLacks(f)
	for len(t.digests) > 0 && e.fillDigests(f, &t.digests[0]) {
		t.digests = t.digests[:copy(t.digests, t.digests[1:])]
	}
	for len(t.buckets) > 0 && e.indexReady(now) && e.fillBucket(now, f, &t.buckets[0]) {
		t.buckets = t.buckets[:copy(t.buckets, t.buckets[1:])]
	}
	t.at = now + tellPace
	if len(f.extras) == n {
		return false
	}
	e.reason(ReasonCheckTold)
	return true
}

// room reports whether a control message with so many bytes of TLVs still fits.
func (f *frame) room(n int) bool {
	stride := max(f.stride, syncproto.Stride(n))
	return len(f.extras) < maxExtras && syncproto.HeaderLen+syncproto.SubheaderLen+stride*(2+len(f.extras)) <= f.limit
}

// fillDigests tells the digests of as many buckets as have room; whether that
// was all, or the rest has to be asked for, does not matter to us.
func (e *Engine) fillDigests(f *frame, d *tellDigests) bool {
	var sums [syncproto.MaxDigests]uint64
	for first, left := int(d.First), int(d.Count); left > 0; {
		n := min(left, len(sums))
		if !f.room(2 + 4 + 8*n) {
			return len(f.extras) > 0
		}
		for i := range n {
			sums[i] = e.tab.DigestSum(int(d.Buckets), first+i)
		}
		f.control(d.to, syncproto.AppendDigest(e.scratch.tlvs[:0], d.Buckets, uint16(first), sums[:n]))
		first, left = first+n, left-n
	}
	return true
}

// fillBucket tells what is in a bucket, from the place on to which it has come;
// true if that was all. It walks no further than it tells: who asks for few
// buckets asks for large ones.
func (e *Engine) fillBucket(now int64, f *frame, b *tellBucket) bool {
	total := 0
	e.inBucket(int(b.buckets), int(b.number), func(pfstate.Ref, *pfstate.State) bool {
		total++
		return total < maxBucket
	})
	m := syncproto.Bucket{Buckets: b.buckets, Number: b.number, Total: uint16(total)}
	for {
		var items [syncproto.MaxItems]syncproto.Item
		n, i := 0, 0
		e.inBucket(int(b.buckets), int(b.number), func(_ pfstate.Ref, s *pfstate.State) bool {
			if i >= b.place {
				items[n] = e.item(now, s)
				n++
			}
			i++
			return i < total && n < len(items)
		})
		if !f.room(2 + 8 + 17*n) {
			return false
		}
		m.First = uint16(b.place)
		f.control(b.to, syncproto.AppendBucket(e.scratch.tlvs[:0], &m, items[:n]))
		if b.place += n; n == 0 || b.place >= total {
			return true
		}
	}
}

func (e *Engine) item(now int64, s *pfstate.State) syncproto.Item {
	it := syncproto.Item{ID: syncproto.ID(s.DigestName()), Digest: s.Digest()}
	if s.Has(pfstate.FlagCarried) {
		it.Flags |= syncproto.ItemCarried
	}
	if e.changing(now, s) {
		it.Flags |= syncproto.ItemChanging
	}
	if e.ending(now, s) {
		it.Flags |= syncproto.ItemEnding
	}
	if !s.Has(pfstate.FlagInKernel) {
		it.Flags |= syncproto.ItemRefused
	}
	return it
}

func (e *Engine) fillLacks(f *frame) {
	t := &e.tells
	for len(t.lacks) > 0 {
		var ids [8]syncproto.ID
		n, to := 0, t.lacks[0].to
		for n < len(ids) && n < len(t.lacks) && t.lacks[n].to == to {
			ids[n] = syncproto.ID(t.lacks[n].id)
			n++
		}
		if !f.room(2 + 12*n) {
			return
		}
		f.control(to, syncproto.AppendLack(e.scratch.tlvs[:0], ids[:n]))
		t.lacks = t.lacks[:copy(t.lacks, t.lacks[n:])]
	}
}

// look is a comparison of our table with the kernel's, by a dump.
type look struct {
	wanted  bool // NeedDump
	running bool // the dump under way is for it
	until   int64
	began   int64
	last    int64 // when the last ended, 0 never
	took    int64
	total   uint32
	found   []found // some of those that were other than thought
}

type found struct {
	syncproto.Found
	at     int64
	record syncproto.State // what it was
}

// lookWant asks for a look; lookDone tells when it is over.
func (e *Engine) lookWant(now int64) {
	l := &e.look
	if l.wanted || l.running || l.until != 0 {
		return
	}
	*l = look{wanted: true, began: now, last: l.last, took: l.took, found: l.found[:0]}
}

func (e *Engine) looking() bool { return e.look.wanted || e.look.running || e.look.until != 0 }

func (e *Engine) askedLook(x *rx, v []byte) {
	var number uint32
	if syncproto.ParseLook(v, &number) != nil {
		e.reason(ReasonBadCheck)
		return
	}
	for i := range e.tells.looks {
		if l := &e.tells.looks[i]; l.to == x.peer.CreatorID {
			if l.number != number {
				*l = tellLook{to: l.to, number: number}
			}
			return
		}
	}
	if len(e.tells.looks) >= maxTellLooks {
		e.reason(ReasonCheckDropped)
		return
	}
	e.tells.looks = append(e.tells.looks, tellLook{to: x.peer.CreatorID, number: number})
}

// lookTick begins looks that peers wait for, and ends them.
func (e *Engine) lookTick(now int64) {
	l := &e.look
	if l.until != 0 && now >= l.until && e.dump.sweep == 0 && e.ops.Len() == 0 && !e.recount.whole {
		l.until, l.last = 0, now
		e.lookEnd()
		for i := range e.tells.looks {
			e.tells.looks[i].done = true
		}
		e.checkSawKernel(now)
	}
	if len(e.tells.looks) == 0 || e.looking() {
		return
	}
	for i := range e.tells.looks {
		if !e.tells.looks[i].done && (l.last == 0 || now-l.last >= max(lookEvery, 10*l.took)) {
			e.lookWant(now)
		}
	}
}

// lookDumped: the dump that was for a look has ended.
func (e *Engine) lookDumped(now int64, whole bool) {
	l := &e.look
	if !l.running {
		return
	}
	l.running = false
	if !whole {
		l.wanted = true
		return
	}
	l.until, l.took = now+lookSettle, now-l.began
	e.recountAll()
}

// foundOther notes what a look found other than thought.
func (e *Engine) foundOther(now int64, r pfstate.Ref, how uint8) {
	l := &e.look
	if !l.running && l.until == 0 {
		return
	}
	l.total++
	if len(l.found) < maxFound {
		f := found{Found: syncproto.Found{ID: syncproto.ID(e.tab.At(r).MainName()), How: how}, at: now}
		e.Record(now, r, &f.record)
		l.found = append(l.found, f)
	}
}

// lookEnd drops what an event has told after all, only later than the dump.
func (e *Engine) lookEnd() {
	l := &e.look
	kept := l.found[:0]
	for _, f := range l.found {
		r, _, ok := e.tab.ByName(pfstate.ID(f.ID))
		if ok && f.How != syncproto.FoundGone && e.tab.At(r).LastLocal > f.at {
			l.total--
			continue
		}
		kept = append(kept, f)
	}
	l.found = kept
}

func (e *Engine) fillLooked(f *frame) {
	looks := e.tells.looks[:0]
	for _, l := range e.tells.looks {
		if !l.done || !e.addLooked(f, l) {
			looks = append(looks, l)
		}
	}
	e.tells.looks = looks
}

func (e *Engine) addLooked(f *frame, l tellLook) bool {
	m := syncproto.Looked{Number: l.number, Total: e.look.total}
	var told [syncproto.MaxLooked]syncproto.Found
	n := min(len(e.look.found), len(told))
	for i := range n {
		told[i] = e.look.found[i].Found
	}
	if !f.room(2 + 8 + 13*n) {
		return false
	}
	f.control(l.to, syncproto.AppendLooked(e.scratch.tlvs[:0], &m, told[:n]))
	return true
}
