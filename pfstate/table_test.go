package pfstate

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// place is a direction of an entry as the index of tuples sees it.
type place struct {
	tu        Tuple
	af, proto uint8
	zone      uint16
}

// twin is what the table should have of one state.
type twin struct {
	mark   uint32 // written at Alloc: shows that a Ref leads to the same State
	af     uint8
	proto  uint8
	orig   Tuple
	reply  Tuple
	zone   [2]uint16
	linked bool
	names  [Sides]ID
	queue  [linkSets]int // 1 + index into the queues of the set, 0 none
	ext    bool
}

// tableModel drives a Table and naive maps alike.
type tableModel struct {
	tab    *Table
	queues [linkSets][2]Queue
	fifo   [linkSets][2][]Ref
	twins  map[Ref]*twin
	serial uint32
}

func newTableModel() *tableModel {
	m := &tableModel{tab: NewTable(4711), twins: map[Ref]*twin{}}
	for set := range m.queues {
		for i := range m.queues[set] {
			m.queues[set][i].Set = uint8(set)
		}
	}
	return m
}

// few tuples, so that states share them.
func drawTuple(t *rapid.T, label string) Tuple {
	n := rapid.IntRange(0, 7).Draw(t, label)
	tu := Tuple{Src: Addr{10, 0, 0, byte(n & 1)}, Dst: Addr{10, 0, 1, byte(n >> 1 & 1)}, SrcPort: uint16(1000 + n>>2), DstPort: 53}
	if rapid.Bool().Draw(t, label+" inverse") {
		return tu.Inverse(ProtoUDP)
	}
	return tu
}

