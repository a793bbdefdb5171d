package engine

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// The simulation: engines with model kernels on one link, in one thread and in
// simulated time. Everything that happens is an event of the world's heap, so
// a seed says all.

// simKernel is a model of nf_conntrack: entries with timeouts that packets
// refresh, lazy expiry, events for state changes only.
type simKernel struct {
	entries map[entryKey]*simEntry
	replies map[entryKey]*simEntry // by reply tuple
	events  []pfstate.Event
	max     int // entries, 0 no limit
}

func newSimKernel() *simKernel {
	return &simKernel{entries: map[entryKey]*simEntry{}, replies: map[entryKey]*simEntry{}}
}

type simEntry struct {
	f      pfstate.Flow
	ends   int64
	conn   *simConn // whose it is, nil for what a peer told and no packet has met
	passed int64    // when the last packet passed here
}

// simConn is one connection of the outside world.
type simConn struct {
	f       pfstate.Flow // as its first packet makes it
	phase   int
	closing bool
	over    bool
	born    int64
}

func (k *simKernel) tell(kind pfstate.EventKind, f pfstate.Flow, has pfstate.Has) {
	f.Has = has | pfstate.HasStatus | pfstate.HasProto
	k.events = append(k.events, pfstate.Event{Kind: kind, Flow: f})
}

func (k *simKernel) find(t *pfstate.Tuple, af, proto uint8) (e *simEntry, reply bool) {
	key := entryKey{*t, 0, af, proto}
	if e := k.entries[key]; e != nil {
		return e, false
	}
	return k.replies[key], true
}

func replyKey(f *pfstate.Flow) entryKey { return entryKey{f.Reply, 0, f.AF, f.Proto} }

func (k *simKernel) add(e *simEntry) {
	k.entries[keyOf(&e.f)] = e
	k.replies[replyKey(&e.f)] = e
}

func (k *simKernel) drop(e *simEntry) {
	delete(k.entries, keyOf(&e.f))
	delete(k.replies, replyKey(&e.f))
}

// destroy removes an entry and tells: killed ones with their timeout.
func (k *simKernel) destroy(now int64, e *simEntry, killed bool) {
	k.drop(e)
	f := e.f
	var has pfstate.Has
	if killed {
		has = pfstate.HasTimeout
		f.Timeout = uint32(max(0, (e.ends-now)/second))
	}
	f.TCPFlags = [2]uint8{}
	k.tell(pfstate.EventDestroy, f, has)
}

// reap expires what is over; late says how lazily.
func (k *simKernel) reap(now int64, late func() bool) {
	for _, e := range sortedEntries(k, func(e *simEntry) bool { return e.ends <= now }) {
		if !late() {
			k.destroy(now, e, false)
		}
	}
}

// sortedEntries lists entries in an order that does not depend on the map, so
// that a seed says all.
func sortedEntries(k *simKernel, want func(*simEntry) bool) []*simEntry {
	var out []*simEntry
	for _, e := range k.entries {
		if want(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *simEntry) int {
		x, y := keyOf(&a.f), keyOf(&b.f)
		return cmp.Or(bytes.Compare(x.Src[:], y.Src[:]), cmp.Compare(x.SrcPort, y.SrcPort),
			bytes.Compare(x.Dst[:], y.Dst[:]), cmp.Compare(x.proto, y.proto))
	})
	return out
}

func anyEntry(*simEntry) bool { return true }

var simTimeouts = func() pfstate.Timeouts {
	t := pfstate.DefaultTimeouts()
	t.TCP = [pfstate.TCPMax]uint32{20, 20, 20, 120, 20, 20, 10, 15, 5, 20}
	t.UDP, t.UDPStream = 12, 25
	return t
}()

