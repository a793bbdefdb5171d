package sim

import "github.com/pfsync/pfsync/pfstate"

const (
	dumpEvery = 10 * second
	dumpParts = 3
)

// dump is the daemon's walk over its kernel's table: it takes time, and what it
// tells is a little old when it is read.
func (n *node) dump() {
	gen := n.starts
	alive := func() bool { return n.running() && n.starts == gen }
	n.dumping = true
	n.eng.Local(n.w.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}})
	n.k.reap(func() bool { return false })
	n.dumpPart(0, alive)
}

func (n *node) dumpPart(i int, alive func() bool) {
	w := n.w
	if n.frozen > w.now {
		w.at(n.frozen-w.now, func() {
			if alive() {
				n.dumpPart(i, alive)
			}
		})
		return
	}
	recs, found := n.records(i)
	w.at(n.rng.Int64N(2*milli), func() {
		if !alive() {
			return
		}
		n.read()
		n.eng.Local(w.now, recs)
		for _, e := range found {
			e.untold, e.told = false, w.now
		}
		if i+1 < dumpParts {
			n.dumpPart(i+1, alive)
			return
		}
		n.eng.Local(w.now, []pfstate.Event{{Kind: pfstate.EventDumpEnd}})
		n.dumping = false
		n.dumpLater(w.now+dumpEvery, alive)
		n.step()
	})
}

// dumpLater plans the next regular dump, unless one is made meanwhile.
func (n *node) dumpLater(at int64, alive func() bool) {
	n.dumpAt = at
	n.w.q.put(at, func() {
		switch {
		case !alive() || n.dumping || n.dumpAt != at:
		case n.frozen > n.w.now:
			n.dumpLater(n.frozen, alive)
		default:
			n.dump()
			n.step()
		}
	})
}

// records is a part of the table, and those entries of it of which not all was
// told.
func (n *node) records(part int) (recs []pfstate.Event, untold []*entry) {
	for _, e := range n.k.list {
		if int(e.f.Orig.SrcPort)%dumpParts == part && e.ends > n.w.now {
			recs = append(recs, pfstate.Event{Kind: pfstate.EventDump, Flow: n.k.flow(e)})
			if e.untold {
				untold = append(untold, e)
			}
		}
	}
	return recs, untold
}
