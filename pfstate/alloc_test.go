package pfstate

import "testing"

// TestNoAllocation: nothing on the way of a state through a table that has
// grown allocates.
func TestNoAllocation(t *testing.T) {
	const n = 4 * chunkSize
	tab := NewTable(1)
	refs := fill(tab, n)
	q := Queue{Set: LinkOps}
	f := kernelFlow(ProtoTCP)
	f.Has |= HasProto | HasLabels
	f.ProtoState = TCPEstablished
	s := stateOf(tab, &f)
	tu := numbered(n / 2)
	filter := Filter{Local: map[Addr]struct{}{addr("10.0.0.9"): {}}, Marks: []MarkMatch{{1, 1}}}
	for _, tc := range []struct {
		name string
		do   func()
	}{
		{"lookup by name", func() { tab.ByName(ID{n / 2, 1}) }},
		{"lookup by tuple", func() { tab.ByTuple(&tu, AFInet, ProtoTCP, 0) }},
		{"queue", func() {
			for _, r := range refs[:64] {
				tab.Push(&q, r)
			}
			tab.Remove(&q, refs[7])
			for tab.Pop(&q) != 0 {
			}
		}},
		{"insert and delete", func() {
			tab.Free(refs[9])
			refs[9] = enter(tab, 9)
		}},
		{"rare contents", func() {
			tab.DropExtra(s)
			tab.NeedExtra(s)
		}},
		{"absorb", func() { tab.Absorb(s, &f) }},
		{"flow of", func() { _ = tab.FlowOf(s, second) }},
		{"filter", func() { filter.Match(&f) }},
		{"digest", func() {
			tab.At(refs[8]).Mark++
			tab.DigestIn(refs[8])
		}},
		{"direction", func() { s.Direction() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(100, tc.do); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
}
