package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Exit codes, design section 2.
const (
	codeOK        = 0
	codeError     = 1
	codeUsage     = 2
	codeNone      = 3 // no such interface or daemon
	codeDenied    = 4
	codeNotInSync = 5
	codeTimeout   = 6
)

// exitError is an error that knows how the process ends.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error { return fail(codeUsage, format, args...) }

var (
	errStopped = errors.New("stopped")
	errSaid    = errors.New("") // what is wrong stands on stdout
)

// explain finds the exit code of an error, and says what to do next where
// there is something to do.
func explain(err error) *exitError {
	var e *exitError
	var c *control.Error
	switch {
	case errors.As(err, &e):
		return e
	case isUsage(err):
		return &exitError{codeUsage, err}
	case errors.Is(err, control.ErrNotRunning), errors.Is(err, control.ErrEnded):
		return &exitError{codeNone, err}
	case errors.Is(err, control.ErrPermission), errors.Is(err, fs.ErrPermission):
		return &exitError{codeDenied, err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, control.ErrTimeout):
		return &exitError{codeTimeout, err}
	case errors.Is(err, context.Canceled):
		return &exitError{codeError, errStopped}
	case errors.As(err, &c):
		return &exitError{codeOf(c.Code), err}
	}
	return &exitError{codeError, err}
}

func codeOf(c control.Code) int {
	switch c {
	case control.CodeNoDevice:
		return codeNone
	case control.CodeDenied:
		return codeDenied
	case control.CodeNotInSync:
		return codeNotInSync
	}
	return codeError
}

// isUsage tells what was typed wrong from what was typed right and does not
// work: a value out of range is the latter, as with ifconfig.
func isUsage(err error) bool {
	var w *control.WordError
	return errors.As(err, &w) && (errors.Is(err, control.ErrNoSuchWord) || errors.Is(err, control.ErrArgument) || errors.Is(err, control.ErrAlone))
}

// gone replaces "no daemon" by what it means for whoever wanted to look at the
// interface.
func (a *app) gone(err error) error {
	if !errors.Is(err, control.ErrNotRunning) {
		return a.denied(err)
	}
	for _, name := range a.alive() {
		if name != a.name {
			return fail(codeNone, "no such interface; there is %s", name)
		}
	}
	return fail(codeNone, "no such interface; 'pfsyncctl %s create' makes it", a.name)
}

// unanswered adds why a daemon that is there may not answer, and what to do.
func (a *app) unanswered(err error) error {
	if !errors.Is(err, control.ErrTimeout) {
		return err
	}
	pid := control.HolderOf(a.dirs().PID(a.name))
	if pid == 0 {
		return err
	}
	if stat, rerr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); rerr == nil && stoppedState(stat) {
		return fmt.Errorf("%w: it is stopped; 'kill -CONT %d' lets it go on", err, pid)
	}
	return fmt.Errorf("%w; see its log, and end pid %d if it stays so: no traffic stops by that", err, pid)
}

// stoppedState reads the state of a process in its /proc/PID/stat, proc(5): the
// letter behind the name, which may have anything in it but ends with the last
// parenthesis.
func stoppedState(stat []byte) bool {
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && len(stat) > i+2 && (stat[i+2] == 'T' || stat[i+2] == 't')
}

// denied adds who may.
func (a *app) denied(err error) error {
	var c *control.Error
	if !errors.Is(err, control.ErrPermission) || errors.As(err, &c) {
		return err
	}
	if _, gerr := user.LookupGroup(control.Group); gerr != nil {
		return fail(codeDenied, "%w; be root; there is no group %s, whose members might look", err, control.Group)
	}
	return fail(codeDenied, "%w; be root, or to look only, a member of the group %s", err, control.Group)
}

// flagError says what is wrong with an option, without the words of strconv.
func flagError(_ *cobra.Command, err error) error {
	if v, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usage("--%s %s: invalid", v.GetFlag().Name, v.GetValue())
	}
	return usage("%w", err)
}