// packet lets a packet of c pass, reply says from which side, and reports
// whether the strict ruleset let it through.
func (k *simKernel) packet(now int64, c *simConn, reply bool, tcp uint8, first bool) bool {
	e, _ := k.find(&c.f.Orig, c.f.AF, c.f.Proto)
	if e != nil && e.ends <= now { // expired, not yet reaped
		k.destroy(now, e, false)
		e = nil
	}
	if e == nil {
		if !first {
			return false
		}
		e = &simEntry{f: c.f, conn: c, passed: now}
		e.f.ProtoState = tcp
		e.f.Status = pfstate.StatusConfirmed
		e.ends = now + int64(simTimeouts.For(c.f.Proto, tcp, e.f.Status))*second
		e.f.Timeout = uint32((e.ends - now) / second)
		k.add(e)
		k.tell(pfstate.EventNew, e.f, pfstate.HasTimeout)
		return true
	}
	if first && c.f.Proto == pfstate.ProtoTCP && e.f.ProtoState >= pfstate.TCPLastAck && e.f.ProtoState <= pfstate.TCPClose {
		k.destroy(now, e, true) // port reused
		return k.packet(now, c, reply, tcp, first)
	}
	changed := e.f.ProtoState != tcp
	if tcp > e.f.ProtoState || e.f.ProtoState == pfstate.TCPSynSent2 {
		e.f.ProtoState = tcp
		if tcp == pfstate.TCPFinWait {
			d := 0
			if reply {
				d = 1
			}
			e.f.TCPFlags = [2]uint8{pfstate.TCPFlagSackPerm, pfstate.TCPFlagSackPerm}
			e.f.TCPFlags[d] |= pfstate.TCPFlagCloseInit
		}
	} else {
		changed = false
	}
	add := uint32(0)
	if reply {
		add |= pfstate.StatusSeenReply
	}
	if c.f.Proto == pfstate.ProtoTCP && e.f.ProtoState >= pfstate.TCPEstablished || c.f.Proto != pfstate.ProtoTCP && e.f.Status&pfstate.StatusSeenReply != 0 && now-c.born > 2*second {
		add |= pfstate.StatusAssured
	}
	changed = changed || add&^e.f.Status != 0
	e.f.Status |= add
	e.conn, e.passed = c, now
	e.ends = now + int64(simTimeouts.For(c.f.Proto, e.f.ProtoState, e.f.Status))*second
	e.f.Timeout = uint32((e.ends - now) / second)
	if changed {
		k.tell(pfstate.EventUpdate, e.f, pfstate.HasTimeout)
	}
	return true
}

// do carries out one operation, as conntrack.Injector does.
func (k *simKernel) do(w *world, n *node, now int64, op *pfstate.Op) (res pfstate.Result) {
	res = pfstate.Result{Kind: op.Kind, Ref: op.Ref}
	defer func() {
		if !w.tracing {
			return
		}
		w.logf("%s: op %d %s state %d left %d/%d: %s", n.name, op.Kind, flowName(&op.Flow), op.Flow.ProtoState, op.Flow.Timeout, op.MaxLeft, res.Code)
	}()
	e, reply := k.find(&op.Flow.Orig, op.Flow.AF, op.Flow.Proto)
	if e != nil && e.ends <= now {
		k.destroy(now, e, false)
		e = nil
	}
	if e == nil && op.Kind != pfstate.OpCreate {
		res.Code = pfstate.ResultMissing
		return res
	}
	if e != nil && reply && op.Kind != pfstate.OpCreate {
		res.Code, res.Flow = pfstate.ResultReversed, e.f
		return res
	}
	switch op.Kind {
	case pfstate.OpCreate:
		other, _ := k.find(&op.Flow.Reply, op.Flow.AF, op.Flow.Proto)
		switch {
		case e != nil || other != nil:
			res.Code = pfstate.ResultExists
			return res
		case k.max > 0 && len(k.entries) >= k.max:
			res.Code = pfstate.ResultFull
			return res
		}
		e = &simEntry{f: op.Flow, ends: now + int64(op.Flow.Timeout)*second}
		e.f.CtID = 0
		k.add(e)
	case pfstate.OpUpdate:
		// An update that crossed a packet on its way is the injector's to soften.
		if op.Flow.Proto == pfstate.ProtoTCP && op.Flow.ProtoState < e.f.ProtoState && now-e.passed > 10*milli {
			w.fault("%s: an update takes %s from state %d back to %d", n.name, flowName(&e.f), e.f.ProtoState, op.Flow.ProtoState)
		}
		e.f.ProtoState = max(e.f.ProtoState, op.Flow.ProtoState)
		e.f.Status |= op.Flow.Status
		e.f.TCPFlags = op.Flow.TCPFlags
		e.ends = now + int64(op.Flow.Timeout)*second
	case pfstate.OpDelete:
		left := uint32((e.ends - now) / second)
		if op.MaxLeft > 0 && left > op.MaxLeft {
			res.Code, res.Flow = pfstate.ResultLiving, e.f
			res.Flow.Timeout, res.Flow.Has = left, pfstate.HasTimeout|pfstate.HasProto
			return res
		}
		if c := e.conn; c != nil && !c.over && w.master == n && now-e.passed < 5*second && !w.flushed {
			w.fault("%s: a peer's delete kills %s, which lives", n.name, flowName(&e.f))
		}
		k.drop(e)
	case pfstate.OpGet:
		res.Flow = e.f
		res.Flow.Timeout = uint32((e.ends - now) / second)
		res.Flow.Has = pfstate.HasTimeout | pfstate.HasProto | pfstate.HasStatus
	}
	return res
}

