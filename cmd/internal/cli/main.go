package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// app is one run of the command.
type app struct {
	ctx    context.Context
	in     io.Reader
	out    *output
	err    io.Writer
	getenv func(string) string

	json     bool
	verbose  int
	runDir   string // option
	stateDir string // option
	all      bool
	list     bool

	name string // the interface, "" before it is known
}

// Main runs pfsyncctl with the arguments after its name and returns the exit
// code (design section 2). It returns when all that was printed is written.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	quiet := make(chan os.Signal, 1) // with somebody to tell, a write fails with EPIPE instead of killing us
	signal.Notify(quiet, syscall.SIGPIPE)
	defer signal.Stop(quiet)

	a := &app{ctx: ctx, in: stdin, out: newOutput(stdout), err: stderr, getenv: getenv}
	err := a.run(args)
	if werr := a.out.Flush(); err == nil || errors.Is(err, a.out.err) {
		err = werr
	}
	return a.finish(err)
}

// finish says what went wrong, in one line, and how the process ends.
func (a *app) finish(err error) int {
	if err == nil || errors.Is(err, syscall.EPIPE) && a.out.err != nil {
		return codeOK
	}
	e := explain(err)
	if text := e.Error(); text != "" {
		if a.name != "" {
			text = a.name + ": " + text
		}
		fmt.Fprintln(a.err, "pfsyncctl: "+text)
	}
	return e.code
}

// say prints words, as opposed to data.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, "pfsyncctl: "+format+"\n", args...) }

func (a *app) dirs() control.Dirs { return control.FindDirs(a.runDir, a.stateDir, a.getenv) }

// client returns a client for the interface of this run.
func (a *app) client() *control.Client { return control.NewClient(a.dirs().Socket(a.name)) }
