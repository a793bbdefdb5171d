package sim

import (
	"math/rand/v2"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// faultSpec is something bad that happens in a scenario.
type faultSpec struct {
	kind int
	at   int64
	d    int64 // how long it lasts; all is over when calm begins
	node int
	hard bool // the worse of two forms
	seed uint64
}

// faultKinds are all of them. Some are no faults but what an operator does.
var faultKinds = []struct {
	name string
	do   func(w *world, f *faultSpec, n *node)
}{
	{"cut", (*world).faultCut},
	{"cable", (*world).faultCable},
	{"deaf", (*world).faultDeaf},
	{"lossy", (*world).faultLossy},
	{"crash", (*world).faultCrash},
	{"crash", (*world).faultCrash},
	{"reboot", (*world).faultReboot},
	{"blackout", (*world).faultBlackout},
	{"takeover", (*world).faultTakeover},
	{"takeover", (*world).faultTakeover},
	{"freeze", (*world).faultFreeze},
	{"full", (*world).faultFull},
	{"flush-kernel", (*world).faultFlushKernel},
	{"flush", (*world).faultFlush},
	{"nosync", (*world).faultNoSync},
	{"clock", (*world).faultClock},
	{"clash", (*world).faultClash},
}

func makeFault(rng *rand.Rand) faultSpec {
	f := faultSpec{kind: rng.IntN(len(faultKinds)), at: warmUp + rng.Int64N(trouble-warmUp), node: rng.IntN(maxNodes), hard: rng.IntN(2) == 0, seed: rng.Uint64()}
	f.d = milli + rng.Int64N(min(6*second, calm-f.at-milli))
	if rng.IntN(3) == 0 {
		f.d = min(f.d, 300*milli)
	}
	return f
}

// strike lets a fault happen, if there is such a node.
func (w *world) strike(f *faultSpec) {
	if f.node < len(w.nodes) {
		n := w.nodes[f.node]
		w.log("%s: %s for %d ms, hard %v", n.name, faultKinds[f.kind].name, f.d/milli, f.hard)
		faultKinds[f.kind].do(w, f, n)
	}
}

func duration(d int64) time.Duration { return time.Duration(d) }

// faultCut: nothing gets through; hard: and everybody sees no carrier.
func (w *world) faultCut(f *faultSpec, _ *node) {
	w.wire.cut = true
	for _, n := range w.nodes {
		if f.hard {
			n.plug(false)
		}
	}
	w.at(f.d, func() {
		w.wire.cut = false
		for _, n := range w.nodes {
			n.plug(true)
		}
	})
}

// plug changes the carrier of a node.
func (n *node) plug(on bool) {
	if n.cable != on {
		n.cable = on
		n.tellLink()
		n.step()
	}
}

func (w *world) faultCable(f *faultSpec, n *node) {
	n.plug(false)
	w.at(f.d, func() { n.plug(true) })
}

// faultDeaf: what others send does not come, what it sends does; hard: the
// other way round.
func (w *world) faultDeaf(f *faultSpec, n *node) {
	set := func(on bool) {
		for _, o := range w.nodes {
			pair := [2]int{o.no, n.no}
			if f.hard {
				pair = [2]int{n.no, o.no}
			}
			w.wire.deaf[pair] = on
		}
	}
	set(true)
	w.at(f.d, func() { set(false) })
}

// faultLossy: half of the frames are lost one way.
func (w *world) faultLossy(f *faultSpec, n *node) {
	w.wire.lossTo[n.no] = 0.5
	w.at(f.d, func() { w.wire.lossTo[n.no] = 0 })
}

// faultCrash: the daemon is killed; hard: and started again at once.
func (w *world) faultCrash(f *faultSpec, n *node) {
	if !n.running() {
		return
	}
	n.crash()
	d := f.d
	if f.hard {
		d = min(d, 50*milli)
	}
	w.at(d, func() {
		if n.up && !n.running() {
			n.start()
		}
	})
}

// faultReboot: the machine goes with its table, and another one takes its
// connections over.
func (w *world) faultReboot(f *faultSpec, n *node) {
	if !n.up {
		return
	}
	n.powerOff()
	w.elect()
	w.at(f.d, func() {
		if !n.up {
			n.start()
		}
		w.elect()
	})
}

// faultBlackout: all machines reboot.
func (w *world) faultBlackout(f *faultSpec, _ *node) {
	for i, n := range w.nodes {
		if n.up {
			n.powerOff()
			w.at(f.d+int64(i)*f.d%second, func() {
				if !n.up {
					n.start()
				}
				w.elect()
			})
		}
	}
}

// elect finds another master where the one that was is no more.
func (w *world) elect() {
	if w.master.up {
		return
	}
	for _, n := range w.nodes {
		if n.up {
			w.log("%s takes over from %s, which is off", n.name, w.master.name)
			w.master = n
			return
		}
	}
}

// faultTakeover: connections pass elsewhere from now on, where keepalived would
// let them; hard: an operator does not ask.
func (w *world) faultTakeover(f *faultSpec, n *node) {
	if !n.running() || n == w.master {
		return
	}
	if st := n.eng.Status(w.now); !f.hard && (st.Demotion != 0 || st.Sync != engine.SyncOK) {
		return
	}
	w.log("%s takes over from %s", n.name, w.master.name)
	w.master = n
}

func (w *world) faultFreeze(f *faultSpec, n *node) { n.freeze(f.d) }

// faultFull: the kernel's table has no room for more.
func (w *world) faultFull(f *faultSpec, n *node) {
	n.k.max = max(1, len(n.k.list))
	if f.hard {
		n.k.max = max(1, len(n.k.list)/2)
	}
	w.at(f.d, func() { n.k.max = 0 })
}

// faultFlushKernel is conntrack -F.
func (w *world) faultFlushKernel(_ *faultSpec, n *node) {
	if !n.running() {
		return
	}
	for len(n.k.list) > 0 {
		e := n.k.list[0]
		w.excuse(e)
		n.k.destroy(e, destroyProgram)
	}
	n.step()
}

// excuse: what happens to the connection of an entry, and to one that comes
// upon an entry of it elsewhere, is somebody's wish.
func (w *world) excuse(e *entry) {
	w.purged[e.key()] = w.now
	if c := w.latest[e.key()]; c != nil {
		c.excused, c.over = true, true
	}
}

// faultFlush is the verb flush.
func (w *world) faultFlush(_ *faultSpec, n *node) {
	if !n.running() || n.frozen > w.now {
		return
	}
	for _, e := range n.k.list {
		w.excuse(e)
	}
	n.eng.Flush(w.now)
	n.step()
}

// faultNoSync: a filter is added and removed; hard: on all.
func (w *world) faultNoSync(f *faultSpec, n *node) {
	filter := pfstate.Filter{Ports: []uint16{1024 + uint16(f.seed%4)}}
	set := func(x pfstate.Filter) {
		for _, o := range w.nodes {
			if o == n || f.hard {
				o.set(func(c *engine.Config) { c.Filter = x })
			}
		}
	}
	for _, c := range w.conns {
		if flow := c.f; filter.Match(&flow) {
			c.excused = true
		}
	}
	set(filter)
	w.at(f.d, func() { set(pfstate.Filter{}) })
}

// faultClock: the wall clock is set; hard: back.
func (w *world) faultClock(f *faultSpec, n *node) {
	step := int64(f.seed % uint64(7200*second))
	if f.hard {
		step = -min(step, 500*second)
	}
	n.wall += step
}

// clashEcho is how long after a clash of hostids what was not heard is made up
// for.
const clashEcho = 3 * second

// faultClash: a firewall is given the hostid of another, until the operator
// does what status says. With a pf about, two names for each connection may
// stay tangled until it ends: whether they do is not judged.
func (w *world) faultClash(f *faultSpec, n *node) {
	other := w.nodes[(n.no+1)%len(w.nodes)]
	if n == other || !n.running() || w.sc.pf {
		return
	}
	w.clashing = w.now + f.d + clashEcho
	n.set(func(c *engine.Config) { c.HostID = other.hostID })
	w.at(f.d, func() {
		n.set(func(c *engine.Config) { c.HostID = uint32(f.seed) | 1 })
	})
}