func flowName(f *pfstate.Flow) string {
	return fmt.Sprintf("%d %v:%d>%v:%d", f.Proto, f.Orig.Src.IP(f.AF), f.Orig.SrcPort, f.Orig.Dst.IP(f.AF), f.Orig.DstPort)
}

// node is one firewall.
type node struct {
	name   string
	addr   netip.Addr
	hostID uint32
	e      *Engine
	k      *simKernel
	up     bool  // machine and daemon
	linked bool  // its cable
	wake   int64 // when its engine is next run
	starts uint32
	inBox  []wireFrame
	diedAt int64
	opsAt  int64 // when the last batch of operations is done
	doneAt int64 // when the daemon hears of it
}

type wireFrame struct {
	from netip.Addr
	b    []byte
}

// simStorm is more frames in a second than any honest reason needs.
const simStorm = 5000

// world is all of it.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	now    int64
	q      timeHeap
	nodes  []*node
	master *node
	conns  []*simConn
	loss   float64
	dup    float64
	jitter int64
	broken bool // the link is cut for all
	trace  []string
	// A failed seed is run again with the trace, which costs more than all else.
	tracing bool
	faults  []string
	names   map[pfstate.ID]string

	flushed  bool
	seed     uint64
	stormAt  int64
	storm    int // frames since
	frames   int
	ports    uint16
	quiet    bool // no new connections
	lostPkts int
	format   syncproto.Format
	pf       bool // one is in the group, and says nothing
}

type simEvent struct {
	at  int64
	seq int
	do  func()
}

type timeHeap struct {
	ev  []simEvent
	seq int
}

func (h *timeHeap) Len() int { return len(h.ev) }
func (h *timeHeap) Less(i, j int) bool {
	if h.ev[i].at != h.ev[j].at {
		return h.ev[i].at < h.ev[j].at
	}
	return h.ev[i].seq < h.ev[j].seq
}
func (h *timeHeap) Swap(i, j int) { h.ev[i], h.ev[j] = h.ev[j], h.ev[i] }
func (h *timeHeap) Push(x any)    { h.ev = append(h.ev, x.(simEvent)) }
func (h *timeHeap) Pop() any {
	x := h.ev[len(h.ev)-1]
	h.ev = h.ev[:len(h.ev)-1]
	return x
}

func (w *world) at(t int64, do func()) {
	w.q.seq++
	heap.Push(&w.q, simEvent{t, w.q.seq, do})
}

func (w *world) logf(format string, args ...any) {
	if !w.tracing {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%8.3f ", float64(w.now)/1e9)+fmt.Sprintf(format, args...))
}

func (w *world) fault(format string, args ...any) {
	w.logf("FAULT "+format, args...)
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// run lets time pass until t.
func (w *world) run(t int64) {
	for w.q.Len() > 0 && w.q.ev[0].at <= t {
		ev := heap.Pop(&w.q).(simEvent)
		w.now = ev.at
		ev.do()
	}
	w.now = t
}

func newWorld(t testing.TB, seed uint64, n int) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), ports: 1024, names: map[pfstate.ID]string{}}
	for i := range n {
		nd := &node{name: string(rune('A' + i)), addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
			hostID: uint32(0x1000 * (i + 1)), k: newSimKernel(), linked: true}
		w.nodes = append(w.nodes, nd)
	}
	w.master = w.nodes[0]
	return w
}

