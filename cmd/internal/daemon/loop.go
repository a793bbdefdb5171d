package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// The way through the loop:
//
//  1. step waits for one input: a batch, a request, or the time.
//  2. The input goes to the engine, its batch back to who fills it.
//  3. drain hands out what the engine has to say: frames to the sender as far
//     as that has room, operations to the injector, the demotion to the keeper.
//  4. Once the context is done, finish sends what is queued and closes the
//     outputs.

// loop owns engine and table. Its methods run in its goroutine, apart from do.
type loop struct {
	log   *slog.Logger
	clock func() int64     // monotonic nanoseconds, never 0
	wall  func() time.Time // for what people read
	clean func() bool      // no task has failed

	eng *engine.Engine
	now int64

	ignored func(*pfstate.Filter) error // what the kernel need not tell; nil takes it back

	events exchange[events]
	dumps  exchange[events]
	input  exchange[packets]
	ops    exchange[ops]
	frames exchange[frames]

	expecting expecting

	verdicts []uint32 // of packets, memory used again

	spareOps    []*ops    // not with the injector
	spareFrames []*frames // not with the sender

	asks  chan func() // requests of other goroutines
	ended chan struct{}
	timer *time.Timer

	set      setup
	link     syncdev.Link
	local    []netip.Addr // addresses of this host
	mtuCap   int          // what the syncdev turned out to carry; 0: as it says
	timeouts pfstate.Timeouts
	kernMax  int

	dump     dumping
	keep     *keeper
	demotion int // in the file, and told there since the start
	demoted  bool
	begun    int64
	tidyAt   int64 // next look at what changes slowly
	peers    []netip.Addr
	known    []netip.Addr     // peers known from before this start
	settled  engine.Settled   // as last kept
	settleAt int64            // next look at that
	runs     []engine.PeerRun // memory for it

	monitors monitors
	peerBuf  []engine.Peer
	sync     control.Sync // as last seen, for since
	idle     int          // turns without input or output
	handed   int          // operations in the largest batch of this turn
	pressed  bool         // this turn did not wait for input
	procs    processors
	shrunk   uint64 // times mtuCap went down

	// Of the packets that the engine counts, those over IPv6, which it does not
	// tell apart.
	in6, out6 uint64
}

// do runs f in the loop and waits for it. The error is that of ctx, or
// control.ErrStopping.
func (l *loop) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case l.asks <- func() { defer close(done); f() }:
	case <-l.ended:
		return control.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-l.ended:
		return control.ErrStopping
	}
}

// run is the task.
func (l *loop) run(ctx context.Context) error {
	defer close(l.ended)
	defer l.closeOutputs()
	l.timer = time.NewTimer(0)
	defer l.timer.Stop()
	l.now = l.clock()
	l.startDump(true)
	for ctx.Err() == nil {
		l.step(ctx)
		l.drain()
	}
	l.finish()
	return nil
}

func (l *loop) closeOutputs() {
	close(l.frames.full)
	close(l.ops.full)
	close(l.expecting.ops)
	close(l.keep.demotion)
	close(l.keep.peers)
	close(l.keep.settled)
}

