package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// readyTimeout is how long a daemon may take to start: it waits for nothing
// but the kernel.
const readyTimeout = 30 * time.Second

// startDaemon starts pfsyncd for the interface and returns when it answers.
// undo ends it again if it was started for this command alone.
func (a *app) startDaemon() (undo func(), err error) {
	if err := a.mayStart(); err != nil {
		return nil, err
	}
	if a.useSystemd() {
		return func() {}, a.startUnit()
	}
	if err := a.startProcess(); err != nil {
		return nil, err
	}
	return a.endDaemon, nil
}

// mayStart finds out early what would stop the daemon, to say it plainly.
func (a *app) mayStart() error {
	if missing := missingCapabilities(); missing != "" {
		return fail(codeDenied, "pfsyncd is not running, and starting it needs %s; be root", missing)
	}
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("interfaces: %w", err)
	}
	for _, l := range links {
		if control.ValidName(l.Name) && l.Name != a.name {
			return fmt.Errorf("%s is there already: one pfsync interface per network namespace", l.Name)
		}
	}
	return nil
}

// Capabilities that pfsyncd needs, capability.h.
const (
	capNetAdmin = 12
	capNetRaw   = 13
)

// missingCapabilities names what our effective set lacks. If it cannot be read
// nothing is missing: the daemon will say.
func missingCapabilities() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	var missing []string
	for line := range strings.Lines(string(b)) {
		v, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		if err != nil {
			return ""
		}
		if set&(1<<capNetAdmin) == 0 {
			missing = append(missing, "CAP_NET_ADMIN")
		}
		if set&(1<<capNetRaw) == 0 {
			missing = append(missing, "CAP_NET_RAW")
		}
	}
	return strings.Join(missing, " and ")
}

// startProcess runs the daemon in a session of its own and waits until it says
// on a pipe that it is ready or why it is not.
func (a *app) startProcess() error {
	path, err := daemonPath()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start pfsyncd: %w", err)
	}
	defer r.Close()
	cmd, err := a.daemonCommand(path, w)
	if err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("start pfsyncd: %w", err)
	}
	r.SetReadDeadline(time.Now().Add(readyTimeout))
	err = control.WaitReady(r)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		cmd.Process.Kill()
		cmd.Wait()
		return fail(codeTimeout, "pfsyncd is not ready after %v", readyTimeout)
	case err != nil:
		cmd.Wait()
		return a.lostRace(err)
	}
	return cmd.Process.Release()
}

// daemonCommand prepares the process: nothing of ours but the pipe.
func (a *app) daemonCommand(path string, ready *os.File) (*exec.Cmd, error) {
	run, err := filepath.Abs(a.dirs().Run)
	if err != nil {
		return nil, err
	}
	state, err := filepath.Abs(a.dirs().State)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "--run-dir", run, "--state-dir", state, a.name)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), control.EnvReady+"=3")
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// lostRace forgives a failed start if another command was quicker and a daemon
// answers now.
func (a *app) lostRace(cause error) error {
	c := a.client()
	defer c.Close()
	if _, err := c.Status(a.ctx); err == nil {
		return nil
	}
	return cause
}

// endDaemon ends a daemon that this command has started in vain.
func (a *app) endDaemon() {
	c := a.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), readyTimeout)
	defer cancel()
	if err := c.Configure(ctx, control.Change{Set: []control.Setting{{Word: control.WordDestroy}}}); err != nil {
		a.say("%s: %v", a.name, err)
	}
}

// daemonPath finds pfsyncd: beside us, else in PATH.
func daemonPath() (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), "pfsyncd")
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath("pfsyncd")
	if err != nil {
		return "", errors.New("pfsyncd is not running, and is neither beside pfsyncctl nor in PATH")
	}
	return path, nil
}
