package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// maxWait is the longest timeout in seconds, some thirty years.
const maxWait = 1e9

// waitPoll is how often the daemon is asked.
const waitPoll = 100 * time.Millisecond

func (a *app) waitCommand() *cobra.Command {
	var timeout float64
	c := &cobra.Command{
		Use:   "wait",
		Short: "wait until in sync; exit 5 if that failed, 6 if it took too long",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			limit, err := timeoutOf(timeout)
			if err != nil {
				return err
			}
			return a.wait(limit)
		},
	}
	c.Flags().Float64VarP(&timeout, "timeout", "t", 0, "`seconds` to wait at most; 0: as long as it takes")
	return c
}

// timeoutOf is the value of the option timeout, in seconds.
func timeoutOf(seconds float64) (time.Duration, error) {
	switch {
	case seconds < 0:
		return 0, usage("--timeout %g: less than 0", seconds)
	case !(seconds <= maxWait): // NaN too
		return 0, usage("--timeout %g: more than %g", seconds, maxWait)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// within is the context of a command that takes at most timeout; 0 is no limit.
func (a *app) within(timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return context.WithCancel(a.ctx)
	}
	return context.WithTimeout(a.ctx, timeout)
}

// wait prints progress whenever it changes, on one line if stderr is a
// terminal.
func (a *app) wait(timeout time.Duration) error {
	ctx, cancel := a.within(timeout)
	defer cancel()
	c := a.client()
	defer c.Close()
	p := progress{app: a, line: isTerminal(a.err), what: "sync"}
	defer p.end()
	for {
		st, err := c.Status(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return a.waitEnded(ctx, p.last)
		case err != nil:
			return a.gone(err)
		}
		p.show(st.Sync.String())
		if done, err := a.waited(st); done {
			return err
		}
		select {
		case <-ctx.Done():
			return a.waitEnded(ctx, p.last)
		case <-time.After(waitPoll):
		}
	}
}

// waited reports whether there is nothing left to wait for.
func (a *app) waited(st control.Status) (bool, error) {
	switch {
	case st.Sync.State.Done():
		if a.json {
			return true, a.out.object(st.Sync)
		}
		return true, nil
	case st.Sync.State == control.SyncFailed:
		return true, fail(codeNotInSync, "not in sync: the bulk transfer failed; see 'pfsyncctl %s peers', try 'pfsyncctl %s bulk'", a.name, a.name)
	case st.Sync.State == control.SyncDiverged && st.Sync.Reason != "":
		return true, fail(codeNotInSync, "not in sync: %s; 'pfsyncctl %s verify' names them", st.Sync.Reason, a.name)
	case st.Sync.State == control.SyncClash:
		return true, fail(codeNotInSync, "not in sync: %s; 'pfsyncctl %s hostid random' on one of them", st.Sync, a.name)
	}
	return false, nil
}

func (a *app) waitEnded(ctx context.Context, last string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if last == "" {
			last = "the daemon does not answer"
		}
		return fail(codeTimeout, "not in sync in time: %s", last)
	}
	return errStopped
}

// progress prints a text when it changes.
type progress struct {
	app  *app
	what string // it is the progress of
	line bool   // overwrite one line instead of writing new ones
	last string
}

func (p *progress) show(text string) {
	if text == p.last {
		return
	}
	p.last = text
	if p.line {
		fmt.Fprintf(p.app.err, "\r\x1b[K%s: %s: %s", p.app.name, p.what, text)
		return
	}
	fmt.Fprintf(p.app.err, "%s: %s: %s\n", p.app.name, p.what, text)
}

func (p *progress) end() {
	if p.line && p.last != "" {
		fmt.Fprintln(p.app.err)
	}
}
