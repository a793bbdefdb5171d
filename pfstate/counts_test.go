package pfstate

import (
	"math"
	"testing"
)

func counts(n uint64) Counts { return Counts{[2]uint64{n, n / 2}, [2]uint64{n * 100, n * 50}} }

func countFlow(n uint64) *Flow { return &Flow{Has: HasCounts, Counts: counts(n)} }

// TestCounts: what two firewalls know of a connection's traffic that goes from
// one to the other and back.
func TestCounts(t *testing.T) {
	a, b := NewTable(1), NewTable(2)
	ra, _ := a.Alloc(AFInet, ProtoUDP)
	rb, _ := b.Alloc(AFInet, ProtoUDP)
	tell := func(from, to *Table, rf, rt Ref) {
		from.CountTold(rf)
		to.CountPeer(rt, from.Counts(rf))
	}
	check := func(where string, wantA, wantB uint64) {
		t.Helper()
		if gotA, gotB := a.Counts(ra), b.Counts(rb); gotA != counts(wantA) || gotB != counts(wantB) {
			t.Errorf("%s: A %v, B %v, want %d and %d", where, gotA, gotB, wantA, wantB)
		}
	}
	check("nothing counted", 0, 0)
	a.CountKernel(ra, &Flow{Counts: counts(7)}) // not told: nf_conntrack_acct is 0
	check("nothing told", 0, 0)
	a.CountKernel(ra, countFlow(10))
	tell(a, b, ra, rb)
	check("carried by A", 10, 10)
	a.CountKernel(ra, countFlow(30))
	a.CountKernel(ra, countFlow(30))
	check("more, which B is not told", 30, 10)
	b.CountNewEntry(rb)
	b.CountKernel(rb, countFlow(4))
	b.CountKernel(rb, countFlow(6))
	check("carried by B", 30, 16)
	tell(b, a, rb, ra)
	tell(b, a, rb, ra)
	check("told twice", 36, 16)
	a.CountKernel(ra, countFlow(40))
	tell(a, b, ra, rb)
	check("back at A", 46, 46)
	a.CountKernel(ra, countFlow(2))
	check("a new entry of the kernel", 48, 46)
	b.CountPeer(rb, counts(3))
	b.CountPeer(rb, Counts{[2]uint64{math.MaxUint64, 0}, [2]uint64{math.MaxUint64, 0}})
	if got := b.Counts(rb); got.Packets[0] != 46 && got.Packets[0] != math.MaxUint64 {
		t.Errorf("a peer's nonsense made it %v", got)
	}
}

// TestCountsOfTheNext: a state does not inherit from one whose place it has.
func TestCountsOfTheNext(t *testing.T) {
	tab := NewTable(1)
	r, _ := tab.Alloc(AFInet, ProtoUDP)
	tab.CountKernel(r, countFlow(10))
	tab.Free(r)
	next, _ := tab.Alloc(AFInet, ProtoUDP)
	if next != r {
		t.Fatalf("place %d, want %d", next, r)
	}
	if got := tab.Counts(next); got != (Counts{}) {
		t.Errorf("inherited %v", got)
	}
	tab.CountTold(next)
	tab.CountKernel(next, countFlow(3))
	if got := tab.Counts(next); got != counts(3) {
		t.Errorf("counted %v", got)
	}
}
