package pfstate

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// digested is a state of all that a digest is made of.
func digested(tab *Table) (Ref, *State, *Extra) {
	r, s := tab.Alloc(AFInet, ProtoTCP)
	s.Orig = numbered(7)
	s.Reply = s.Orig.Inverse(ProtoTCP)
	s.Reply.Dst, s.Reply.DstPort = Addr{203, 0, 113, 9}, 4711
	s.Zone = [2]uint16{3, 4}
	s.Src.State, s.Dst.State = PFClosing, PFEstablished
	s.Mark, s.Status = 5, StatusSeenReply
	x := tab.NeedExtra(s)
	x.Labels[3], x.Helper[0] = 1, 'f'
	x.VTag = [2]uint32{1, 2}
	x.SeqAdj = [2]SeqAdj{{Pos: 1, Before: 2, After: 3}, {Pos: 4, Before: 5, After: 6}}
	tab.SetName(r, SideIn, ID{1 << 40, 0xa})
	tab.SetName(r, SideOut, ID{1<<40 + 1, 0xa})
	return r, s, x
}

// TestDigestOf: what both sides can know alike changes the digest, nothing
// else does.
func TestDigestOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Table, Ref, *State, *Extra)
		same   bool
	}{
		{"name", func(tab *Table, r Ref, _ *State, _ *Extra) { tab.SetName(r, SideIn, ID{1<<40 + 2, 0xa}) }, false},
		{"creatorid", func(tab *Table, r Ref, _ *State, _ *Extra) { tab.SetName(r, SideIn, ID{1 << 40, 0xb}) }, false},
		{"second name", func(tab *Table, r Ref, _ *State, _ *Extra) { tab.ClearName(r, SideOut) }, false},
		{"source", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Orig.Src[15]++ }, false},
		{"port", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Orig.DstPort++ }, false},
		{"translation", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Reply.DstPort++ }, false},
		{"zone", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Zone[1]++ }, false},
		{"protocol", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Proto++ }, false},
		{"half", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Dst.State = PFClosing }, false},
		{"halves the other way", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Src.State, s.Dst.State = s.Dst.State, s.Src.State }, false},
		{"mark", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Mark++ }, false},
		{"status", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Status |= StatusAssured }, false},
		{"kernel", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Flags |= FlagInKernel }, false},
		{"label", func(_ *Table, _ Ref, _ *State, x *Extra) { x.Labels[15] ^= 0x80 }, false},
		{"helper", func(_ *Table, _ Ref, _ *State, x *Extra) { x.Helper[15]++ }, false},
		{"tag", func(_ *Table, _ Ref, _ *State, x *Extra) { x.VTag[1]++ }, false},
		{"adjustment", func(_ *Table, _ Ref, _ *State, x *Extra) { x.SeqAdj[0].After-- }, false},
		{"dccp", func(_ *Table, _ Ref, _ *State, x *Extra) { x.DCCPSeq++ }, false},

		{"alias", func(tab *Table, r Ref, _ *State, _ *Extra) { tab.SetName(r, SideAlias, ID{9, 9}) }, true},
		{"times", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Expire, s.Created, s.LastPeer, s.KernExpire = 1, 2, 3, 4 }, true},
		{"carrier", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Flags |= FlagCarried | FlagImported | FlagReversed }, true},
		{"own status bits", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Status |= StatusConfirmed | StatusDying }, true},
		{"kernel id", func(_ *Table, _ Ref, s *State, _ *Extra) { s.CtID++ }, true},
		{"sequence", func(_ *Table, _ Ref, s *State, _ *Extra) { s.Src.SeqLo, s.Src.MaxWin = 1, 2 }, true},
		{"direction", func(_ *Table, _ Ref, s *State, x *Extra) {
			s.Orig, s.Reply = s.Reply, s.Orig
			s.Src, s.Dst = s.Dst, s.Src
			s.Zone[0], s.Zone[1] = s.Zone[1], s.Zone[0]
			x.VTag[0], x.VTag[1] = x.VTag[1], x.VTag[0]
			x.SeqAdj[0], x.SeqAdj[1] = x.SeqAdj[1], x.SeqAdj[0]
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := NewTable(1)
			r, s, x := digested(tab)
			was := tab.DigestOf(r)
			tc.change(tab, r, s, x)
			if same := tab.DigestOf(r) == was; same != tc.same {
				t.Errorf("the same: %v, want %v", same, tc.same)
			}
		})
	}
}

// TestDigestNoExtra: rare contents that are all zero are as good as none, for
// a kernel tells zeros of what it does not have.
func TestDigestNoExtra(t *testing.T) {
	tab := NewTable(1)
	r := enter(tab, 1)
	was := tab.DigestOf(r)
	tab.NeedExtra(tab.At(r)).Has = HasLabels
	if tab.DigestOf(r) != was {
		t.Error("labels of zero count as labels")
	}
}

// TestDigestSum: however a table came to be what it is, its sums are those of
// its states.
func TestDigestSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tab := NewTable(1)
	live := map[Ref]bool{}
	for i := range 20_000 {
		var r Ref
		for r = range live {
			break
		}
		switch k := rng.IntN(8); {
		case k < 4 || r == 0:
			r = enter(tab, i)
			live[r] = true
			tab.DigestIn(r)
		case k == 4:
			tab.Free(r)
			delete(live, r)
		case k == 5:
			tab.DigestOut(r)
		case k == 6:
			tab.SetName(r, SideIn, ID{uint64(i), 2}) // into another bucket
			fallthrough
		default:
			tab.At(r).Mark++
			tab.DigestIn(r)
		}
	}
	for _, buckets := range []int{1, 16, 1024, DigestBuckets} {
		want := make([]uint64, buckets)
		for r := range live {
			s := tab.At(r)
			want[DigestBucket(s.DigestName())*buckets/DigestBuckets] += DigestTerm(s.Digest())
		}
		for b := range want {
			if got := tab.DigestSum(buckets, b); got != want[b] {
				t.Fatalf("bucket %d of %d: %016x, want %016x", b, buckets, got, want[b])
			}
		}
	}
	for r := range live {
		tab.DigestOut(r)
	}
	if sum := tab.DigestSum(1, 0); sum != 0 {
		t.Errorf("the sum of nothing is %016x", sum)
	}
}

// TestDigestSpread: names given one after the other fill the buckets evenly.
func TestDigestSpread(t *testing.T) {
	const per = 64
	var n [DigestBuckets]int
	for i := range uint64(per * DigestBuckets) {
		n[DigestBucket(ID{1_700_000_000<<32 + i, 0xfeed0001})]++
	}
	for b, c := range n {
		if c == 0 || c > 4*per {
			t.Fatalf("bucket %d has %d of about %d names", b, c, per)
		}
	}
}

// TestDigestValue pins the function: two versions of the program must agree.
func TestDigestValue(t *testing.T) {
	tab := NewTable(99)
	r, _, _ := digested(tab)
	if got, want := tab.DigestOf(r), uint32(digestPinned); got != want {
		t.Errorf("digest %#08x, want %#08x: another function is another layout of the region", got, want)
	}
}

// TestStateSize: the digest lies where there was nothing.
func TestStateSize(t *testing.T) {
	if got := unsafe.Sizeof(State{}); got > 312 {
		t.Errorf("a state has %d bytes", got)
	}
}

// digestPinned is what the state of digested has.
const digestPinned = 0xf7d5555a
