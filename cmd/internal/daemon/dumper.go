package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"golang.org/x/sys/unix"
)

// pace says how long a dump rests after each read: so many times as long as the
// read took.
type pace int64

const (
	paceNone  pace = 0 // as fast as it goes
	paceBrisk pace = 4 // a fifth of a core, for a moment
)

// minRest is the shortest pause worth taking.
const minRest = 2 * time.Millisecond

// order is what the dumper is to do.
type order struct {
	filter conntrack.Filter
	pace   pace
	inner  bool // within another
}

// dumper reads the kernel's table, or a part of it, whenever the loop asks. A
// large table takes a while at a calm pace; what ends soon is to be looked at
// meanwhile: so there are two sockets, and a dump of a part may come while that
// of the whole rests.
type dumper struct {
	whole, part Dumper
	asked       <-chan order
	pace        *atomic.Int64   // of the dump of the whole under way; the loop may lower it
	hurry       <-chan struct{} // it has
	x           exchange[events]
	log         *slog.Logger

	within time.Duration // processor time that dumps within another have had
}

// run is the task. It keeps its thread, whose processor time is what a dump
// costs.
func (r *dumper) run(ctx context.Context) error {
	defer r.whole.Close()
	defer r.part.Close()
	runtime.LockOSThread()
	for {
		select {
		case o := <-r.asked:
			r.dump(ctx, o)
		case <-r.hurry: // the dump that it was for has ended
		case <-ctx.Done():
			return nil
		}
	}
}

// dump does one.
func (r *dumper) dump(ctx context.Context, o order) {
	d := r.whole
	if o.inner {
		d = r.part
	}
	var owed time.Duration
	began, before := threadTime(), r.within
	at := time.Now() // when the kernel began to write what is read next
	err := d.Begin(o.filter)
	for done := false; !done; {
		var b *events
		select {
		case b = <-r.x.free:
		case <-ctx.Done():
			return
		}
		start := threadTime()
		b.at, at = at, time.Now() // with each read the kernel writes what the next one is to have
		if err == nil {
			b.n, err = d.Read(b.evs)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.log.Warn("cannot read the kernel's table", "err", err)
			}
			b.evs[0], b.n = pfstate.Event{Kind: pfstate.EventDumpFail, Partial: o.filter != conntrack.Filter{}}, 1
		}
		now := threadTime()
		last := b.evs[b.n-1].Kind
		done = last == pfstate.EventDumpEnd || last == pfstate.EventDumpFail
		b.inner, b.cost = o.inner, int64(now-began-(r.within-before))
		r.x.full <- b
		if owed += (now - start) * time.Duration(min(int64(o.pace), r.pace.Load())); owed >= minRest && !done {
			r.rest(ctx, owed, o.inner)
			owed = 0
		}
	}
	if o.inner {
		r.within += threadTime() - began
	}
}

// rest waits, unless there is something else to do.
func (r *dumper) rest(ctx context.Context, d time.Duration, inner bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	asked := r.asked
	if inner {
		asked = nil
	}
	for {
		select {
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-r.hurry:
			return
		case o := <-asked:
			r.dump(ctx, o)
		}
	}
}

// threadTime is the processor time that the calling thread has had.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
