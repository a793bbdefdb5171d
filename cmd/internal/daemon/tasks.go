package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// listen hands the kernel's events to the loop.
func listen(ctx context.Context, lis Listener, x exchange[events]) error {
	defer context.AfterFunc(ctx, func() { lis.Close() })()
	for {
		var b *events
		select {
		case b = <-x.free:
		case <-ctx.Done():
			return nil
		}
		n, err := lis.Read(b.evs)
		if err != nil {
			x.free <- b
			return ended(ctx, err)
		}
		b.n = n
		x.full <- b
	}
}

// ended turns the error of a reader that was closed on purpose into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// dumpShare is the part of a core that a dump for mere liveness may take while
// it runs: after a read it rests so many times as long as the read took.
const dumpShare = 5

// minRest is the shortest pause worth taking.
const minRest = 2 * time.Millisecond

// dumps reads the kernel's table, or a part of it, whenever the loop asks. It
// keeps its thread, whose processor time is what a dump costs.
func dumps(ctx context.Context, d Dumper, asked <-chan order, x exchange[events], log *slog.Logger) error {
	defer d.Close()
	runtime.LockOSThread()
	for {
		select {
		case o := <-asked:
			dump(ctx, d, o, x, log)
		case <-ctx.Done():
			return nil
		}
	}
}

func dump(ctx context.Context, d Dumper, o order, x exchange[events], log *slog.Logger) {
	var owed time.Duration
	began := threadTime()
	err := d.Begin(o.filter)
	for done := false; !done; {
		var b *events
		select {
		case b = <-x.free:
		case <-ctx.Done():
			return
		}
		start := threadTime()
		if err == nil {
			b.n, err = d.Read(b.evs)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				log.Warn("cannot read the kernel's table", "err", err)
			}
			b.evs[0], b.n = pfstate.Event{Kind: pfstate.EventDumpFail}, 1
		}
		now := threadTime()
		last := b.evs[b.n-1].Kind
		done = last == pfstate.EventDumpEnd || last == pfstate.EventDumpFail
		b.cost = int64(now - began)
		x.full <- b
		if owed += (now - start) * (dumpShare - 1); !o.urgent && owed >= minRest && !done {
			rest(ctx, owed)
			owed = 0
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

// rest sleeps unless ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// inject does what the loop asks of the kernel, in order, until the loop closes
// the channel. It outlives the context: what is under way when the daemon stops
// is finished.
func inject(inj Injector, x exchange[ops]) error {
	defer inj.Close()
	for b := range x.full {
		n, err := inj.Do(b.ops[:b.n], b.res[:b.n])
		if err != nil {
			return err
		}
		b.n = n
		x.free <- b
	}
	return nil
}

// Errors of a syncdev's socket that keep coming end the daemon; a few are
// weather.
const (
	readPause  = 10 * time.Millisecond
	readErrors = 500
)

// receive hands the frames of a syncdev to the loop, until its sockets are
// closed.
func receive(ctx context.Context, p *port, x exchange[packets], log *slog.Logger) error {
	for bad := 0; ; {
		var b *packets
		select {
		case b = <-x.free:
		case <-ctx.Done():
			return nil
		}
		n, err := p.wire.ReadBatch(b.pkts)
		if err == nil {
			b.n, b.port, bad = n, p, 0
			x.full <- b
			continue
		}
		x.free <- b
		if errors.Is(err, os.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if bad++; bad == 1 {
			log.Warn("cannot receive", "err", err)
		}
		if bad >= readErrors {
			return err
		}
		rest(ctx, readPause)
	}
}