// start boots a node's daemon. kept says whether its kernel's table is the one
// of before.
func (w *world) start(n *node, kept bool) {
	n.starts++
	n.up = true
	n.k.events = nil // nobody listened
	if !kept {
		n.k.entries, n.k.replies = map[entryKey]*simEntry{}, map[entryKey]*simEntry{}
	}
	n.e = New(w.now, Config{
		HostID: n.hostID, Format: w.format, Sync: true, MaxUpd: 128, MaxDelay: 10e6, MTU: 1500, Demotion: 240,
		KnownPeers: int(min(n.starts-1, 1)) * (len(w.nodes) - 1), Timeouts: simTimeouts, Seed: 7,
		StartID: uint64(w.now/second+1)<<32 | uint64(n.starts)<<24, Epoch: uint32(w.rng.Uint32()) | 1, KernelKept: kept, DownFor: time.Duration(w.now - n.diedAt),
		Log: func(msg string, args ...any) { w.logf("%s: %s %v", n.name, msg, args) },
	})
	if w.pf {
		n.e.peers.pf = never
	}
	w.logf("%s: daemon starts, kernel kept %v with %d entries", n.name, kept, len(n.k.entries))
	n.e.Link(w.now, Link{Up: n.linked && !w.broken, Self: n.addr, MTU: 1500})
	w.dump(n, n.starts)
	w.step(n)
}

// crash ends a daemon without a word.
func (w *world) crash(n *node) {
	w.logf("%s: daemon dies", n.name)
	n.up = false
	n.e = nil
	n.diedAt = w.now
	n.inBox = nil
}

// dump is the daemon's dump of every ten seconds, in three parts.
func (w *world) dump(n *node, gen uint32) {
	if !n.up || n.starts != gen {
		return
	}
	n.k.reap(w.now, func() bool { return false })
	recs := sortedEntries(n.k, anyEntry)
	var flows []pfstate.Event
	for _, en := range recs {
		f := en.f
		f.Has = pfstate.HasTimeout | pfstate.HasProto | pfstate.HasStatus
		f.Timeout = uint32((en.ends - w.now) / second)
		flows = append(flows, pfstate.Event{Kind: pfstate.EventDump, Flow: f})
	}
	w.deliver(n)
	n.e.Local(w.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}})
	parts := 3
	for i := range parts {
		part := flows[i*len(flows)/parts : (i+1)*len(flows)/parts]
		last := i == parts-1
		w.at(w.now+int64(i)*2*milli, func() {
			if n.up && n.starts == gen {
				n.e.Local(w.now, part)
				if last {
					n.e.Local(w.now, []pfstate.Event{{Kind: pfstate.EventDumpEnd}})
				}
				w.step(n)
			}
		})
	}
	w.at(w.now+10*second, func() { w.dump(n, gen) })
}

// deliver hands the kernel's events to the engine.
func (w *world) deliver(n *node) {
	evs := n.k.events
	n.k.events = nil
	for i := range evs {
		if !w.tracing {
			break
		}
		w.logf("%s: event %d %s state %d", n.name, evs[i].Kind, flowName(&evs[i].Flow), evs[i].Flow.ProtoState)
	}
	if n.up {
		n.e.Local(w.now, evs)
	}
}

// step runs a node's engine: events, frames, operations.
func (w *world) step(n *node) {
	if !n.up {
		return
	}
	w.deliver(n)
	in := n.inBox
	n.inBox = nil
	for _, fr := range in {
		n.e.Remote(w.now, fr.from, fr.b)
	}
	n.e.Tick(w.now)
	var buf [2048]byte
	for i := 0; ; i++ {
		fr, ok := n.e.NextFrame(w.now, buf[:0])
		if !ok {
			break
		}
		if i > 5000 {
			w.fault("%s: frames without end", n.name)
			break
		}
		w.send(n, append([]byte(nil), fr.Data...))
	}
	w.ops(n)
	w.wakeAt(n)
}

func (w *world) ops(n *node) {
	var ops [64]pfstate.Op
	k := n.e.Ops(w.now, ops[:])
	if k == 0 {
		return
	}
	gen := n.starts
	batch := append([]pfstate.Op(nil), ops[:k]...)
	n.opsAt = max(n.opsAt, w.now+w.rng.Int64N(3*milli))
	w.at(n.opsAt, func() { // the kernel does it
		var res []pfstate.Result
		for i := range batch {
			res = append(res, n.k.do(w, n, w.now, &batch[i]))
		}
		n.doneAt = max(n.doneAt, w.now+w.rng.Int64N(2*milli))
		w.at(n.doneAt, func() { // the daemon learns
			if n.up && n.starts == gen {
				n.e.Done(w.now, res)
				w.step(n)
			}
		})
	})
}

