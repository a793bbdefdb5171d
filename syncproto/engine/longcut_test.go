package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// manyNames is more than a ring of names holds. The race detector needs no such
// number.
func manyNames() int {
	if testing.Short() {
		return 2000
	}
	return ringSize + 5000
}

// crowd makes n connections at a ship, and waits until all have them.
func (f *fleet) crowd(at *ship, n int) {
	f.t.Helper()
	for i := range n {
		f.made(at, flowN(i))
		if i%500 == 499 {
			f.pass(milli)
		}
	}
	f.until(30*second, "all have all", func() bool { return f.equal() == "" })
	f.pass(20 * second)
}

func (f *fleet) cut(down bool) {
	for _, s := range f.ships {
		s.mute, s.deaf = down, down
		s.e.Link(f.now, Link{Up: !down, Self: s.addr, MTU: 1500})
	}
}

// TestLongCut: whatever ends while the link is down, it does not come back with
// the peer's table, and if frames get lost when the link is there again.
func TestLongCut(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.ships[0], f.ships[1]
	n := manyNames()
	f.crowd(a, n)
	f.cut(true)
	for i := range n {
		flow := flowN(i)
		delete(a.kernel, keyOf(&flow))
		flow.Has &^= pfstate.HasTimeout
		a.e.Local(f.now, []pfstate.Event{event(pfstate.EventDestroy, flow)})
	}
	f.pass(10 * second)
	creates := a.e.Stats.OpsCreate
	f.loss = 0.05
	f.cut(false)
	f.pass(10 * second)
	if len(a.kernel)+a.e.tab.Len()+len(b.kernel)+b.e.tab.Len() != 0 {
		t.Errorf("of %d A has %d entries, %d states, B has %d and %d", n, len(a.kernel), a.e.tab.Len(), len(b.kernel), b.e.tab.Len())
	}
	if a.e.Stats.OpsCreate != creates {
		t.Errorf("%d came back", a.e.Stats.OpsCreate-creates)
	}
}

// TestRoomAfterCut: what only waits to be told takes no room from what peers
// tell.
func TestRoomAfterCut(t *testing.T) {
	const n = 100
	r := ready(t, func(c *Config) { c.KernelMax, c.MaxStates = n, n })
	for i := range byte(n) {
		r.made(udp(i, fresh))
	}
	r.until(r.now + second)
	if r.e.roomFor() {
		t.Fatal("a full kernel has room")
	}
	r.linkDown()
	for i := range byte(n) {
		r.expired(udp(i, fresh))
	}
	if !r.e.roomFor() {
		t.Errorf("no room: %d states, %d of them only to be told", r.e.tab.Len(), r.e.held)
	}
}

// TestFlushMany: all that passes here ends everywhere, however many have names
// of others.
func TestFlushMany(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.ships[0], f.ships[1]
	n := manyNames()
	f.crowd(b, n)
	for r := pfstate.Ref(1); r < a.e.tab.End(); r++ { // after a failover
		b.e.setCarried(b.e.tab.At(b.ref(a.e.tab.FlowOf(a.e.tab.At(r), 0))), false)
		a.e.setCarried(a.e.tab.At(r), true)
	}
	a.e.Flush(f.now)
	f.pass(10 * second)
	if len(a.kernel)+a.e.tab.Len()+len(b.kernel)+b.e.tab.Len() != 0 {
		t.Errorf("of %d A has %d entries, %d states, B has %d and %d", n, len(a.kernel), a.e.tab.Len(), len(b.kernel), b.e.tab.Len())
	}
}

// restart starts a ship's engine anew, so long after the last, with its kernel's
// table as it is.
func (f *fleet) restart(s *ship, down int64) {
	last, _ := s.e.Settled(f.now, nil)
	cfg := s.e.cfg
	cfg.StartID, cfg.Epoch = cfg.StartID+1<<32, NextEpoch(cfg.Epoch)
	cfg.KernelKept, cfg.KnownPeers, cfg.DownFor, cfg.LastRun = true, len(f.ships)-1, timeDuration(down), last
	s.e = New(f.now, cfg)
	s.e.Link(f.now, Link{Up: true, Self: s.addr, MTU: 1500})
	f.dump(s)
}

// TestBulkOfEnded: a transfer of what has ended, which nobody acknowledges, is as
// fast as another.
func TestBulkOfEnded(t *testing.T) {
	const n = 10_000
	f := newFleet(t, 2)
	a := f.ships[0]
	f.crowd(a, n)
	for i := range n / 2 {
		flow := flowN(i)
		delete(a.kernel, keyOf(&flow))
	}
	f.restart(a, 10*second)
	f.until(second, "in sync", func() bool { return a.e.bulk.state == SyncOK })
	f.until(5*second, "equal tables", func() bool { return f.equal() == "" })
}

// TestBulkRefused: nor does a transfer take long of which nothing is taken.
func TestBulkRefused(t *testing.T) {
	const n = 10_000
	f := newFleet(t, 2)
	f.crowd(f.ships[0], n)
	b := f.ships[1]
	cfg := b.e.cfg
	cfg.StartID, cfg.Epoch, cfg.Filter.Ports = cfg.StartID+1<<32, cfg.Epoch+1<<20, []uint16{443}
	b.kernel = map[entryKey]pfstate.Flow{}
	b.e = New(f.now, cfg)
	b.e.Link(f.now, Link{Up: true, Self: b.addr, MTU: 1500})
	f.dump(b)
	f.until(2*second, "in sync", func() bool { return b.e.bulk.state == SyncOK })
	if b.e.tab.Len() != 0 {
		t.Errorf("%d states of none", b.e.tab.Len())
	}
}

// TestSweepMany: of what a transfer has not named all is asked for, though no
// more than half of what requests have room for at a time, and so much leaves at
// once.
func TestSweepMany(t *testing.T) {
	n := min(manyNames(), ringSize/2+5000)
	f := newFleet(t, 2)
	f.crowd(f.ships[0], n)
	e := f.ships[1].e
	e.repair.sweepUnnamed(f.now + 1)
	buf := make([]byte, 0, 1500)
	for range 1000 {
		e.Tick(f.now)
		for range 2 { // frames
			e.NextFrame(f.now, buf)
		}
	}
	if got := e.Stats.Reason[ReasonLost]; got != uint64(n) || e.repair.sweep != 0 {
		t.Errorf("%d asked for of %d", got, n)
	}
	e.repair.sweepUnnamed(f.now + 2)
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		e.tab.At(r).Tries = 0
	}
	e.Tick(f.now)
	e.Link(f.now, Link{Self: f.ships[1].addr, MTU: 1500})
	for range 10 {
		e.Tick(f.now)
	}
	if e.repair.sweep != 0 {
		t.Error("it asks for ever what cannot leave")
	}
}
