package pfstate

// Ref refers to a State of a Table: 1 and up, 0 none. It stays valid until the
// State is freed, whatever else the Table does.
type Ref uint32

// Link sets: a State can be on one Queue of each.
const (
	LinkSync = iota // what to tell peers
	LinkOps         // what to ask of the kernel
	linkSets
)

type link struct{ next, prev Ref }

// Queue is a FIFO of states of one Table, linked through the states
// themselves (pf's sync_list), so that it never allocates. The zero value,
// with Set chosen, is empty.
type Queue struct {
	Set        uint8 // LinkSync or LinkOps
	head, tail Ref
	n          int
}

// Len is the number of states queued.
func (q *Queue) Len() int { return q.n }

// Head is the oldest state, 0 if empty.
func (q *Queue) Head() Ref { return q.head }

// Push appends r, which must be on no queue of the same set.
func (t *Table) Push(q *Queue, r Ref) {
	l := &t.At(r).links[q.Set]
	l.next, l.prev = 0, q.tail
	if q.tail != 0 {
		t.At(q.tail).links[q.Set].next = r
	} else {
		q.head = r
	}
	q.tail = r
	q.n++
}

// Remove takes r out of q, on which it must be.
func (t *Table) Remove(q *Queue, r Ref) {
	l := &t.At(r).links[q.Set]
	if l.prev != 0 {
		t.At(l.prev).links[q.Set].next = l.next
	} else {
		q.head = l.next
	}
	if l.next != 0 {
		t.At(l.next).links[q.Set].prev = l.prev
	} else {
		q.tail = l.prev
	}
	*l = link{}
	q.n--
}

// Pop removes and returns the oldest state, 0 if q is empty.
func (t *Table) Pop(q *Queue) Ref {
	r := q.head
	if r != 0 {
		t.Remove(q, r)
	}
	return r
}

// NextOn returns the state behind r on q, 0 at the end.
func (t *Table) NextOn(q *Queue, r Ref) Ref { return t.At(r).links[q.Set].next }
