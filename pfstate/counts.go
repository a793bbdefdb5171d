package pfstate

// Counts are the packets and bytes of a connection: index 0 from its initiator,
// 1 back, as pf counts them.
type Counts struct {
	Packets, Bytes [2]uint64
}

// Reversed is c as seen from the other end.
func (c Counts) Reversed() Counts {
	return Counts{[2]uint64{c.Packets[1], c.Packets[0]}, [2]uint64{c.Bytes[1], c.Bytes[0]}}
}

// plusSince adds what has passed from one reading to a later one. Where that is
// less, or too much to be true, c stays as it is: it never goes back.
func (c *Counts) plusSince(from, to *Counts) {
	for i := range 2 {
		c.Packets[i] = plus(c.Packets[i], from.Packets[i], to.Packets[i])
		c.Bytes[i] = plus(c.Bytes[i], from.Bytes[i], to.Bytes[i])
	}
}

func plus(n, from, to uint64) uint64 {
	if to < from || n+(to-from) < n {
		return n
	}
	return n + (to - from)
}

// counted is what is known of the traffic of one state. It lies apart from the
// State: only where nf_conntrack_acct is set, here or at a peer, is there any.
type counted struct {
	total  Counts // since the connection began, wherever it passed
	kernel Counts // of that, our kernel's reading that is in it
	common Counts // what peers have been told, or have told
}

// countedOf returns the place for what is counted of r, nil if nothing was ever
// counted near it.
func (t *Table) countedOf(r Ref) *counted {
	if c := int(r-1) >> chunkBits; c < len(t.counts) && t.counts[c] != nil {
		return &t.counts[c][(r-1)&(chunkSize-1)]
	}
	return nil
}

func (t *Table) needCounted(r Ref) *counted {
	for len(t.counts) < len(t.chunks) {
		t.counts = append(t.counts, nil)
	}
	if c := int(r-1) >> chunkBits; t.counts[c] == nil {
		t.counts[c] = new([chunkSize]counted)
	}
	return t.countedOf(r)
}

// Counts returns what has passed of the connection since it began, as far as is
// known.
func (t *Table) Counts(r Ref) Counts {
	if c := t.countedOf(r); c != nil {
		return c.total
	}
	return Counts{}
}

// CountKernel takes what our kernel has counted for the entry of r since it
// made it. A reading lower than the last is one of a new entry.
func (t *Table) CountKernel(r Ref, f *Flow) {
	if f.Has&HasCounts == 0 {
		return
	}
	c := t.needCounted(r)
	if f.Counts.Packets[0] < c.kernel.Packets[0] || f.Counts.Packets[1] < c.kernel.Packets[1] {
		c.kernel = Counts{}
	}
	c.total.plusSince(&c.kernel, &f.Counts)
	c.kernel = f.Counts
}

// CountNewEntry notes that our kernel has made the entry of r anew: it counts
// from 0.
func (t *Table) CountNewEntry(r Ref) {
	if c := t.countedOf(r); c != nil {
		c.kernel = Counts{}
	}
}

// CountPeer takes what a peer has counted. What it was told by us, or has told
// before, is in that; the rest has passed there.
func (t *Table) CountPeer(r Ref, there Counts) {
	if there == (Counts{}) {
		return
	}
	c := t.needCounted(r)
	was := c.common
	c.total.plusSince(&was, &there)
	c.common.plusSince(&was, &there)
}

// CountTold notes that peers are told the counts of r.
func (t *Table) CountTold(r Ref) {
	if c := t.countedOf(r); c != nil {
		c.common = c.total
	}
}