// refs returns those in use that fit, in order, so that a run can be repeated.
func (m *tableModel) refs(fit func(*twin) bool) []Ref {
	var out []Ref
	for r, w := range m.twins {
		if fit(w) {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}

func (m *tableModel) pick(t *rapid.T, fit func(*twin) bool) (Ref, *twin) {
	refs := m.refs(fit)
	if len(refs) == 0 {
		t.Skip("no such state")
	}
	r := rapid.SampledFrom(refs).Draw(t, "ref")
	return r, m.twins[r]
}

func anyTwin(*twin) bool { return true }

func (m *tableModel) alloc(t *rapid.T) {
	w := &twin{
		af:    rapid.SampledFrom([]uint8{AFInet, AFInet6}).Draw(t, "af"),
		proto: rapid.SampledFrom([]uint8{ProtoTCP, ProtoUDP}).Draw(t, "proto"),
	}
	r, s := m.tab.Alloc(w.af, w.proto)
	if m.twins[r] != nil {
		t.Fatalf("Alloc gave %d, which is in use", r)
	}
	if diff := cmp.Diff(State{AF: w.af, Proto: w.proto}, *s, cmp.AllowUnexported(State{}, link{})); diff != "" {
		t.Fatalf("new state (-want +got):\n%s", diff)
	}
	m.serial++
	w.mark, s.Mark = m.serial, m.serial
	m.twins[r] = w
}

func (m *tableModel) free(t *rapid.T) {
	r, _ := m.pick(t, func(w *twin) bool { return w.queue == [linkSets]int{} })
	m.tab.Free(r)
	delete(m.twins, r)
}

func (m *tableModel) link(t *rapid.T) {
	r, w := m.pick(t, func(w *twin) bool { return !w.linked })
	s := m.tab.At(r)
	w.orig, w.reply = drawTuple(t, "orig"), drawTuple(t, "reply")
	w.zone = [2]uint16{rapid.Uint16Max(1).Draw(t, "zone"), rapid.Uint16Max(1).Draw(t, "reply zone")}
	w.linked = true
	s.Orig, s.Reply, s.Zone = w.orig, w.reply, w.zone
	m.tab.LinkTuples(r)
}

func (m *tableModel) unlink(t *rapid.T) {
	r, w := m.pick(t, anyTwin) // one not linked stays so
	w.linked = false
	m.tab.UnlinkTuples(r)
}

func (m *tableModel) name(t *rapid.T) {
	r, w := m.pick(t, anyTwin)
	side := Side(rapid.IntRange(0, int(Sides)-1).Draw(t, "side"))
	id := ID{rapid.Uint64Max(40).Draw(t, "id"), rapid.Uint32Range(1, 2).Draw(t, "creator")}
	for _, o := range m.twins {
		if slices.Contains(o.names[:], id) {
			t.Skip("name is taken")
		}
	}
	w.names[side] = id
	m.tab.SetName(r, side, id)
}

func (m *tableModel) clearName(t *rapid.T) {
	r, w := m.pick(t, anyTwin)
	side := Side(rapid.IntRange(0, int(Sides)-1).Draw(t, "side"))
	w.names[side] = ID{}
	m.tab.ClearName(r, side)
}

func (m *tableModel) push(t *rapid.T) {
	set := rapid.IntRange(0, linkSets-1).Draw(t, "set")
	r, w := m.pick(t, func(w *twin) bool { return w.queue[set] == 0 })
	i := rapid.IntRange(0, 1).Draw(t, "queue")
	w.queue[set] = 1 + i
	m.fifo[set][i] = append(m.fifo[set][i], r)
	m.tab.Push(&m.queues[set][i], r)
}

func (m *tableModel) remove(t *rapid.T) {
	set := rapid.IntRange(0, linkSets-1).Draw(t, "set")
	r, w := m.pick(t, func(w *twin) bool { return w.queue[set] != 0 })
	i := w.queue[set] - 1
	w.queue[set] = 0
	m.fifo[set][i] = slices.DeleteFunc(m.fifo[set][i], func(o Ref) bool { return o == r })
	m.tab.Remove(&m.queues[set][i], r)
}

func (m *tableModel) pop(t *rapid.T) {
	set, i := rapid.IntRange(0, linkSets-1).Draw(t, "set"), rapid.IntRange(0, 1).Draw(t, "queue")
	want := Ref(0)
	if q := &m.fifo[set][i]; len(*q) > 0 {
		want, *q = (*q)[0], (*q)[1:]
		m.twins[want].queue[set] = 0
	}
	if got := m.tab.Pop(&m.queues[set][i]); got != want {
		t.Fatalf("Pop = %d, want %d", got, want)
	}
}

func (m *tableModel) extra(t *rapid.T) {
	r, w := m.pick(t, anyTwin)
	s := m.tab.At(r)
	if w.ext = !w.ext; !w.ext {
		m.tab.DropExtra(s)
		return
	}
	x := m.tab.NeedExtra(s)
	if *x != (Extra{}) {
		t.Fatalf("new Extra is not empty: %+v", *x)
	}
	x.DCCPSeq = uint64(w.mark)
}

// check compares all that can be asked of the table with the maps.
func (m *tableModel) check(t *rapid.T) {
	if m.tab.Len() != len(m.twins) {
		t.Fatalf("Len = %d, want %d", m.tab.Len(), len(m.twins))
	}
	for r := Ref(0); r <= m.tab.End(); r++ {
		if got, want := m.tab.InUse(r), m.twins[r] != nil; got != want {
			t.Fatalf("InUse(%d) = %v", r, got)
		}
	}
	m.checkStates(t)
	m.checkTuples(t)
	m.checkQueues(t)
}

func (m *tableModel) checkStates(t *rapid.T) {
	byName := map[ID]Ref{}
	for r, w := range m.twins {
		s := m.tab.At(r)
		if s.Mark != w.mark || s.AF != w.af || s.Proto != w.proto || m.tab.TuplesLinked(r) != w.linked {
			t.Fatalf("state %d is not the one put there", r)
		}
		if x := m.tab.Extra(s); (x != nil) != w.ext || w.ext && x.DCCPSeq != uint64(w.mark) {
			t.Fatalf("state %d has another's Extra", r)
		}
		for side, id := range w.names {
			if got := s.Name(Side(side)); got != id {
				t.Fatalf("Name(%d) of %d = %v, want %v", side, r, got, id)
			}
			byName[id] = r
		}
	}
	for creator := range uint32(3) {
		for n := range uint64(41) {
			id := ID{n, creator}
			r, side, ok := m.tab.ByName(id)
			if want := byName[id]; !id.IsZero() && (r != want || ok != (want != 0) || ok && m.twins[r].names[side] != id) {
				t.Fatalf("ByName(%v) = %d, %d, %v, want %d", id, r, side, ok, want)
			}
		}
	}
}

func (m *tableModel) checkTuples(t *rapid.T) {
	origs, replies := map[place][]Ref{}, map[place][]Ref{}
	for r, w := range m.twins {
		if w.linked {
			o, p := place{w.orig, w.af, w.proto, w.zone[0]}, place{w.reply, w.af, w.proto, w.zone[1]}
			origs[o], replies[p] = append(origs[o], r), append(replies[p], r)
		}
	}
	look := func(p place) {
		r, reply, ok := m.tab.ByTuple(&p.tu, p.af, p.proto, p.zone)
		want := origs[p]
		if len(want) == 0 {
			want = replies[p]
		}
		switch {
		case ok != (len(want) > 0):
			t.Fatalf("ByTuple(%+v) found: %v, want one of %v", p, ok, want)
		case ok && (!slices.Contains(want, r) || reply != (len(origs[p]) == 0)):
			t.Fatalf("ByTuple(%+v) = %d, reply %v, want one of %v", p, r, reply, want)
		}
	}
	for p := range origs {
		look(p)
		look(place{p.tu, p.af, p.proto, p.zone ^ 1})
		look(place{p.tu, p.af, p.proto ^ ProtoTCP ^ ProtoUDP, p.zone})
		look(place{p.tu, p.af ^ AFInet ^ AFInet6, p.proto, p.zone})
	}
	for p := range replies {
		look(p)
		p.tu = p.tu.Inverse(p.proto)
		look(p)
	}
}

func (m *tableModel) checkQueues(t *rapid.T) {
	for set := range m.queues {
		for i := range m.queues[set] {
			q, want := &m.queues[set][i], m.fifo[set][i]
			var got []Ref
			for r := q.Head(); r != 0; r = m.tab.NextOn(q, r) {
				got = append(got, r)
			}
			if !slices.Equal(got, want) || q.Len() != len(want) {
				t.Fatalf("queue %d/%d is %v (Len %d), want %v", set, i, got, q.Len(), want)
			}
		}
	}
}

// TestTableModel lets a Table and its queues go the way of naive maps.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newTableModel()
		t.Repeat(map[string]func(*rapid.T){
			"alloc": m.alloc, "alloc more": m.alloc, "free": m.free,
			"link": m.link, "unlink": m.unlink,
			"name": m.name, "clear name": m.clearName,
			"push": m.push, "remove": m.remove, "pop": m.pop,
			"extra": m.extra,
			"":      m.check,
		})
	})
}

