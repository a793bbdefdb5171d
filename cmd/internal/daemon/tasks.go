package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"time"
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
		runtime.Gosched() // to the loop, before the next read finds nothing
	}
}

// ended turns the error of a reader that was closed on purpose into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
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
			runtime.Gosched() // to the loop
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
