package cli

import (
	"context"
	"errors"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// A daemon that is stopping still answers: it may be sending what is queued.
const (
	stoppingWait = 20 * time.Second
	stoppingPoll = 20 * time.Millisecond
)

// configure has a change made. A daemon that is not there, or just ending, is
// started; if the change is then refused it is ended again, so that nothing is
// left of a command that did not work.
func (a *app) configure(ch control.Change) error {
	c := a.client()
	defer c.Close()
	if ch.IsDestroy() {
		return a.gone(c.Configure(a.ctx, ch))
	}
	err := a.configureRunning(c, ch)
	if !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, control.ErrEnded) {
		return a.denied(err)
	}
	undo, err := a.startDaemon()
	if err != nil {
		return err
	}
	if err := c.Configure(a.ctx, ch); err != nil {
		undo()
		return a.denied(err)
	}
	return nil
}

// configureRunning asks a daemon that is stopping again until it is gone.
func (a *app) configureRunning(c *control.Client, ch control.Change) error {
	ctx, cancel := context.WithTimeout(a.ctx, stoppingWait)
	defer cancel()
	for {
		err := c.Configure(a.ctx, ch)
		if !errors.Is(err, control.ErrStopping) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(stoppingPoll):
		}
	}
}
