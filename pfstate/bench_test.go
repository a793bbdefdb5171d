package pfstate

import (
	"fmt"
	"runtime"
	"testing"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory tells what a state costs in a table of a million: all of it,
// with indexes and what is allocated ahead.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		before := heap()
		tab := NewTable(1)
		for i := range n {
			enter(tab, i)
		}
		b.ReportMetric(float64(heap()-before)/n, "B/state")
		runtime.KeepAlive(tab)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/state")
}

var sizes = []int{1_000, 100_000, 1_000_000}

func atSizes(b *testing.B, run func(b *testing.B, tab *Table, refs []Ref)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("states=%d", n), func(b *testing.B) {
			tab := NewTable(1)
			refs := fill(tab, n)
			b.ReportAllocs()
			run(b, tab, refs)
		})
	}
}

// step walks the numbers below n in an order that no cache foresees.
func step(i, n int) int { return (i + 7_368_787) % n }

func BenchmarkByName(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = step(i, len(refs))
			if _, _, ok := tab.ByName(ID{uint64(i), 1}); !ok {
				b.Fatal("lost")
			}
		}
	})
}

func BenchmarkByTuple(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = step(i, len(refs))
			tu := numbered(i)
			if _, _, ok := tab.ByTuple(&tu, AFInet, ProtoTCP, 0); !ok {
				b.Fatal("lost")
			}
		}
	})
}

// BenchmarkByTupleMiss looks for what is not there, as each new connection
// does.
func BenchmarkByTupleMiss(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = step(i, len(refs))
			tu := numbered(i)
			if _, _, ok := tab.ByTuple(&tu, AFInet, ProtoUDP, 0); ok {
				b.Fatal("found")
			}
		}
	})
}

// BenchmarkReplace deletes a state and inserts one, indexes and all.
func BenchmarkReplace(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = step(i, len(refs))
			tab.Free(refs[i])
			refs[i] = enter(tab, i)
		}
	})
}

func BenchmarkQueue(b *testing.B) {
	tab := NewTable(1)
	refs := fill(tab, 1024)
	q := Queue{}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % len(refs)
		tab.Push(&q, refs[i])
		tab.Pop(&q)
	}
}

func BenchmarkAbsorb(b *testing.B) {
	tab := NewTable(1)
	f := kernelFlow(ProtoTCP)
	f.Has |= HasProto
	f.ProtoState = TCPEstablished
	s := stateOf(tab, &f)
	b.ReportAllocs()
	for b.Loop() {
		tab.Absorb(s, &f)
	}
}

// BenchmarkDigestIn: a state has changed, and its bucket's sum follows.
func BenchmarkDigestIn(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = step(i, len(refs))
			tab.At(refs[i]).Mark++
			tab.DigestIn(refs[i])
		}
	})
}

// BenchmarkDigestWalk: all states are entered anew, as the slow walk does.
func BenchmarkDigestWalk(b *testing.B) {
	atSizes(b, func(b *testing.B, tab *Table, refs []Ref) {
		i := 0
		for b.Loop() {
			i = (i + 1) % len(refs)
			tab.DigestIn(refs[i])
		}
	})
}
