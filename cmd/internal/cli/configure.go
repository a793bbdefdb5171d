package cli

import (
	"errors"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// configure has a change made. A daemon that is not there is started; if the
// change is then refused it is ended again, so that nothing is left of a
// command that did not work.
func (a *app) configure(ch control.Change) error {
	c := a.client()
	defer c.Close()
	if ch.IsDestroy() {
		return a.gone(c.Configure(a.ctx, ch))
	}
	err := c.Configure(a.ctx, ch)
	if !errors.Is(err, control.ErrNotRunning) {
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
