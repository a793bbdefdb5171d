package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Config is what a daemon needs to know of its place.
type Config struct {
	Name string // of the interface
	Dirs control.Dirs
	Log  *slog.Logger
	Host Host

	// Confine gives up rights, once the control socket has been made and before
	// anything else is. May be nil.
	Confine func() error

	// Processors sets on how many processors the program runs. May be nil: then
	// the daemon leaves that alone.
	Processors func(n int)
}

// Daemon is one pfsync interface at work.
type Daemon struct {
	name    string
	dirs    control.Dirs
	log     *slog.Logger
	host    Host
	netns   uint64
	started time.Time

	pid *control.PIDFile
	ln  *net.UnixListener
	dev Device
	lis Listener
	dmp [2]Dumper
	inj Injector
	exp Expecter

	loop *loop
	keep *keeper
	down chan struct{} // closed when all but the control server has ended

	group *group // set by Run

	mu      sync.Mutex // one change of the configuration at a time; guards all below
	stopped bool       // no further change, no further task
	set     setup      // in force
	kept    uint32     // hostid of the state directory
	watch   *watch
	liberal bool // nf_conntrack_tcp_be_liberal has been set
	probed  bool // whether anything is tracked has been told

	censusMu sync.Mutex
	census   census // guarded by censusMu
}

// New takes possession of the interface name: files, control socket, sockets
// to the kernel, the pseudo-device. Nothing runs yet. After an error nothing
// is left open.
func New(cfg Config) (_ *Daemon, err error) {
	d := &Daemon{
		name: cfg.Name, dirs: cfg.Dirs, log: cfg.Log, host: cfg.Host,
		started: time.Now(), down: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if err := d.occupy(); err != nil {
		return nil, err
	}
	if cfg.Confine != nil {
		if err := cfg.Confine(); err != nil {
			return nil, err
		}
	}
	if err := d.openKernel(); err != nil {
		return nil, err
	}
	if err := d.openDevice(); err != nil {
		return nil, err
	}
	d.removeLeft()
	if err := d.makeLoop(); err != nil {
		return nil, err
	}
	d.loop.procs = newProcessors(cfg.Processors)
	return d, nil
}

// Run works until ctx ends or Destroy is called, which is no error, or a task
// fails. ready is called once everything runs.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	g := newGroup(ctx, d.log)
	d.group = g
	d.loop.clean = func() bool { return g.Err() == nil }
	d.startTasks(g)
	served := d.serve(g)
	d.mu.Lock()
	err := d.startWatch("")
	d.mu.Unlock()
	if err != nil {
		g.fail(err)
	} else if ready != nil {
		ready()
	}
	err = g.Wait()
	d.teardown()
	close(d.down)
	served()
	return errors.Join(err, d.pid.Close())
}