var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// step waits for one input and takes it in.
func (l *loop) step(ctx context.Context) {
	var at <-chan time.Time
	var due <-chan struct{}
	if wait := l.wait(); wait <= 0 {
		due = always
		l.pressed = true
	} else {
		l.timer.Reset(wait)
		at = l.timer.C
	}
	l.idle++
	select {
	case b := <-l.events.full:
		l.tick()
		l.eng.Local(l.now, b.evs[:b.n])
		l.events.free <- b
		l.idle = 0
	case b := <-l.dumps.full:
		l.tick()
		l.dumped(b)
		l.idle = 0
	case b := <-l.ops.free:
		l.tick()
		l.answered(b)
		l.idle = 0
	case b := <-l.frames.free:
		l.tick()
		l.sent(b)
		l.idle = 0
	case b := <-l.input.full:
		l.tick()
		l.received(b)
		l.input.free <- b
		l.idle = 0
		if l.eng.PeerCount() != len(l.peers) {
			l.tidyAt = l.now // a machine that dies now is to know them when it boots
		}
	case b := <-l.heldFull():
		l.tick()
		l.tellHeld(b)
		l.idle = 0
	case evs := <-l.expecting.news:
		l.tick()
		l.eng.Expect(l.now, evs)
		l.idle = 0
	case f := <-l.asks:
		l.tick()
		f()
		l.idle = 0
	case <-at:
	case <-due:
	case <-ctx.Done():
		return
	}
	l.tick()
	if l.now >= l.eng.Deadline() {
		l.eng.Tick(l.now)
	}
	if l.now >= l.tidyAt-tidySlack {
		l.tidy()
	}
}

func (l *loop) tick() { l.now = l.clock() }

// An engine that says it is due and then has nothing to give must not cost a
// core; nor one whose frames nobody takes.
const (
	maxIdle  = 256
	idleWait = time.Millisecond
)

// wait says how long there is nothing to do but wait for input.
func (l *loop) wait() time.Duration {
	next := min(l.eng.Deadline(), l.tidyAt, l.dumpAt())
	wait := time.Duration(next - l.clock())
	if wait <= 0 && (len(l.spareFrames) == 0 || l.idle > maxIdle) {
		return idleWait
	}
	return min(wait, time.Second)
}

// drain hands out what the engine has for others.
func (l *loop) drain() {
	l.drainFrames(l.now)
	l.giveVerdicts()
	l.drainOps()
	l.procs.need(l.now, l.busy())
	l.handed, l.pressed = 0, false
	l.drainExpects()
	l.hurryDump()
	if l.now >= l.dumpAt() {
		l.startDump(l.eng.NeedDump())
	}
	st := l.eng.Status(l.now)
	l.demote(&st)
	l.noteSync(&st)
	if l.now >= l.settleAt {
		l.settle()
	}
}

// settleEvery is how often what the next run has to know is looked at.
const settleEvery = int64(20 * time.Millisecond)

// settle keeps what the next run has to know.
func (l *loop) settle() {
	l.settleAt = l.now + settleEvery
	s, ok := l.eng.Settled(l.now, l.runs[:0])
	if !ok || s.Equal(&l.settled) {
		l.runs = s.Peers
		return
	}
	l.settled, l.runs = s, nil
	put(l.keep.settled, s)
}

// drainOps gives the injector what it has room for.
func (l *loop) drainOps() {
	for l.eng.OpsLen() > 0 && len(l.spareOps) > 0 {
		b := pop(&l.spareOps)
		b.n = l.eng.Ops(l.now, b.ops)
		l.handed = max(l.handed, b.n)
		l.idle = 0
		l.ops.full <- b
	}
}

// answered takes a batch that came back from the injector.
func (l *loop) answered(b *ops) {
	l.eng.Done(l.now, b.res[:b.n])
	l.spareOps = append(l.spareOps, b)
}

func pop[T any](s *[]*T) *T {
	last := len(*s) - 1
	v := (*s)[last]
	*s = (*s)[:last]
	return v
}

// tidyEvery is how often slow things are looked at; sooner by tidySlack if the
// loop is awake for something else, such as its heartbeat.
const (
	tidyEvery = int64(time.Second)
	tidySlack = tidyEvery / 2
)

// tidy looks whether peers have come or gone.
func (l *loop) tidy() {
	l.tidyAt = l.now + tidyEvery
	var addrs []netip.Addr
	for _, p := range l.eng.Peers(nil) {
		addrs = append(addrs, p.Addr)
	}
	if len(addrs) == 0 { // none heard yet: who was known stays known
		return
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if !slices.Equal(addrs, l.peers) {
		l.peers = addrs
		put(l.keep.peers, addrs)
	}
}
