package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Exit codes, as pfsyncctl's.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// options are the command line.
type options struct {
	foreground, verbose, version bool
	name                         string
	dirs                         control.Dirs
}

// Main is pfsyncd: it returns the exit code.
func Main(args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	o, err := parse(args, stderr, getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, "pfsyncd", control.Release)
		return exitOK
	}
	if !o.foreground && getenv(control.EnvReady) == "" {
		err = background(args)
	} else {
		if !o.foreground {
			os.Chdir("/") // keep no file system busy
		}
		log, flush := newLogger(o.foreground, o.verbose, stderr)
		defer flush()
		log = log.With("dev", o.name)
		err = serve(o, log)
		if err != nil && !o.foreground {
			log.Error("pfsyncd ends", "err", err)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "pfsyncd: %s: %v\n", o.name, err)
		return exitError
	}
	return exitOK
}

func parse(args []string, stderr io.Writer, getenv func(string) string) (options, error) {
	var o options
	var run, state string
	f := flag.NewFlagSet("pfsyncd", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintln(stderr, "usage: pfsyncd [-f] [-v] [--version] [--run-dir directory] [--state-dir directory] [interface]")
	}
	f.BoolVar(&o.foreground, "f", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.BoolVar(&o.version, "version", false, "")
	f.StringVar(&run, "run-dir", "", "")
	f.StringVar(&state, "state-dir", "", "")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.name = "pfsync0"
	if f.NArg() > 0 {
		o.name = f.Arg(0)
	}
	if f.NArg() > 1 || !control.ValidName(o.name) {
		f.Usage()
		return o, fmt.Errorf("%s: %w", o.name, control.ErrInvalid)
	}
	o.dirs = control.FindDirs(run, state, getenv)
	for _, dir := range []*string{&o.dirs.Run, &o.dirs.State, &o.dirs.Etc} { // the daemon leaves the working directory
		if abs, err := filepath.Abs(*dir); err == nil {
			*dir = abs
		}
	}
	return o, nil
}

// background runs the same command in a session of its own and waits until it
// is ready or has said why not.
func background(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), control.EnvReady+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	if err := control.WaitReady(r); err != nil {
		cmd.Wait()
		return err
	}
	return cmd.Process.Release()
}

// spareMemory is how much garbage there may be before it is collected, in
// percent of what is in use. The states have no pointers, so to look through
// them costs next to nothing, and the data path makes no garbage; what a
// listing of a large table makes must not double the memory. GOGC in the
// environment is obeyed.
const spareMemory = 20

// setProcessors is nil where the environment says how many there are to be.
func setProcessors() func(n int) {
	if os.Getenv("GOMAXPROCS") != "" {
		return nil
	}
	return func(n int) { runtime.GOMAXPROCS(n) }
}

// serve runs the daemon until a signal ends it.
func serve(o options, log *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(spareMemory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if err := checkCapabilities(); err != nil {
		return errors.Join(err, control.ReportReady(err))
	}
	d, err := New(Config{
		Name: o.name, Dirs: o.dirs, Log: log, Host: System(nil),
		Confine: func() error { return dropCapabilities(log) }, Processors: setProcessors(),
	})
	if err != nil {
		return errors.Join(err, control.ReportReady(err))
	}
	context.AfterFunc(ctx, func() { tell(log, "STOPPING=1") })
	err = d.Run(ctx, func() {
		d.group.Go("signals", func(ctx context.Context) error { d.reloads(ctx, hup); return nil })
		if err := control.ReportReady(nil); err != nil {
			log.Warn("nobody waited for us to be ready", "err", err)
		}
		tell(log, "READY=1")
		log.Info("ready", "hostid", fmt.Sprintf("%08x", d.set.hostID))
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

func tell(log *slog.Logger, state string) {
	if err := notify(state); err != nil {
		log.Warn("cannot notify the service manager", "err", err)
	}
}

// reloads puts the start file into force on every SIGHUP.
func (d *Daemon) reloads(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		tell(d.log, reloading())
		if err := d.Reload(ctx); err != nil {
			d.log.Error("configuration not changed", "err", err)
		} else {
			d.log.Info("configuration read again")
		}
		tell(d.log, "READY=1")
	}
}

// Reload makes the configuration what the start file says, with everything
// else at its default. After an error nothing has changed.
func (d *Daemon) Reload(ctx context.Context) error {
	st, err := control.ReadStart(d.dirs, d.name)
	if err != nil {
		return err
	}
	for _, w := range st.Warnings {
		d.log.Warn("start file", "warning", w)
	}
	return d.Configure(ctx, st.Change())
}
