package daemon

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// kernelFlows makes or deletes n entries in the kernel of a namespace, as
// another program would.
func kernelFlows(t *testing.T, ns *nstest.NS, kind pfstate.OpKind, n int) {
	t.Helper()
	kernelFlowsFrom(t, ns, kind, 0, n)
}

// kernelFlowsFrom is the same with other entries, from the first on.
func kernelFlowsFrom(t *testing.T, ns *nstest.NS, kind pfstate.OpKind, first, n int) {
	t.Helper()
	inj := opened(t, ns, conntrack.NewInjector)
	defer inj.Close()
	ops, res := make([]pfstate.Op, n), make([]pfstate.Result, n)
	for i := range ops {
		ops[i] = pfstate.Op{Kind: kind, Flow: newUDP(first + i).Flow}
		ops[i].Flow.Timeout = 600
	}
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for i := range res {
		if res[i].Code != pfstate.ResultOK {
			t.Fatalf("entry %d: %v", i, res[i].Code)
		}
	}
}

// kernelCount is the number of entries of a protocol in a kernel, but for what a
// host says to itself.
func kernelCount(t *testing.T, ns *nstest.NS, proto uint8) int {
	t.Helper()
	d := opened(t, ns, conntrack.NewDumper)
	defer d.Close()
	if err := d.Begin(conntrack.Filter{Proto: proto}); err != nil {
		t.Fatal(err)
	}
	count := 0
	for evs := make([]pfstate.Event, 512); ; {
		n, err := d.Read(evs)
		if err != nil {
			return count
		}
		for i := range evs[:n] {
			if evs[i].Kind == pfstate.EventDump && evs[i].Flow.Orig.Src[0] != 127 {
				count++
			}
		}
	}
}

// TestManyFlows: twenty thousand connections arrive, live through a restart of
// the other side by its bulk transfer, and go.
func TestManyFlows(t *testing.T) {
	const many = 20_000
	p := newPair(t, nstest.Options{})
	start := time.Now()
	kernelFlows(t, p.FW[0], pfstate.OpCreate, many)
	made := time.Since(start)
	waitCount := func(want int) {
		t.Helper()
		nstest.EventuallyNil(t, patience, func() error {
			if got := kernelCount(t, p.FW[1], pfstate.ProtoUDP); got != want {
				return errorText("entries: " + strconv.Itoa(got))
			}
			return nil
		}, strconv.Itoa(want)+" entries at the peer")
	}
	waitCount(many)
	t.Logf("%d entries made in %v, in the peer's kernel after %v", many, made, time.Since(start))

	if err := p.n[1].stop(); err != nil {
		t.Fatal(err)
	}
	p.FW[1].Run(t, "conntrack", "-F")
	p.n[1] = newNode(t, p.FW[1], p.n[1].dirs.Run)
	start = time.Now()
	p.n[1].set("syncdev", nstest.SyncDev)
	p.n[1].waitSync(control.SyncOK)
	t.Logf("in sync after %v", time.Since(start))
	waitCount(many)
	if got := p.n[1].status().States; got.Total < many || got.Peer < many {
		t.Errorf("states %+v", got)
	}

	start = time.Now()
	kernelFlows(t, p.FW[0], pfstate.OpDelete, many)
	waitCount(0)
	t.Logf("all gone after %v", time.Since(start))
}

// TestNoAllocation: a change on its way through the loop allocates nothing.
func TestNoAllocation(t *testing.T) {
	_, h := newFakeHost(tuntest.NewLink(1500), "10.0.3.2")
	dir := t.TempDir()
	d, err := New(Config{Name: "pfsync0", Dirs: control.Dirs{Run: dir, State: dir, Etc: dir}, Log: testLog(t, "fw"), Host: h})
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	l := d.loop
	l.timer = time.NewTimer(time.Hour)
	now := int64(time.Second)
	l.clock = func() int64 { now += int64(20 * time.Millisecond); return now }
	l.dump.outer.running, l.tidyAt = true, 1<<62
	turn := func(kind pfstate.EventKind, i int) {
		b := <-l.events.free
		b.evs[0], b.n = newUDP(i), 1
		b.evs[0].Kind = kind
		l.events.full <- b
		l.step(context.Background())
		l.now = l.clock()
		l.drain()
		select {
		case f := <-l.frames.full:
			f.errs, f.tooBig = 0, 0
			l.sent(f)
		default:
		}
	}
	i := 0
	both := func() {
		turn(pfstate.EventNew, i%1000)
		turn(pfstate.EventDestroy, i%1000)
		i++
	}
	for range 3000 {
		both()
	}
	if n := testing.AllocsPerRun(1000, both); n != 0 {
		t.Errorf("%v allocations for a state made and gone", n)
	}
	if l.eng.Stats.FramesOut < 3000 {
		t.Errorf("only %d frames", l.eng.Stats.FramesOut)
	}
}
