package control

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// waits is how long a client waits for a daemon that may be busy, stopped or
// lost.
type waits struct {
	look   time.Duration // for an answer that only has to be written down
	change time.Duration // for the head of any other: it waits for the kernel
	quiet  time.Duration // how long a stream may say nothing before the daemon is asked whether it is there
}

var defaultWaits = waits{look: 10 * time.Second, change: 30 * time.Second, quiet: 5 * time.Second}

// silence ends a stream whose daemon has stopped answering. A monitor of a quiet
// link and a daemon that hangs look the same, so it is asked something else.
type silence struct {
	last atomic.Int64 // when something was heard, in nanoseconds since start
	from time.Time
}

func newSilence() *silence { return &silence{from: time.Now()} }

// heard notes that the stream said something.
func (s *silence) heard() { s.last.Store(int64(time.Since(s.from))) }

// watch calls cancel with ErrTimeout when nothing was heard and the daemon does
// not tell its status either. It returns when ctx ends.
func (s *silence) watch(ctx context.Context, c *Client, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(c.waits.quiet)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(s.from)-time.Duration(s.last.Load()) < c.waits.quiet {
			continue
		}
		if _, err := c.Status(ctx); errors.Is(err, ErrTimeout) && ctx.Err() == nil {
			cancel(ErrTimeout)
			return
		}
	}
}