func (w *world) wakeAt(n *node) {
	d := max(n.e.Deadline(), w.now+milli/2)
	if n.e.OpsLen() > 0 {
		d = w.now + milli
	}
	if d >= never || n.wake > w.now && n.wake <= d {
		return
	}
	n.wake = d
	w.at(d, func() {
		if n.wake == d {
			n.wake = 0
			w.step(n)
		}
	})
}

// note keeps what a frame says in the trace.
func (w *world) note(from *node, b []byte) {
	if !w.tracing {
		return
	}
	var rd syncproto.Reader
	if rd.Reset(b) != nil {
		w.fault("%s: sends a frame that cannot be read", from.name)
		return
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := range reg.Whole() {
			var id pfstate.ID
			var st syncproto.State
			var up syncproto.UpdC
			m, more := reg.Message(i), ""
			switch reg.Action {
			case syncproto.ActIns, syncproto.ActUpd:
				_ = syncproto.ParseState(m, reg.Format, &st)
				id, more = pfstate.ID{ID: st.ID, CreatorID: st.CreatorID}, fmt.Sprintf("%d:%d exp %d", st.Src.State, st.Dst.State, st.Expire)
			case syncproto.ActUpdC:
				_ = syncproto.ParseUpdC(m, &up)
				id, more = pfstate.ID{ID: up.ID, CreatorID: up.CreatorID}, fmt.Sprintf("%d:%d", up.Src.State, up.Dst.State)
			case syncproto.ActDelC, syncproto.ActInsAck, syncproto.ActUpdReq:
				_ = syncproto.ParseID(m, (*syncproto.ID)(&id))
			default:
				continue
			}
			name := id.String()
			for _, n := range w.nodes {
				if n.up {
					if r, _, ok := n.e.tab.ByName(id); ok {
						s := n.e.tab.At(r)
						w.names[id] = flowName(&pfstate.Flow{Orig: s.Orig, AF: s.AF, Proto: s.Proto})
					}
				}
			}
			w.logf("%s: > %s %s %s %s", from.name, reg.Action, name, more, w.names[id])
		}
	}
}

// send puts a frame on the link.
func (w *world) send(from *node, b []byte) {
	if w.now-w.stormAt > second {
		w.stormAt, w.storm = w.now, 0
	}
	if w.storm++; w.storm > simStorm {
		w.report(w.seed, []string{"frames answer frames for ever"})
	}
	w.frames++
	w.note(from, b)
	if w.broken || !from.linked {
		return
	}
	for _, to := range w.nodes {
		if to == from {
			continue
		}
		copies := 1
		if w.rng.Float64() < w.dup {
			copies = 2
		}
		for range copies {
			if w.rng.Float64() < w.loss {
				continue
			}
			delay := 100_000 + w.rng.Int64N(w.jitter+1)
			w.at(w.now+delay, func() {
				if to.up && to.linked && !w.broken {
					to.inBox = append(to.inBox, wireFrame{from.addr, b})
					w.step(to)
				}
			})
		}
	}
}

// open makes a connection.
func (w *world) open(proto uint8) {
	c := &simConn{born: w.now}
	f := &c.f
	f.AF, f.Proto = pfstate.AFInet, proto
	w.ports++
	f.Orig = pfstate.Tuple{Src: pfstate.Addr{192, 168, 0, byte(w.rng.IntN(8))}, Dst: pfstate.Addr{8, 8, 8, 8},
		SrcPort: 1024 + w.ports%300, DstPort: 443}
	for _, o := range w.conns {
		if !o.over && o.f.Proto == proto && o.f.Orig == f.Orig {
			return
		}
	}
	f.Reply = f.Orig.Inverse(proto)
	if w.rng.IntN(3) == 0 { // translated to the shared address
		f.Reply.Dst, f.Reply.DstPort = pfstate.Addr{203, 0, 113, 1}, 20000+uint16(f.Orig.Src[3])*300+f.Orig.SrcPort
	}
	state := uint8(0)
	if proto == pfstate.ProtoTCP {
		state = pfstate.TCPSynSent
	}
	if !w.master.k.packet(w.now, c, false, state, true) {
		return
	}
	w.conns = append(w.conns, c)
	w.step(w.master)
	w.at(w.now+w.rng.Int64N(20*milli)+milli, func() { w.live(c) })
}

