package daemon

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// occupy makes sure that we are alone, and binds the control socket.
func (d *Daemon) occupy() (err error) {
	if err := d.dirs.MakeDirs(); err != nil {
		return err
	}
	if d.netns, err = d.host.NetNS(); err != nil {
		return err
	}
	if d.pid, err = lockPID(d.dirs.PID(d.name), d.dirs.Socket(d.name)); err != nil {
		return err
	}
	d.ln, err = control.Listen(d.dirs.Socket(d.name), control.Group)
	return err
}

// leaving is how long a daemon that no longer answers may take to end.
const leaving = 5 * time.Second

// lockPID waits for a daemon that is on its way out, and refuses if one
// answers.
func lockPID(path, socket string) (*control.PIDFile, error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		f, err := control.LockPID(path)
		if !errors.Is(err, control.ErrRunning) || time.Since(start) > leaving {
			return f, err
		}
		if c, derr := net.DialTimeout("unix", socket, time.Second); derr == nil {
			c.Close()
			return nil, err
		}
	}
}

// openKernel opens the sockets to nf_conntrack. The injector is first: its
// errors say best what is missing, and the listener must not hear it.
func (d *Daemon) openKernel() (err error) {
	inj, err := d.host.NewInjector()
	if err != nil {
		return err
	}
	d.inj = &room{Injector: inj, count: d.host.Count, max: d.host.Max}
	if err := d.host.EnableEvents(); err != nil {
		d.log.Warn("entries made while nobody listens will stay silent", "err", err)
	}
	d.lis, err = d.host.Listen(conntrack.ListenConfig{Own: []uint32{d.inj.PortID()}, Warn: d.log.Warn})
	if err != nil {
		return err
	}
	for i := range d.dmp {
		if d.dmp[i], err = d.host.NewDumper(); err != nil {
			return err
		}
	}
	d.exp, err = d.host.NewExpecter()
	return err
}

// openDevice makes the interface, down until a word says up.
func (d *Daemon) openDevice() (err error) {
	names, err := d.host.Interfaces()
	if err != nil {
		return err
	}
	for _, n := range names {
		if control.ValidName(n) && n != d.name {
			return fmt.Errorf("%s is there already: %w", n, ErrOther)
		}
	}
	if d.dev, err = d.host.Create(d.name, defaultMTU); err != nil {
		return err
	}
	return d.dev.SetUp(false)
}

// release closes what is open, in the opposite order.
func (d *Daemon) release() {
	if d.dev != nil {
		d.dev.Close()
	}
	if d.exp != nil {
		d.exp.Close()
	}
	for _, dmp := range d.dmp {
		if dmp != nil {
			dmp.Close()
		}
	}
	if d.lis != nil {
		d.lis.Close()
	}
	if d.inj != nil {
		d.inj.Close()
	}
	if d.ln != nil {
		d.ln.Close()
	}
	if d.pid != nil {
		d.pid.Close()
	}
}
