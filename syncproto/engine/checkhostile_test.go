package engine

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// liar is a peer that answers every question about its table with what a test
// likes.
type liar struct {
	*speaker
	answer map[syncproto.TLV]func(v []byte) []byte // TLVs for a question
	heard  map[syncproto.TLV]int
	bytes  int // that we sent
}

// newLiar returns a desk in sync with B, with n states, and a liar with a
// hostid below ours, so that we compare with it.
func newLiar(t *testing.T, n byte) *liar {
	r := ready(t)
	for i := range n {
		r.made(tcp(i, pfstate.TCPEstablished))
	}
	l := &liar{speaker: &speaker{r: r, addr: netip.MustParseAddr("10.255.0.9"), creator: hostZero, epoch: 5, size: uint32(n)},
		answer: map[syncproto.TLV]func([]byte) []byte{}, heard: map[syncproto.TLV]int{}}
	l.live(10 * second)
	return l
}

// live lets time pass: a heartbeat twice a second, and answers at once.
func (l *liar) live(d int64) {
	const flags = syncproto.InfoInSync | syncproto.InfoDigests
	r := l.r
	beat := r.now
	for end := r.now + d; r.now < end; {
		if r.now >= beat {
			l.frameOf(flags, nil)
			beat = r.now + second/2
		}
		r.pass(max(milli, min(r.e.Deadline(), beat)-r.now))
		buf := make([]byte, 0, 1500)
		for fr, ok := r.e.NextFrame(r.now, buf); ok; fr, ok = r.e.NextFrame(r.now, buf) {
			l.bytes += len(fr.Data)
			for _, a := range l.hear(fr.Data) {
				l.frameOf(flags, []item{control(hostA, a)})
			}
		}
	}
}

func (l *liar) hear(frame []byte) (answers [][]byte) {
	var rd syncproto.Reader
	if err := rd.Reset(frame); err != nil {
		l.r.t.Fatal(err)
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := 1; reg.Action == syncproto.ActLinux && i < reg.Whole(); i++ {
			var ex syncproto.Extra
			_ = syncproto.ParseExtra(reg.Message(i), &ex)
			for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok && ex.ID == 0; t, v, rest, ok = syncproto.NextTLV(rest) {
				l.heard[t]++
				if f := l.answer[t]; f != nil {
					answers = append(answers, f(v))
				}
			}
		}
	}
	return answers
}

// digestsOf answers TLVWantDigests.
func digestsOf(digest func(bucket int) uint64) func(v []byte) []byte {
	return func(v []byte) []byte {
		var m syncproto.WantDigests
		_ = syncproto.ParseWantDigests(v, &m)
		sums := make([]uint64, min(m.Count, syncproto.MaxDigests))
		for i := range sums {
			sums[i] = digest(int(m.First) + i)
		}
		return syncproto.AppendDigest(nil, m.Buckets, m.First, sums)
	}
}

// bucketsOf answers TLVWantBuckets with the first bucket asked for.
func bucketsOf(change func(m *syncproto.Bucket), items ...syncproto.Item) func(v []byte) []byte {
	return func(v []byte) []byte {
		var m syncproto.WantBuckets
		_ = syncproto.ParseWantBuckets(v, &m)
		b := syncproto.Bucket{Buckets: m.Buckets, Number: m.At(0), Total: uint16(len(items))}
		change(&b)
		return syncproto.AppendBucket(nil, &b, items)
	}
}

// TestCheckLies: whatever a peer answers, comparing with it costs little, and
// the less the longer it goes on, and takes nothing away that lives.
func TestCheckLies(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	random := digestsOf(func(int) uint64 { return rng.Uint64() })
	as := func(*syncproto.Bucket) {}
	ghost := syncproto.Item{ID: syncproto.ID{ID: 99, CreatorID: hostZero}, Digest: 1, Flags: syncproto.ItemCarried}
	for _, tc := range []struct {
		name             string
		digests, buckets func([]byte) []byte
	}{
		{"nothing", nil, nil},
		{"digests that never match, and no contents", random, nil},
		{"digests that never match, and nothing in the buckets", random, bucketsOf(as)},
		{"a state that it never tells", random, bucketsOf(as, ghost)},
		{"another total than told", random, bucketsOf(func(m *syncproto.Bucket) { m.Total = 65535 })},
		{"a place beyond the end", random, bucketsOf(func(m *syncproto.Bucket) { m.First = 7 })},
		{"another bucket", random, bucketsOf(func(m *syncproto.Bucket) { m.Number++ })},
		{"another number of buckets", digestsOf(func(int) uint64 { return 1 }), bucketsOf(func(m *syncproto.Bucket) { m.Buckets = 3 })},
		{"buckets nobody asked for", bucketsOf(as, ghost), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLiar(t, 20)
			l.answer[syncproto.TLVWantDigests], l.answer[syncproto.TLVWantBuckets] = tc.digests, tc.buckets
			l.live(600 * second)
			l.bytes = 0
			l.live(600 * second)
			if l.bytes > 600*200 {
				t.Errorf("%d bytes a second", l.bytes/600)
			}
			if n := l.r.e.tab.Len(); n != 20 {
				t.Errorf("%d states of 20", n)
			}
			l.r.expectOps()
		})
	}
}