// live lets a connection do its next thing.
func (w *world) live(c *simConn) {
	if c.over {
		return
	}
	c.phase++
	ok, m := true, w.master
	pass := func(reply bool, tcp uint8) { ok = ok && m.k.packet(w.now, c, reply, tcp, false) }
	gap := int64(1+w.rng.IntN(4000)) * milli
	switch {
	case c.f.Proto != pfstate.ProtoTCP:
		pass(c.phase%2 == 1, 0)
	case c.phase == 1:
		pass(true, pfstate.TCPSynRecv)
		gap = milli
	case c.phase == 2:
		pass(false, pfstate.TCPEstablished)
	case c.closing && c.phase > 1000:
		pass(true, pfstate.TCPLastAck)
		pass(false, pfstate.TCPTimeWait)
		c.over = true
	case c.closing:
		pass(w.rng.IntN(2) == 0, pfstate.TCPFinWait)
		c.phase, gap = 1000, 5*milli
	default:
		pass(w.rng.IntN(2) == 0, pfstate.TCPEstablished)
	}
	if !ok {
		w.lostPkts++
		c.over = true
		w.logf("connection %s lost at %s", flowName(&c.f), m.name)
		return
	}
	w.step(m)
	if c.phase > 2 && !c.closing && !w.quiet && w.rng.IntN(12) == 0 {
		c.closing = true
		if c.f.Proto != pfstate.ProtoTCP {
			c.over = true
		}
	}
	if !c.over {
		w.at(w.now+gap, func() { w.live(c) })
	}
}

// traffic opens connections until stopped.
func (w *world) traffic() {
	if !w.quiet {
		proto := pfstate.ProtoTCP
		if w.rng.IntN(3) == 0 {
			proto = pfstate.ProtoUDP
		}
		w.open(proto)
	}
	w.at(w.now+int64(1+w.rng.IntN(120))*milli, w.traffic)
}

// reaper is the lazy garbage collection of all kernels.
func (w *world) reaper() {
	for _, n := range w.nodes {
		n.k.reap(w.now, func() bool { return w.rng.IntN(3) > 0 })
		w.step(n)
	}
	w.at(w.now+second, w.reaper)
}

// differ lists how the kernels of all running nodes differ from the master's:
// entries that are near their end may be on one side only. leftovers says
// whether what the master does not have counts.
func (w *world) differ(leftovers bool) (out []string) {
	m := w.master
	for _, n := range w.nodes {
		if n == m || !n.up {
			continue
		}
		for _, e := range sortedEntries(m.k, anyEntry) {
			o := n.k.entries[keyOf(&e.f)]
			switch {
			case e.ends-w.now < 3*second || !leftovers && (e.conn == nil || e.conn.over):
			case o == nil:
				out = append(out, fmt.Sprintf("%s misses %s", n.name, flowName(&e.f)))
			case o.f.Reply != e.f.Reply || o.f.ProtoState != e.f.ProtoState || o.f.Status&^pfstate.StatusConfirmed != e.f.Status&^pfstate.StatusConfirmed:
				out = append(out, fmt.Sprintf("%s has %s as %d/%x, not %d/%x", n.name, flowName(&e.f), o.f.ProtoState, o.f.Status, e.f.ProtoState, e.f.Status))
			}
		}
		for _, e := range sortedEntries(n.k, anyEntry) {
			if !leftovers {
				break
			}
			if m.k.entries[keyOf(&e.f)] == nil && e.ends-w.now > 3*second {
				out = append(out, fmt.Sprintf("%s still has %s for %ds", n.name, flowName(&e.f), (e.ends-w.now)/second))
			}
		}
	}
	return out
}

