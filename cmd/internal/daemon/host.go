package daemon

import (
	"context"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/pfstate/nfqueue"
	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// What the daemon wants of the world. The real ones are in tunif, syncdev,
// conntrack and nfqueue.
type (
	// Device is the pseudo-device.
	Device interface {
		Write(pkt []byte) (int, error)
		SetUp(up bool) error
		SetMTU(mtu int) error
		SetAlias(text string) error
		Run(ctx context.Context) error
		Close() error
	}
	// Wire is the sockets on a syncdev.
	Wire interface {
		ReadBatch(p []syncdev.Packet) (int, error)
		WriteBatch(frames [][]byte) (int, error)
		SetLink(l syncdev.Link) error
		Close() error
	}
	// Watcher tells of interfaces and addresses.
	Watcher interface {
		Run(ctx context.Context, report func(syncdev.Status)) error
		Close() error
	}
	// Listener hears the kernel's events.
	Listener interface {
		Read(evs []pfstate.Event) (int, error)
		Ignore(f *pfstate.Filter) error
		Stats() conntrack.ListenStats
		Close() error
	}
	// Dumper reads the kernel's table.
	Dumper interface {
		Begin(f conntrack.Filter) error
		Read(evs []pfstate.Event) (int, error)
		Stats() conntrack.DumpStats
		Close() error
	}
	// Injector changes the kernel's table.
	Injector interface {
		Do(ops []pfstate.Op, res []pfstate.Result) (int, error)
		PortID() uint32
		Stats() conntrack.InjectStats
		Close() error
	}
	// Expecter hears of the kernel's expectations and changes them.
	Expecter interface {
		Read(evs []pfstate.ExpectEvent) ([]pfstate.ExpectEvent, error)
		Do(ops []pfstate.ExpectOp) error
		Interrupt()
		Stats() conntrack.ExpectStats
		Close() error
	}
	// Queue holds packets.
	Queue interface {
		Read(pkts []nfqueue.Packet) (int, error)
		Accept(ids []uint32) error
		Wake() error
		Drain() error
		Conntrack() bool
		Stats() nfqueue.Stats
		Close() error
	}
)

// Host makes the things of one network namespace. Every function works on that
// namespace, whatever thread it is called on.
type Host struct {
	Create      func(name string, mtu int) (Device, error)
	OpenWire    func(cfg syncdev.Config) (Wire, error)
	NewWatcher  func(devs ...string) (Watcher, error)
	Lookup      func(dev string) (syncdev.Link, error)
	Interfaces  func() ([]string, error) // names of all there are
	Listen      func(cfg conntrack.ListenConfig) (Listener, error)
	NewDumper   func() (Dumper, error)
	NewInjector func() (Injector, error)
	NewExpecter func() (Expecter, error)

	OpenQueue     func(num uint16) (Queue, error)
	MissingTables func() []string // mangle tables that are not there yet
	InstallRules  func(ifname string, num uint16, conntrack bool, made []string) (*nfqueue.Rules, error)
	RemoveRules   func(r *nfqueue.Rules)
	RemoveLeft    func(ifname string, made []string) // rules of a killed daemon

	EnableEvents func() error
	SetLiberal   func(v uint32) (was uint32, err error)
	Timeouts     func() (pfstate.Timeouts, error)
	Count, Max   func() (uint32, error) // entries of the kernel's table, and how many it may have
	NetNS        func() (uint64, error)
	Tracks       func() (bool, error) // whether a rule has connections tracked
	KernelID     func() string        // the same as long as the kernel's table is; "" unknown
}

// System is the real host. enter calls its argument with the thread in the
// namespace that is meant; nil is the namespace of the process.
func System(enter func(fn func())) Host {
	if enter == nil {
		enter = func(fn func()) { fn() }
	}
	return Host{
		Create: func(name string, mtu int) (Device, error) {
			return within(enter, func() (Device, error) { return asDevice(tunif.Create(name, mtu)) })
		},
		OpenWire: func(cfg syncdev.Config) (Wire, error) {
			return within(enter, func() (Wire, error) { return asWire(syncdev.Open(cfg)) })
		},
		NewWatcher: func(devs ...string) (Watcher, error) {
			return within(enter, func() (Watcher, error) { return asWatcher(syncdev.NewWatcher(devs...)) })
		},
		Lookup: func(dev string) (syncdev.Link, error) {
			return within(enter, func() (syncdev.Link, error) { return syncdev.Lookup(dev) })
		},
		Interfaces: func() ([]string, error) { return within(enter, interfaceNames) },
		Listen: func(cfg conntrack.ListenConfig) (Listener, error) {
			return within(enter, func() (Listener, error) { return asListener(conntrack.Listen(cfg)) })
		},
		NewDumper: func() (Dumper, error) {
			return within(enter, func() (Dumper, error) { return asDumper(conntrack.NewDumper()) })
		},
		NewInjector: func() (Injector, error) {
			return within(enter, func() (Injector, error) { return asInjector(conntrack.NewInjector()) })
		},
		NewExpecter: func() (Expecter, error) {
			return within(enter, func() (Expecter, error) { return asExpecter(conntrack.NewExpecter()) })
		},
		OpenQueue: func(num uint16) (Queue, error) {
			return within(enter, func() (Queue, error) { return asQueue(nfqueue.Open(num)) })
		},
		MissingTables: func() (list []string) { enter(func() { list = nfqueue.Missing() }); return list },
		InstallRules: func(ifname string, num uint16, conntrack bool, made []string) (*nfqueue.Rules, error) {
			return within(enter, func() (*nfqueue.Rules, error) { return nfqueue.Install(ifname, num, conntrack, made) })
		},
		RemoveRules: func(r *nfqueue.Rules) { enter(r.Remove) },
		RemoveLeft:  func(ifname string, made []string) { enter(func() { nfqueue.RemoveLeft(ifname, made) }) },
		EnableEvents: func() error {
			_, err := within(enter, func() (bool, error) { return true, conntrack.EnableEvents() })
			return err
		},
		SetLiberal: func(v uint32) (uint32, error) {
			return within(enter, func() (uint32, error) { return conntrack.SetLiberal(v) })
		},
		Timeouts: func() (pfstate.Timeouts, error) { return within(enter, conntrack.ReadTimeouts) },
		Count:    func() (uint32, error) { return within(enter, conntrack.Count) },
		Max:      func() (uint32, error) { return within(enter, conntrack.Max) },
		NetNS:    func() (uint64, error) { return within(enter, control.NetNS) },
		Tracks:   func() (bool, error) { return within(enter, conntrack.Tracks) },
		KernelID: func() (id string) { enter(func() { id = kernelID() }); return id },
	}
}

// within calls fn in the namespace.
func within[T any](enter func(func()), fn func() (T, error)) (v T, err error) {
	enter(func() { v, err = fn() })
	return v, err
}

// The functions below keep a nil pointer from becoming an interface that is
// not nil.

func asDevice(d *tunif.Device, err error) (Device, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

func asWire(c *syncdev.Conn, err error) (Wire, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func asWatcher(w *syncdev.Watcher, err error) (Watcher, error) {
	if err != nil {
		return nil, err
	}
	return w, nil
}

func asListener(l *conntrack.Listener, err error) (Listener, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

func asDumper(d *conntrack.Dumper, err error) (Dumper, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

func asQueue(q *nfqueue.Queue, err error) (Queue, error) {
	if err != nil {
		return nil, err
	}
	return q, nil
}

func asExpecter(x *conntrack.Expecter, err error) (Expecter, error) {
	if err != nil {
		return nil, err
	}
	return x, nil
}

func asInjector(i *conntrack.Injector, err error) (Injector, error) {
	if err != nil {
		return nil, err
	}
	return i, nil
}
