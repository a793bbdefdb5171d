package daemon

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// busyDumper tells an entry per read, each of which costs processor time.
type busyDumper struct {
	reads, left int
	cost        time.Duration // of a read
}

func (d *busyDumper) Begin(conntrack.Filter) error { d.left = d.reads; return nil }

func (d *busyDumper) Read(evs []pfstate.Event) (int, error) {
	for start := threadTime(); threadTime()-start < d.cost; {
		continue
	}
	switch d.left--; {
	case d.left > 0:
		evs[0] = pfstate.Event{Kind: pfstate.EventDump}
	case d.left == 0:
		evs[0] = pfstate.Event{Kind: pfstate.EventDumpEnd}
	default:
		return 0, io.EOF
	}
	return 1, nil
}

func (d *busyDumper) Stats() conntrack.DumpStats { return conntrack.DumpStats{} }
func (d *busyDumper) Close() error               { return nil }

// TestDumpWithin: while a dump of the whole table rests, for years if it is let,
// one of a part is made; and the rest is over when it is hurried.
func TestDumpWithin(t *testing.T) {
	d := newDumping()
	x := newExchange(dumpBatches, func() *events { return newEvents(dumpPerBatch) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	whole, part := &busyDumper{reads: 5, cost: time.Millisecond / 10}, &busyDumper{reads: 3, cost: 20 * time.Millisecond}
	go func() { done <- d.dumper([2]Dumper{whole, part}, x, testLog(t, "fw")).run(ctx) }()
	hear := func(inner bool, kind pfstate.EventKind) (cost time.Duration) {
		t.Helper()
		select {
		case b := <-x.full:
			if b.inner != inner || b.n != 1 || b.evs[0].Kind != kind {
				t.Fatalf("inner %v, %d events, the first %+v", b.inner, b.n, b.evs[0])
			}
			cost = time.Duration(b.cost)
			x.free <- b
		case <-time.After(patience):
			t.Fatal("nothing comes")
		}
		return cost
	}
	const never = pace(1 << 40)
	d.pace.Store(int64(never))
	d.asked <- order{pace: never}
	first := hear(false, pfstate.EventDump)
	for range 2 {
		d.asked <- order{pace: paceNone, inner: true}
		hear(true, pfstate.EventDump)
		hear(true, pfstate.EventDump)
		hear(true, pfstate.EventDumpEnd)
	}
	d.pace.Store(int64(paceNone))
	d.hurry <- struct{}{}
	second := hear(false, pfstate.EventDump)
	if within := 100 * time.Millisecond; second-first > within {
		t.Errorf("the second read costs %v: what was done within is counted", second-first)
	}
	for range 2 {
		hear(false, pfstate.EventDump)
	}
	hear(false, pfstate.EventDumpEnd)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
