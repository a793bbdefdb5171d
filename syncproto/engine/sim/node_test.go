package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// node is one firewall: machine, kernel and daemon.
type node struct {
	w      *world
	no     int
	name   string
	addr   netip.Addr
	hostID uint32
	format syncproto.Format
	rng    *rand.Rand
	k      *kernel
	cfg    engine.Config

	up     bool           // the machine
	eng    *engine.Engine // the daemon, nil if none runs
	starts uint32         // of daemons: what belongs to an earlier one is void
	kept   bool           // the kernel's table is the one of the last daemon
	stamp  int64          // when the last daemon was last known to be alive
	first  uint64         // state id of the last daemon that followed this table
	left   engine.Settled // what it left
	wall   int64          // how far the wall clock is off
	cable  bool           // has carrier
	frozen int64          // the daemon stands still until then
	inBox  []frame
	saw    map[key]bool // what it knows by itself since boot, by both tuples

	settleAt int64 // next look at what the next daemon has to know
	wake     int64 // when the engine is next run, 0 not planned
	opsAt    int64 // when the last batch of operations is done
	doneAt   int64 // when the daemon hears of it
	dumping  bool
	dumpAt   int64 // when the next regular one is due
	guesses  bool  // defer: the source's translation is not known yet
	pkts     uint32
	held     []heldPacket // in the order in which they came
}

type frame struct {
	from netip.Addr
	b    []byte
}

func (n *node) running() bool { return n.eng != nil }

// start starts a daemon.
func (n *node) start() {
	w := n.w
	n.starts++
	n.up = true
	n.k.events, n.k.overrun = nil, false
	n.inBox, n.held = nil, nil
	n.dumping, n.wake, n.frozen = false, 0, 0
	down := time.Duration(0)
	if n.kept {
		down = max(1, time.Duration(w.now-n.stamp))
	}
	n.first = max(uint64((w.now+n.wall)/second)<<32, n.first+1<<32)
	n.cfg.HostID = n.hostID
	n.cfg.Format = n.format
	n.cfg.Sync, n.cfg.MaxUpd, n.cfg.MTU, n.cfg.Demotion = true, 128, 1500, 240
	n.cfg.Timeouts, n.cfg.Seed = w.timeouts, 7
	n.cfg.KnownPeers = int(min(n.starts-1, 1)) * (len(w.nodes) - 1)
	n.cfg.StartID, n.cfg.LastRun = n.first, n.left
	if epoch := n.rng.Uint32() | 1; n.kept && n.left.Whole {
		n.cfg.Epoch = engine.NextEpoch(n.cfg.Epoch)
	} else {
		n.cfg.Epoch = epoch
	}
	n.cfg.KernelKept, n.cfg.DownFor = n.kept, down
	if w.tracing {
		n.cfg.Log = func(msg string, args ...any) { w.log("%s: %s %v", n.name, msg, args) }
		w.log("%s: daemon starts, kernel kept %v with %d entries, down for %v", n.name, n.kept, len(n.k.list), down)
	}
	for _, e := range n.k.list {
		n.see(&e.f)
	}
	n.eng = engine.New(w.now, n.cfg)
	n.kept = true
	n.tellLink()
	if w.sc.pf {
		n.hearPF()
	}
	n.dump()
	n.step()
}

// crash ends a daemon without a word.
func (n *node) crash() {
	if n.eng == nil {
		return
	}
	n.w.log("%s: daemon dies", n.name)
	n.unheard()
	n.eng = nil
	n.stamp = n.w.now - n.w.now%(2*second) // the keeper's pace
	n.k.events, n.k.overrun = nil, false
	held := n.held
	n.held = nil
	for i := range held {
		held[i].done(false) // the kernel drops what was queued
	}
}

// unheard: a daemon dies while it knows that it does not hear all. What has
// ended meanwhile is in its kernel, and the next daemon cannot tell it from what
// passed here alone; that it keeps it is no fault.
func (n *node) unheard() {
	if st := n.eng.Status(n.w.now); st.Sync == engine.SyncOK && !st.Diverged {
		return
	}
	for _, e := range n.k.list {
		if c := n.w.latest[e.key()]; c != nil && c.over {
			c.excused = true
		}
	}
}

// powerOff takes the machine with its kernel's table.
func (n *node) powerOff() {
	n.crash()
	n.w.log("%s: machine off", n.name)
	n.up, n.kept, n.first, n.left = false, false, 0, engine.Settled{}
	n.k.clear()
	clear(n.saw)
}

