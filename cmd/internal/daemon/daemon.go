package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/syncproto/engine"
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
	dmp Dumper
	inj Injector

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
	return d, d.makeLoop()
}

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
	if d.inj, err = d.host.NewInjector(); err != nil {
		return err
	}
	if err := d.host.EnableEvents(); err != nil {
		d.log.Warn("entries made while nobody listens will stay silent", "err", err)
	}
	d.lis, err = d.host.Listen(conntrack.ListenConfig{Own: []uint32{d.inj.PortID()}, Warn: d.log.Warn})
	if err != nil {
		return err
	}
	d.dmp, err = d.host.NewDumper()
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

// makeLoop reads what is kept on disk and makes the engine.
func (d *Daemon) makeLoop() (err error) {
	if d.kept, err = readHostID(d.dirs.HostID(d.name)); err != nil {
		return fmt.Errorf("hostid: %w", err)
	}
	same, err := sameKernel(kernelPath(d.dirs, d.name), d.host.KernelID())
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := writeFile(d.dirs.Demotion(d.name), "0\n", 0o644); err != nil {
		return fmt.Errorf("demotion: %w", err)
	}
	d.set = setup{conf: control.DefaultConfig(), hostID: d.kept}
	if d.set.filter, d.set.localFilter, err = newFilter(d.set.conf.NoSync); err != nil {
		return err
	}
	d.keep = newKeeper(d.dirs, d.name, d.log)
	l := &loop{
		log: d.log, clock: monotonic(), wall: time.Now, keep: d.keep,
		events: newExchange(eventBatches, func() *events { return newEvents(eventsPerBatch) }),
		dumps:  newExchange(dumpBatches, func() *events { return newEvents(dumpPerBatch) }),
		input:  newExchange(packetBatches, newPackets),
		ops:    exchange[ops]{make(chan *ops, opBatches), make(chan *ops, opBatches)},
		frames: exchange[frames]{make(chan *frames, frameBatches), make(chan *frames, frameBatches)},
		asks:   make(chan func()), ended: make(chan struct{}),
		set: d.set, known: knownPeers(d.dirs.Peers(d.name)),
		dump: dumping{asked: make(chan bool, 1)}, peerBuf: make([]engine.Peer, 0, maxPeers),
	}
	for range opBatches {
		l.spareOps = append(l.spareOps, newOps())
	}
	for range frameBatches {
		l.spareFrames = append(l.spareFrames, newFrames())
	}
	l.timeouts, l.kernMax = d.kernelLimits()
	c := l.engineConfig()
	c.Seed, c.Epoch = binary.NativeEndian.Uint64(random(8)), binary.NativeEndian.Uint32(random(4))|1
	c.StartID = uint64(d.started.Unix()) << 32
	c.KernelKept = same
	c.Log = d.log.Info
	l.eng = engine.New(l.clock(), c)
	d.loop = l
	return nil
}

// maxPeers is how many the engine listens to (design section 6).
const maxPeers = 16

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, crypto/rand
	return b
}

// monotonic is a clock that no setting of the time moves and that is never 0.
func monotonic() func() int64 {
	start := time.Now()
	return func() int64 { return int64(time.Second + time.Since(start)) }
}

// kernelLimits reads what the kernel's table is limited to. Where that cannot
// be read its defaults stand.
func (d *Daemon) kernelLimits() (pfstate.Timeouts, int) {
	t, err := d.host.Timeouts()
	if err != nil {
		d.log.Warn("cannot read timeouts, taking the defaults", "err", err)
	}
	most, err := d.host.Max()
	if err != nil {
		d.log.Warn("cannot read the size of the kernel's table", "err", err)
	}
	return t, int(most)
}

// release closes what is open, in the opposite order.
func (d *Daemon) release() {
	if d.dev != nil {
		d.dev.Close()
	}
	if d.dmp != nil {
		d.dmp.Close()
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

func (d *Daemon) startTasks(g *group) {
	l := d.loop
	sent := make(chan struct{})
	g.Go("listener", func(ctx context.Context) error { return listen(ctx, d.lis, l.events) })
	g.Go("dumper", func(ctx context.Context) error { return dumps(ctx, d.dmp, l.dump.asked, l.dumps, d.log) })
	g.Go("injector", func(context.Context) error { return inject(d.inj, l.ops) })
	g.Go("sender", func(context.Context) error {
		defer close(sent)
		return (&sender{dev: d.dev, x: l.frames, log: d.log}).run()
	})
	g.Go("keeper", func(context.Context) error { return d.keep.run() })
	g.Go("device", d.drainDevice)
	g.Go("limits", d.followLimits)
	g.Go("closer", func(context.Context) error { d.closePort(sent); return nil })
	g.Go("loop", func(ctx context.Context) error {
		err := l.run(ctx)
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		return err
	})
}

// serve runs the control server. It must answer the request that ends the
// daemon, so it is stopped, by the function returned, after all else.
func (d *Daemon) serve(g *group) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := g.guard("control", func(context.Context) error {
			return (&control.Server{Backend: d, NetNS: d.netns, Log: d.log}).Run(ctx, d.ln)
		})
		if err != nil {
			g.fail(err)
		}
	}()
	return func() { cancel(); <-done }
}

// drainDevice throws away what the host routes into the pseudo-device, and
// notices when it is deleted.
func (d *Daemon) drainDevice(ctx context.Context) error {
	if err := d.dev.Run(ctx); err != nil {
		return fmt.Errorf("%s: %w: %w", d.name, ErrDeleted, err)
	}
	return nil
}

// limitsEvery is how often the kernel's timeouts and table size are read again.
const limitsEvery = time.Minute

func (d *Daemon) followLimits(ctx context.Context) error {
	t := time.NewTicker(limitsEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		timeouts, most := d.kernelLimits()
		if d.loop.do(ctx, func() { d.loop.setKernel(timeouts, most) }) != nil {
			return nil
		}
	}
}

// sendLast is how long the last frames may take to leave.
const sendLast = time.Second

// closePort closes the sockets of the syncdev once the last frame has left.
func (d *Daemon) closePort(sent <-chan struct{}) {
	<-d.loop.ended
	select {
	case <-sent:
	case <-time.After(sendLast):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.set.port.close()
}

// teardown takes back what the daemon has changed on the host, apart from
// kernel entries.
func (d *Daemon) teardown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLiberal(false)
	if d.watch != nil {
		d.watch.w.Close()
	}
	if err := d.dev.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		d.log.Warn("cannot close the interface", "err", err)
	}
}

// stop ends the daemon without an error.
func (d *Daemon) stop() { d.group.cancel() }
