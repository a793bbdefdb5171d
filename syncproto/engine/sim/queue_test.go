package sim

// event is something that happens at a time.
type event struct {
	at  int64
	seq int64 // of two at one time the one put in first comes first
	do  func()
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.seq < o.seq
}

// queue is a heap of what is to come.
type queue struct {
	heap []event
	seq  int64
}

func (q *queue) put(at int64, do func()) {
	q.seq++
	q.heap = append(q.heap, event{at, q.seq, do})
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// next takes the first event that is not after t.
func (q *queue) next(t int64) (ev event, ok bool) {
	h := q.heap
	if len(h) == 0 || h[0].at > t {
		return event{}, false
	}
	ev = h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = event{}
	q.heap = h[:last]
	q.sink()
	return ev, true
}

func (q *queue) sink() {
	h := q.heap
	for i := 0; ; {
		low := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(h) && h[c].before(&h[low]) {
				low = c
			}
		}
		if low == i {
			return
		}
		h[i], h[low] = h[low], h[i]
		i = low
	}
}