// set changes the configuration.
func (n *node) set(change func(*engine.Config)) {
	change(&n.cfg)
	n.hostID = n.cfg.HostID
	if n.running() {
		cfg := n.eng.Config()
		change(&cfg)
		n.eng.Set(n.w.now, cfg, false)
		n.step()
	}
}

func (n *node) tellLink() {
	if n.running() {
		n.eng.Link(n.w.now, engine.Link{Up: n.cable, Self: n.addr, MTU: 1500})
	}
}

// step runs a node's daemon: events, frames, time, then what the engine has
// to say.
func (n *node) step() {
	w := n.w
	if !n.running() || n.frozen > w.now {
		return
	}
	n.read()
	in := n.inBox
	n.inBox = n.inBox[:0]
	for i := range in {
		n.eng.Remote(w.now, in[i].from, in[i].b)
	}
	if w.now >= n.eng.Deadline() {
		n.eng.Tick(w.now)
	}
	n.drainFrames()
	n.releases()
	n.drainOps()
	n.settle()
	if n.eng.NeedDump() && !n.dumping {
		n.dump()
	}
	n.plan()
}

const settleEvery = 20 * milli

// settle keeps what the next daemon has to know.
func (n *node) settle() {
	if n.w.now < n.settleAt {
		return
	}
	n.settleAt = n.w.now + settleEvery
	if s, ok := n.eng.Settled(n.w.now, nil); ok {
		n.left = s
	}
}

// read hands the kernel's events to the engine.
func (n *node) read() {
	w := n.w
	evs := n.k.events
	if n.k.overrun {
		w.log("%s: events lost", n.name)
		n.eng.Local(w.now, []pfstate.Event{{Kind: pfstate.EventOverrun}})
	}
	n.k.events, n.k.overrun = n.k.events[:0], false
	if w.tracing {
		for i := range evs {
			f := &evs[i].Flow
			w.say(origKey(f), "%s: event %s state %d/%x left %d reply %v", n.name, eventNames[evs[i].Kind], f.ProtoState, f.Status, f.Timeout, replyKey(f))
		}
	}
	if len(evs) > 0 {
		n.eng.Local(w.now, evs)
	}
}

var eventNames = [...]string{pfstate.EventNew: "new", pfstate.EventUpdate: "update", pfstate.EventDestroy: "destroy"}

const maxFrames = 5000 // of one step

func (n *node) drainFrames() {
	var buf [2048]byte
	for i := 0; ; i++ {
		fr, ok := n.eng.NextFrame(n.w.now, buf[:0])
		if !ok {
			return
		}
		if i > maxFrames {
			n.w.complain(key{}, "%s: frames without end", n.name)
			return
		}
		n.w.send(n, fr.Data)
	}
}

// drainOps gives the kernel what it is to do. It takes its time, and the
// answers take theirs.
func (n *node) drainOps() {
	w := n.w
	var ops [64]pfstate.Op
	k := n.eng.Ops(w.now, ops[:])
	if k == 0 {
		return
	}
	gen := n.starts
	batch := append([]pfstate.Op(nil), ops[:k]...)
	n.opsAt = max(n.opsAt, w.now+n.rng.Int64N(3*milli))
	w.q.put(n.opsAt, func() {
		if !n.up {
			return
		}
		res := n.k.doAll(batch)
		n.doneAt = max(n.doneAt, w.now+n.rng.Int64N(2*milli), n.frozen)
		w.q.put(n.doneAt, func() {
			if n.running() && n.starts == gen {
				n.eng.Done(w.now, res)
				n.step()
			}
		})
	})
}

// plan sees to it that the engine is run when it wants to.
func (n *node) plan() {
	w := n.w
	at := max(n.eng.Deadline(), w.now+milli/2)
	if n.eng.OpsLen() > 0 {
		at = w.now + milli
	}
	if n.wake > w.now && n.wake <= at || at > w.now+100*second {
		return
	}
	n.wake = at
	w.q.put(at, func() {
		if n.wake == at {
			n.wake = 0
			n.step()
		}
	})
}

// freeze stops the daemon, not the kernel, for a while.
func (n *node) freeze(d int64) {
	if !n.running() {
		return
	}
	n.w.log("%s: daemon stopped for %d ms", n.name, d/milli)
	n.frozen = max(n.frozen, n.w.now+d)
	gen := n.starts
	n.w.at(d, func() {
		if n.running() && n.starts == gen {
			n.step()
		}
	})
}
