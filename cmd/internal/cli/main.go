package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unicode"

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
	log.SetOutput(io.Discard) // net/http writes there what its errors say again

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
	e := explain(a.unanswered(err))
	if text := e.Error(); text != "" {
		if a.name != "" {
			text = a.name + ": " + text
		}
		a.say("%s", text)
	}
	return e.code
}

// say prints words, as opposed to data, on one line.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.err, "pfsyncctl: "+printable(fmt.Sprintf(format, args...)))
}

// printable makes one line of a text, and shows as Go would write it whatever
// could move the cursor or the reader: arguments and answers come back in errors.
func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func (a *app) dirs() control.Dirs { return control.FindDirs(a.runDir, a.stateDir, a.getenv) }

// client returns a client for the interface of this run.
func (a *app) client() *control.Client { return control.NewClient(a.dirs().Socket(a.name)) }