// TestCheckFlood: questions cost no more than the pace of the answers allows.
func TestCheckFlood(t *testing.T) {
	l := newLiar(t, 100)
	r := l.r
	begin, before := r.now, r.e.Stats.Reason[ReasonCheckTold]
	for n := range uint16(2000) {
		var all []uint16
		for i := range uint16(syncproto.MaxWantBuckets) {
			all = append(all, i*60+n%60)
		}
		l.frameOf(syncproto.InfoDigests, []item{
			control(hostA, syncproto.AppendWantBuckets(nil, pfstate.DigestBuckets, all)),
			control(hostA, syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: pfstate.DigestBuckets, Count: 65535})),
			control(hostA, syncproto.AppendLook(nil, rand.Uint32())),
			control(hostA, syncproto.AppendLack(nil, []syncproto.ID{syncproto.ID(mine(3)), {ID: 4, CreatorID: 5}})),
		})
		r.pass(milli)
		r.frames()
	}
	if told, most := r.e.Stats.Reason[ReasonCheckTold]-before, uint64((r.now-begin)/tellPace)+1; told > most {
		t.Errorf("%d frames, at most %d", told, most)
	}
	if r.e.Stats.Reason[ReasonCheckDropped] == 0 {
		t.Error("nothing was dropped")
	}
	if n := r.e.tab.Len(); n != 100 {
		t.Errorf("%d states of 100", n)
	}
	r.expectOps()
}

// TestCheckNonsense: questions that make no sense are counted.
func TestCheckNonsense(t *testing.T) {
	for name, tlvs := range map[string][]byte{
		"no buckets":         syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Count: 1}),
		"three buckets":      syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: 3, Count: 1}),
		"too many buckets":   syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: 2 * pfstate.DigestBuckets, Count: 1}),
		"first is beyond":    syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: 16, First: 16, Count: 1}),
		"none":               syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: 16}),
		"short":              syncproto.AppendTLV(nil, syncproto.TLVWantDigests, []byte{0, 16, 0}),
		"bucket beyond":      syncproto.AppendWantBuckets(nil, 16, []uint16{16}),
		"buckets of nothing": syncproto.AppendWantBuckets(nil, 0, []uint16{0}),
		"short buckets":      syncproto.AppendTLV(nil, syncproto.TLVWantBuckets, []byte{1}),
		"short look":         syncproto.AppendTLV(nil, syncproto.TLVLook, []byte{1}),
	} {
		t.Run(name, func(t *testing.T) {
			r := ready(t)
			r.b.say(control(hostA, tlvs))
			r.expectReason(ReasonBadCheck, 1)
			r.expect("sent", r.sent())
		})
	}
}

// TestCheckNoAllocation: to compare equal tables allocates nothing for a state.
func TestCheckNoAllocation(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(500)
	buf := make([]byte, 0, 1500)
	a, b := f.ships[0].e, f.ships[1].e
	talk := func() {
		f.now += 10 * milli
		for _, e := range []*Engine{a, b} {
			e.Tick(f.now)
			for fr, ok := e.NextFrame(f.now, buf); ok; fr, ok = e.NextFrame(f.now, buf) {
				if e == a {
					b.Remote(f.now, f.ships[0].addr, fr.Data)
				} else {
					a.Remote(f.now, f.ships[1].addr, fr.Data)
				}
			}
		}
	}
	checks := b.Stats.Reason[ReasonChecks]
	if n := testing.AllocsPerRun(10_000, talk); n > 0 {
		t.Errorf("%v allocations in 10 ms", n)
	}
	if b.Stats.Reason[ReasonChecks] == checks {
		t.Error("nothing was compared")
	}
}

// BenchmarkCheck: one comparison of equal tables, with all that both sides do
// for it.
func BenchmarkCheck(b *testing.B) {
	f := newFleet(b, 2)
	f.fill(20_000)
	e := f.ships[1].e
	b.ReportAllocs()
	for b.Loop() {
		e.checkBegin(f.now, 0, checkDoubt)
		for e.check.on {
			f.step()
		}
	}
}

// TestCheckOneBucket: a question for the whole table as one bucket costs no more
// than what is told of it.
func TestCheckOneBucket(t *testing.T) {
	l := newLiar(t, 0)
	r := l.r
	for i := range maxBucket + 2000 {
		r.made(flowN(i))
	}
	l.live(10 * second)
	r.e.indexReady(r.now)
	for r.e.index.making {
		r.e.indexTick(r.now)
	}
	for b := pfstate.DigestBuckets - 100; b < pfstate.DigestBuckets; b++ {
		r.e.index.head[b] = 1 << 31 // whoever comes here has gone too far
	}
	told, buf := 0, make([]byte, 0, 1500)
	l.frameOf(syncproto.InfoDigests, []item{control(hostA, syncproto.AppendWantBuckets(nil, 1, []uint16{0}))})
	for range 200 {
		r.e.index.made = r.now
		for fr, ok := r.e.NextFrame(r.now, buf); ok; fr, ok = r.e.NextFrame(r.now, buf) {
			told += bucketItems(t, fr.Data)
		}
		r.now += tellPace
	}
	if told != maxBucket || len(r.e.tells.buckets) > 0 {
		t.Errorf("%d states told of %d", told, maxBucket)
	}
}

// bucketItems counts the states in the TLVBucket of a frame.
func bucketItems(t *testing.T, frame []byte) (n int) {
	t.Helper()
	var rd syncproto.Reader
	if err := rd.Reset(frame); err != nil {
		t.Fatal(err)
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := 1; reg.Action == syncproto.ActLinux && i < reg.Whole(); i++ {
			var ex syncproto.Extra
			_ = syncproto.ParseExtra(reg.Message(i), &ex)
			for typ, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok && ex.ID == 0; typ, v, rest, ok = syncproto.NextTLV(rest) {
				var b syncproto.Bucket
				if typ == syncproto.TLVBucket && syncproto.ParseBucket(v, &b) == nil {
					n += b.Len()
				}
			}
		}
	}
	return n
}
