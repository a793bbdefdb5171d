package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
)

// world is all of it.
type world struct {
	sc       *scenario
	now      int64
	q        queue
	rng      *rand.Rand // of the link
	nodes    []*node
	master   *node // where connections pass
	wire     wire
	timeouts pfstate.Timeouts
	conns    []*conn
	latest   map[key]*conn // by both tuples
	purged   map[key]int64 // when entries of a tuple were killed on purpose
	hushed   bool          // connections say nothing any more
	clashing int64         // until when two have, or feel that they had, one hostid

	events     int
	complaints []complaint
	settledAt  int64 // after calm began
	lostConns  int
	stormAt    int64
	storm      int // frames since

	tracing   bool
	listening bool // messages are counted
	heard     map[pfstate.ID]int
	trace     []line
	names     map[pfstate.ID]key
	frameNo   uint32                  // of the frame that is read
	words     func(pfstate.ID) string // what it says of its records beside
	digest    uint64                  // of all that happened
}

// complaint is something that must not be, about a connection or about none.
type complaint struct {
	about key
	text  string
}

func (c complaint) String() string {
	if c.about == (key{}) {
		return c.text
	}
	return c.about.String() + ": " + c.text
}

func newWorld(sc *scenario) *world {
	w := &world{sc: sc, now: 1000 * second, rng: rand.New(rand.NewPCG(sc.seed, 1+sc.salt<<32)), latest: map[key]*conn{}, purged: map[key]int64{}, timeouts: sc.timeouts}
	w.wire = sc.wire
	w.wire.deaf = map[[2]int]bool{}
	for i := range sc.nodes {
		n := &node{w: w, no: i, name: string(rune('A' + i)), addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
			hostID: uint32(0x1000 * (i + 1)), cable: true, saw: map[key]bool{}, rng: rand.New(rand.NewPCG(sc.seed, uint64(10+i)+sc.salt<<32))}
		n.k = newKernel(w, n)
		sc.setUp(n)
		n.wall += int64(i) * 100 * second // two that start in one second give out the same names
		w.nodes = append(w.nodes, n)
	}
	w.master = w.nodes[0]
	return w
}

// at plans something.
func (w *world) at(in int64, do func()) { w.q.put(w.now+in, do) }

// maxEvents is more than a run of the largest scenario has.
const maxEvents = 1_000_000

// run lets time pass until t.
func (w *world) run(t int64) {
	for w.storm < stormMax {
		ev, ok := w.q.next(t)
		if !ok {
			break
		}
		w.now = ev.at
		if w.events++; w.events == maxEvents {
			w.complain(key{}, "it runs in circles")
		} else if w.events > maxEvents {
			break
		}
		w.digest = (w.digest ^ uint64(ev.at) ^ uint64(ev.seq)<<40) * 1099511628211 // FNV-1a
		ev.do()
	}
	w.now = t
}

// maxComplaints are kept of a run.
const maxComplaints = 20

func (w *world) complain(about key, format string, args ...any) {
	c := complaint{about, fmt.Sprintf(format, args...)}
	w.say(about, "WRONG: %s", c.text)
	if len(w.complaints) < maxComplaints {
		w.complaints = append(w.complaints, c)
	}
}

// reaper is the lazy garbage collection of all kernels.
func (w *world) reaper() {
	for _, n := range w.nodes {
		if n.up {
			n.k.reap(func() bool { return w.rng.IntN(3) > 0 })
			n.step()
		}
	}
	w.at(second, w.reaper)
}
