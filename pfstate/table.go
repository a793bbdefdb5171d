package pfstate

const (
	chunkBits  = 10
	chunkSize  = 1 << chunkBits
	minBuckets = 1 << 10

	linkedTuples uint8 = 1 << 7 // in State.linked; bits 0 to 2: names
)

// Table holds all states. They lie in chunks that are never moved, are linked
// by number, and are found by name and by tuple: the original as well as the
// reply tuple, each with the zone of its direction, as in the kernel. It has
// one owner and no lock.
type Table struct {
	seed   uint64
	chunks []*[chunkSize]State
	free   Ref // list through links[LinkSync].next
	fresh  Ref // first never used
	n      int // in use

	byID    index
	byTuple index

	counts []*[chunkSize]counted // beside chunks; nil where nothing was counted

	extra     []Extra
	freeExtra []uint32

	digests [DigestBuckets]uint64
	expects map[*State][]Expected // of the few states that have some
}

// index is a chained hash table of nodes; a node is ref<<2 | slot.
type index struct {
	buckets []uint32
	n       int
}

// NewTable returns an empty table. seed should be random: it keeps others from
// aiming at one bucket.
func NewTable(seed uint64) *Table {
	return &Table{
		seed:    seed | 1,
		fresh:   1,
		byID:    index{buckets: make([]uint32, minBuckets)},
		byTuple: index{buckets: make([]uint32, minBuckets)},
	}
}

// Len is the number of states.
func (t *Table) Len() int { return t.n }

// End is one above the highest Ref ever used: the range of a walk.
func (t *Table) End() Ref { return t.fresh }

// At returns the state of r, which must be in use.
func (t *Table) At(r Ref) *State {
	return &t.chunks[(r-1)>>chunkBits][(r-1)&(chunkSize-1)]
}

// InUse reports whether r is a state, for walks from 1 to End.
func (t *Table) InUse(r Ref) bool {
	return r != 0 && r < t.fresh && t.At(r).AF != 0
}

// Alloc returns a new state of a family and protocol, in no index.
func (t *Table) Alloc(af, proto uint8) (Ref, *State) {
	r := t.free
	if r != 0 {
		t.free = t.At(r).links[LinkSync].next
	} else {
		r = t.fresh
		if int(r-1)>>chunkBits == len(t.chunks) {
			t.chunks = append(t.chunks, new([chunkSize]State))
		}
		t.fresh++
	}
	t.n++
	s := t.At(r)
	*s = State{AF: af, Proto: proto}
	return r, s
}

// Free gives r back. It must be on no queue; its names and tuples go with it.
func (t *Table) Free(r Ref) {
	s := t.At(r)
	t.DigestOut(r)
	t.UnlinkTuples(r)
	for side := range Sides {
		t.ClearName(r, side)
	}
	t.DropExtra(s)
	if c := t.countedOf(r); c != nil {
		*c = counted{}
	}
	t.SetExpects(s, nil)
	*s = State{}
	s.links[LinkSync].next = t.free
	t.free = r
	t.n--
}

// Extra returns the rare contents of s, nil if it has none.
func (t *Table) Extra(s *State) *Extra {
	if s.Ext == 0 {
		return nil
	}
	return &t.extra[s.Ext-1]
}

// NeedExtra returns the rare contents of s and makes room for them if it has
// none. The pointer is good until the next call.
func (t *Table) NeedExtra(s *State) *Extra {
	if s.Ext != 0 {
		return &t.extra[s.Ext-1]
	}
	if n := len(t.freeExtra); n > 0 {
		s.Ext = t.freeExtra[n-1]
		t.freeExtra = t.freeExtra[:n-1]
		t.extra[s.Ext-1] = Extra{}
	} else {
		t.extra = append(t.extra, Extra{})
		s.Ext = uint32(len(t.extra))
	}
	return &t.extra[s.Ext-1]
}

// DropExtra forgets the rare contents of s.
func (t *Table) DropExtra(s *State) {
	if s.Ext != 0 {
		t.freeExtra = append(t.freeExtra, s.Ext)
		s.Ext = 0
	}
}

// Names.

func (t *Table) hashID(id ID) uint32 {
	h := (id.ID ^ t.seed ^ uint64(id.CreatorID)<<32) * 0x9e3779b97f4a7c15
	return uint32(h>>32) ^ uint32(h>>7)
}

// ByName finds a state by any of its names.
func (t *Table) ByName(id ID) (Ref, Side, bool) {
	for n := t.byID.buckets[t.hashID(id)&t.byID.mask()]; n != 0; {
		s, side := t.At(Ref(n>>2)), Side(n&3)
		if s.ids[side] == id.ID && s.creators[side] == id.CreatorID {
			return Ref(n >> 2), side, true
		}
		n = s.idNext[side]
	}
	return 0, 0, false
}