// report fails the test with what the trace says of the connection that the
// first complaint is about, and of the machines.
func (w *world) report(seed uint64, what []string) {
	w.t.Helper()
	if !w.tracing {
		w.t.Logf("seed %d: %s", seed, strings.Join(what[:min(len(what), 10)], "; "))
		again := newWorld(w.t, seed, 2+int(seed%2))
		again.tracing = true
		again.simulate(seed)
		w.t.Fatal("the same seed did not fail again")
	}
	about := "?"
	for _, word := range strings.Fields(what[len(what)-1]) {
		if strings.Contains(word, ">") {
			about = strings.Trim(word, ",;")
		}
	}
	var lines []string
	for _, l := range w.trace {
		if !strings.Contains(l, ": > ") && !strings.Contains(l, ": op ") && !strings.Contains(l, ": event ") || strings.Contains(l, about) {
			lines = append(lines, l)
		}
	}
	if about == "?" {
		lines = w.trace
	}
	lines = lines[max(0, len(lines)-120):]
	w.t.Fatalf("seed %d: %s\ntrace:\n%s", seed, strings.Join(what[:min(len(what), 10)], "; "), strings.Join(lines, "\n"))
}

// simulate runs one seed.
func simulate(t testing.TB, seed uint64) {
	newWorld(t, seed, 2+int(seed%2)).simulate(seed)
}

func (w *world) simulate(seed uint64) {
	for _, n := range w.nodes {
		w.start(n, true)
	}
	w.at(w.now, w.traffic)
	w.at(w.now, w.reaper)
	w.run(8 * second)
	if len(w.faults) > 0 {
		w.report(seed, w.faults)
	}
	w.trouble(seed)
}

// trouble is a while of faults, and the calm after.
func (w *world) trouble(seed uint64) {
	end := w.now + 25*second
	w.loss = []float64{0, 0.01, 0.05, 0.2}[w.rng.IntN(4)]
	w.dup = []float64{0, 0.05}[w.rng.IntN(2)]
	w.jitter = []int64{0, 5 * milli, 50 * milli}[w.rng.IntN(3)]
	for w.now < end {
		w.run(w.now + int64(1+w.rng.IntN(6000))*milli)
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		switch k := w.rng.IntN(6); {
		case k == 0:
			w.cut(int64(1+w.rng.IntN(5000)) * milli)
		case k == 1 && n.up:
			w.crash(n)
			w.at(w.now+int64(1+w.rng.IntN(3000))*milli, func() {
				if !n.up {
					w.start(n, true)
				}
			})
		case k == 2 && n.up && n != w.master: // the machine of a standby
			w.crash(n)
			w.at(w.now+int64(1+w.rng.IntN(3000))*milli, func() {
				if !n.up {
					w.start(n, false)
				}
			})
		case k == 3 && n != w.master && n.up && n.e.Status(w.now).Sync == SyncOK && len(w.differ(true)) == 0:
			w.logf("%s takes over from %s", n.name, w.master.name)
			w.master = n
		}
	}
	w.calm(seed)
}

// calm: no faults any more. Every living connection has to be everywhere, as
// it is; what is left over may stay until its timeout, at most.
func (w *world) calm(seed uint64) {
	w.loss, w.dup, w.jitter = 0, 0, 0
	w.logf("calm")
	w.run(w.now + 6*second)
	w.settle(seed, 30, false)
	w.quiet = true
	w.settle(seed, 150, true)
}

// settle waits, so many seconds at most, until the tables are equal.
func (w *world) settle(seed uint64, most int, leftovers bool) {
	var diff []string
	for range most {
		w.run(w.now + second)
		if diff = w.differ(leftovers); len(diff) == 0 {
			break
		}
	}
	if len(w.faults) > 0 {
		w.report(seed, w.faults)
	}
	if len(diff) > 0 {
		w.report(seed, diff)
	}
}

// cut breaks the link for all for a while.
func (w *world) cut(d int64) {
	w.logf("link cut for %d ms", d/milli)
	w.setLink(true)
	w.at(w.now+d, func() { w.setLink(false) })
}

func (w *world) setLink(broken bool) {
	w.broken = broken
	seen := w.rng.IntN(2) == 0 // a switch between: the carrier stays
	for _, n := range w.nodes {
		if n.up && (seen || !broken) {
			n.e.Link(w.now, Link{Up: !broken && n.linked, Self: n.addr, MTU: 1500})
			w.step(n)
		}
	}
}

func TestSimulation(t *testing.T) {
	first, n := simSeeds()
	for seed := first; seed < first+n; seed++ {
		simulate(t, seed)
	}
	t.Logf("%d seeds", n)
}
