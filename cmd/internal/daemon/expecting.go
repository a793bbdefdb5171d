package daemon

import (
	"context"

	"github.com/pfsync/pfsync/pfstate"
)

// expecting is the loop's way to the kernel's expectations. They are few and go
// beside the batches of events and operations.
type expecting struct {
	news chan []pfstate.ExpectEvent
	ops  chan []pfstate.ExpectOp
}

func newExpecting() expecting {
	const batches = 16
	return expecting{make(chan []pfstate.ExpectEvent, batches), make(chan []pfstate.ExpectOp, batches)}
}

// hearExpects hands news of expectations to the loop.
func hearExpects(ctx context.Context, x Expecter, news chan<- []pfstate.ExpectEvent) error {
	defer context.AfterFunc(ctx, x.Interrupt)()
	for {
		evs, err := x.Read(nil)
		if err != nil {
			return ended(ctx, err)
		}
		select {
		case news <- evs:
		case <-ctx.Done():
			return nil
		}
	}
}

// makeExpects does what the loop asks, until the loop closes the channel.
func makeExpects(x Expecter, ops <-chan []pfstate.ExpectOp) error {
	defer x.Interrupt()
	for b := range ops {
		if err := x.Do(b); err != nil {
			return err
		}
	}
	return nil
}

// drainExpects gives the kernel what it is asked about expectations, as far as
// there is room; the engine keeps the rest.
func (l *loop) drainExpects() {
	if len(l.expecting.ops) == cap(l.expecting.ops) {
		return
	}
	if ops := l.eng.ExpectOps(); len(ops) > 0 {
		l.expecting.ops <- ops
	}
}