// SetName gives r a name on a side; what it had there is cleared. Nobody else
// may have that name.
func (t *Table) SetName(r Ref, side Side, id ID) {
	t.ClearName(r, side)
	s := t.At(r)
	s.ids[side], s.creators[side] = id.ID, id.CreatorID
	s.linked |= 1 << side
	t.byID.n++
	if t.byID.grow() {
		t.rehashIDs()
		return
	}
	b := &t.byID.buckets[t.hashID(id)&t.byID.mask()]
	s.idNext[side], *b = *b, uint32(r)<<2|uint32(side)
}

// ClearName takes the name of a side away.
func (t *Table) ClearName(r Ref, side Side) {
	s := t.At(r)
	if s.linked&(1<<side) == 0 {
		return
	}
	node := uint32(r)<<2 | uint32(side)
	p := &t.byID.buckets[t.hashID(s.Name(side))&t.byID.mask()]
	for *p != node {
		n := *p
		p = &t.At(Ref(n >> 2)).idNext[n&3]
	}
	*p = s.idNext[side]
	s.ids[side], s.creators[side], s.idNext[side] = 0, 0, 0
	s.linked &^= 1 << side
	t.byID.n--
}

func (t *Table) rehashIDs() {
	for r := Ref(1); r < t.fresh; r++ {
		s := t.At(r)
		for side := range Sides {
			if s.linked&(1<<side) != 0 {
				b := &t.byID.buckets[t.hashID(s.Name(side))&t.byID.mask()]
				s.idNext[side], *b = *b, uint32(r)<<2|uint32(side)
			}
		}
	}
}

// Tuples.

func (s *State) tuple(dir uint32) *Tuple {
	if dir == 0 {
		return &s.Orig
	}
	return &s.Reply
}

func (t *Table) tupleBucket(s *State, dir uint32) *uint32 {
	h := s.tuple(dir).hash(t.seed, s.Proto, s.Zone[dir])
	return &t.byTuple.buckets[h&t.byTuple.mask()]
}

// ByTuple finds the state of which tu, in zone, is the original tuple, or else
// the one of which it is the reply tuple (then reply is true).
func (t *Table) ByTuple(tu *Tuple, af, proto uint8, zone uint16) (r Ref, reply, ok bool) {
	for n := t.byTuple.buckets[tu.hash(t.seed, proto, zone)&t.byTuple.mask()]; n != 0; {
		s, dir := t.At(Ref(n>>2)), n&3
		if s.Proto == proto && s.AF == af && s.Zone[dir] == zone && *s.tuple(dir) == *tu {
			if dir == 0 {
				return Ref(n >> 2), false, true
			}
			r, reply, ok = Ref(n>>2), true, true
		}
		n = s.tupleNext[dir]
	}
	return r, reply, ok
}

// LinkTuples makes r findable by its tuples, which must not change while it is.
func (t *Table) LinkTuples(r Ref) {
	s := t.At(r)
	s.linked |= linkedTuples
	t.byTuple.n += 2
	if t.byTuple.grow() {
		t.rehashTuples()
		return
	}
	t.chainTuples(r, s)
}

func (t *Table) chainTuples(r Ref, s *State) {
	for dir := range uint32(2) {
		b := t.tupleBucket(s, dir)
		s.tupleNext[dir], *b = *b, uint32(r)<<2|dir
	}
}

// TuplesLinked reports whether r is findable by its tuples.
func (t *Table) TuplesLinked(r Ref) bool { return t.At(r).linked&linkedTuples != 0 }

// UnlinkTuples makes r no longer findable by its tuples.
func (t *Table) UnlinkTuples(r Ref) {
	s := t.At(r)
	if s.linked&linkedTuples == 0 {
		return
	}
	for dir := range uint32(2) {
		node := uint32(r)<<2 | dir
		p := t.tupleBucket(s, dir)
		for *p != node {
			n := *p
			p = &t.At(Ref(n >> 2)).tupleNext[n&3]
		}
		*p = s.tupleNext[dir]
		s.tupleNext[dir] = 0
	}
	s.linked &^= linkedTuples
	t.byTuple.n -= 2
}

func (t *Table) rehashTuples() {
	for r := Ref(1); r < t.fresh; r++ {
		if s := t.At(r); s.linked&linkedTuples != 0 {
			t.chainTuples(r, s)
		}
	}
}

func (x *index) mask() uint32 { return uint32(len(x.buckets) - 1) }

// grow doubles the buckets when they are full and reports that all nodes must
// be chained anew.
func (x *index) grow() bool {
	if x.n <= len(x.buckets) {
		return false
	}
	x.buckets = make([]uint32, 2*len(x.buckets))
	return true
}