// numbered is the original tuple of the i-th of many states.
func numbered(i int) Tuple {
	return Tuple{Src: Addr{10, byte(i >> 16), byte(i >> 8), byte(i)}, Dst: Addr{192, 0, 2, 1}, SrcPort: uint16(i), DstPort: 443}
}

// fill puts n states with a name and tuples in a table.
func fill(tab *Table, n int) []Ref {
	refs := make([]Ref, n)
	for i := range n {
		refs[i] = enter(tab, i)
	}
	return refs
}

func enter(tab *Table, i int) Ref {
	r, s := tab.Alloc(AFInet, ProtoTCP)
	s.Orig = numbered(i)
	s.Reply = s.Orig.Inverse(ProtoTCP)
	s.Mark = uint32(i)
	tab.LinkTuples(r)
	tab.SetName(r, SideIn, ID{uint64(i), 1})
	return r
}

// TestTableGrowth: over many chunks and doublings of the buckets every state
// is found, and a Ref and a *State lead to the same one as before.
func TestTableGrowth(t *testing.T) {
	const n = 5*chunkSize + 7
	tab := NewTable(1)
	early := enter(tab, 0)
	first := tab.At(early)
	for i := 1; i < n; i++ {
		enter(tab, i)
	}
	if tab.At(early) != first || first.Mark != 0 {
		t.Error("the first state was moved")
	}
	if len(tab.byTuple.buckets) < 2*n || len(tab.byID.buckets) < n {
		t.Errorf("%d and %d buckets for %d states", len(tab.byTuple.buckets), len(tab.byID.buckets), n)
	}
	for i := range n {
		tu := numbered(i)
		inv := tu.Inverse(ProtoTCP)
		r, _, ok := tab.ByName(ID{uint64(i), 1})
		o, oreply, ook := tab.ByTuple(&tu, AFInet, ProtoTCP, 0)
		p, preply, pok := tab.ByTuple(&inv, AFInet, ProtoTCP, 0)
		if !ok || !ook || !pok || oreply || !preply || r != o || r != p || tab.At(r).Mark != uint32(i) {
			t.Fatalf("state %d: by name %d, by tuple %d, by reply %d", i, r, o, p)
		}
	}
}

// TestTableReuse: freed places are used again, chunks are not added.
func TestTableReuse(t *testing.T) {
	tab := NewTable(1)
	refs := fill(tab, 3*chunkSize)
	end := tab.End()
	for range 3 {
		for _, r := range refs {
			tab.Free(r)
		}
		if tab.Len() != 0 || tab.byID.n != 0 || tab.byTuple.n != 0 {
			t.Fatalf("%d states, %d names, %d tuples left", tab.Len(), tab.byID.n, tab.byTuple.n)
		}
		refs = fill(tab, 3*chunkSize)
	}
	if tab.End() != end {
		t.Errorf("End is %d, was %d", tab.End(), end)
	}
}

// TestTableNameMoves: a second name on a side takes the place of the first.
func TestTableNameMoves(t *testing.T) {
	tab := NewTable(1)
	r, _ := tab.Alloc(AFInet, ProtoTCP)
	old, later := ID{1, 7}, ID{2, 7}
	tab.SetName(r, SideIn, old)
	tab.SetName(r, SideIn, later)
	if _, _, ok := tab.ByName(old); ok {
		t.Error("the old name still leads somewhere")
	}
	if got, side, ok := tab.ByName(later); !ok || got != r || side != SideIn {
		t.Errorf("ByName = %d, %d, %v", got, side, ok)
	}
}

// TestSeedSpreads: two tables with different seeds put the same tuples in
// different orders of buckets, so that nobody can aim.
func TestSeedSpreads(t *testing.T) {
	const n = 4096
	tu := make(map[uint32]int)
	same := 0
	for i := range n {
		x := numbered(i)
		a, b := x.hash(1, ProtoTCP, 0)%n, x.hash(0x123456789abcdef1, ProtoTCP, 0)%n
		tu[a]++
		if a == b {
			same++
		}
	}
	longest := 0
	for _, k := range tu {
		longest = max(longest, k)
	}
	if longest > 12 || same > n/100 {
		t.Errorf("longest chain %d, %d of %d in the same bucket for both seeds", longest, same, n)
	}
}
