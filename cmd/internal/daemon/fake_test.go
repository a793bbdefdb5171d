package daemon

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/pfstate/nfqueue"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// fakeKernel is a state table that does what the test says.
type fakeKernel struct {
	news   chan pfstate.Event
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	dumps  int // guarded by mu, as all below
	done   []pfstate.OpKind
	broken error // of the injector
	panics bool  // the dumper panics
	state  []pfstate.EventKind
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{news: make(chan pfstate.Event, 4096), closed: make(chan struct{})}
}

func (k *fakeKernel) set(f func(*fakeKernel)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k)
}

type fakeListener struct{ *fakeKernel }

func (l fakeListener) Read(evs []pfstate.Event) (int, error) {
	select {
	case evs[0] = <-l.news:
		return 1, nil
	case <-l.closed:
		return 0, os.ErrClosed
	}
}

func (l fakeListener) Ignore(*pfstate.Filter) error { return nil }

func (l fakeListener) Stats() conntrack.ListenStats { return conntrack.ListenStats{} }

func (l fakeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

type fakeDumper struct{ *fakeKernel }

func (d fakeDumper) Begin(conntrack.Filter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dumps++
	if d.panics {
		panic("dumper")
	}
	d.state = []pfstate.EventKind{pfstate.EventDumpEnd}
	return nil
}

func (d fakeDumper) Read(evs []pfstate.Event) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.state) == 0 {
		return 0, io.EOF
	}
	evs[0] = pfstate.Event{Kind: d.state[0]}
	d.state = d.state[1:]
	return 1, nil
}

func (d fakeDumper) Stats() conntrack.DumpStats { return conntrack.DumpStats{} }
func (d fakeDumper) Close() error               { return nil }

type fakeInjector struct{ *fakeKernel }

func (i fakeInjector) Do(ops []pfstate.Op, res []pfstate.Result) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for k := range ops {
		i.done = append(i.done, ops[k].Kind)
		res[k] = pfstate.Result{Kind: ops[k].Kind, Ref: ops[k].Ref}
	}
	return len(ops), i.broken
}

// fakeExpecter expects nothing.
type fakeExpecter struct {
	end  chan struct{}
	once sync.Once
}

func (x *fakeExpecter) Read(evs []pfstate.ExpectEvent) ([]pfstate.ExpectEvent, error) {
	<-x.end
	return evs, os.ErrClosed
}

func (x *fakeExpecter) Do([]pfstate.ExpectOp) error  { return nil }
func (x *fakeExpecter) Interrupt()                   { x.once.Do(func() { close(x.end) }) }
func (x *fakeExpecter) Stats() conntrack.ExpectStats { return conntrack.ExpectStats{} }
func (x *fakeExpecter) Close() error                 { return nil }

func (i fakeInjector) PortID() uint32               { return 1 }
func (i fakeInjector) Stats() conntrack.InjectStats { return conntrack.InjectStats{} }
func (i fakeInjector) Close() error                 { return nil }

// fakeHost is a host without a kernel, with a syncdev eth2 on a link.
type fakeHost struct {
	kernel *fakeKernel
	dev    *tuntest.Device
	link   *tuntest.Link
	addr   netip.Addr
}

func newFakeHost(link *tuntest.Link, addr string) (*fakeHost, Host) {
	f := &fakeHost{kernel: newFakeKernel(), link: link, addr: netip.MustParseAddr(addr), dev: tuntest.NewDevice("pfsync0", 1500)}
	eth2 := syncdev.Link{Present: true, Index: tuntest.IfIndex, Up: true, Admin: true, MTU: 1500, Addr4: f.addr}
	own := func() syncdev.Link { return syncdev.Link{Present: true, Index: 1, Admin: f.dev.Up(), MTU: f.dev.MTU()} }
	return f, Host{
		Create:   func(string, int) (Device, error) { return f.dev, nil },
		OpenWire: func(cfg syncdev.Config) (Wire, error) { return link.Open(cfg, f.addr), nil },
		NewWatcher: func(devs ...string) (Watcher, error) {
			st := syncdev.Status{Links: []syncdev.Link{own()}}
			if len(devs) > 1 {
				st.Links = append(st.Links, eth2)
			}
			return tuntest.NewWatcher(st), nil
		},
		Lookup: func(dev string) (syncdev.Link, error) {
			switch dev {
			case "eth2":
				return eth2, nil
			case "pfsync0":
				return own(), nil
			}
			return syncdev.Link{}, nil
		},
		Interfaces:   func() ([]string, error) { return []string{"lo", "eth2"}, nil },
		Listen:       func(conntrack.ListenConfig) (Listener, error) { return fakeListener{f.kernel}, nil },
		NewDumper:    func() (Dumper, error) { return fakeDumper{f.kernel}, nil },
		NewInjector:  func() (Injector, error) { return fakeInjector{f.kernel}, nil },
		NewExpecter:  func() (Expecter, error) { return &fakeExpecter{end: make(chan struct{})}, nil },
		OpenQueue:    func(uint16) (Queue, error) { return nil, nfqueue.ErrNoQueue },
		RemoveLeft:   func(string, []string) {},
		EnableEvents: func() error { return nil },
		SetLiberal:   func(uint32) (uint32, error) { return 0, nil },
		Timeouts:     func() (pfstate.Timeouts, error) { return pfstate.DefaultTimeouts(), nil },
		Count:        func() (uint32, error) { return 0, nil },
		Max:          func() (uint32, error) { return 1 << 18, nil },
		NetNS:        control.NetNS,
		Tracks:       func() (bool, error) { return true, nil },
		KernelID:     func() string { return "same" },
	}
}

// newFakeNode starts a daemon on a fake host.
func newFakeNode(t *testing.T, link *tuntest.Link, addr string) (*node, *fakeHost) {
	t.Helper()
	f, h := newFakeHost(link, addr)
	dir := t.TempDir()
	dirs := control.Dirs{Run: dir, State: dir, Etc: dir}
	d, err := New(Config{Name: "pfsync0", Dirs: dirs, Log: testLog(t, addr), Host: h})
	if err != nil {
		t.Fatal(err)
	}
	n := run(t, d, nil, dirs)
	n.where = addr
	return n, f
}

// newUDP is the event of a new connection, the i-th of many.
func newUDP(i int) pfstate.Event {
	ev := pfstate.Event{Kind: pfstate.EventNew}
	f := &ev.Flow
	f.AF, f.Proto = pfstate.AFInet, pfstate.ProtoUDP
	f.Orig = pfstate.Tuple{Src: pfstate.Addr{10, 0, 1, 10}, Dst: pfstate.Addr{10, 0, 2, 10}, SrcPort: uint16(i), DstPort: uint16(1000 + i>>16)}
	f.Reply = f.Orig.Inverse(f.Proto)
	f.Has, f.Timeout, f.Status = pfstate.HasTimeout|pfstate.HasStatus, 30, pfstate.StatusConfirmed
	return ev
}

// TestTaskError: a task that fails ends the daemon with its error, and so does
// one that panics; nothing hangs.
func TestTaskError(t *testing.T) {
	broken := errors.New("socket broken")
	for _, tc := range []struct {
		name   string
		set    func(*fakeKernel)
		device func(*tuntest.Device)
		want   string
	}{
		{"injector", func(k *fakeKernel) { k.broken = broken }, nil, "injector: socket broken"},
		{"panic", func(k *fakeKernel) { k.panics = true; k.news <- pfstate.Event{Kind: pfstate.EventOverrun} }, nil, "dumper: panic: dumper"},
		{"device deleted", nil, (*tuntest.Device).Remove, "interface was deleted from outside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			link := tuntest.NewLink(1500)
			n, f := newFakeNode(t, link, "10.0.3.2")
			n.set("syncdev", "eth2")
			m, _ := newFakeNode(t, link, "10.0.3.3")
			m.set("syncdev", "eth2")
			if tc.set != nil {
				f.kernel.set(tc.set)
			}
			if tc.device != nil {
				tc.device(f.dev)
			}
			for i := range 100 { // work for the injector
				ev := newUDP(i)
				m.Daemon.lis.(fakeListener).news <- ev
			}
			if err := n.wait(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ended with %v, want %s", err, tc.want)
			}
			if err := n.try("maxupd", "1"); !errors.Is(err, control.ErrStopping) {
				t.Errorf("configure afterwards: %v", err)
			}
			m.stop()
			noGoroutines(t)
		})
	}
}

// TestOverrun: lost events are made up for by a dump at once.
func TestOverrun(t *testing.T) {
	n, f := newFakeNode(t, tuntest.NewLink(1500), "10.0.3.2")
	count := func() (c int) { f.kernel.set(func(k *fakeKernel) { c = k.dumps }); return c }
	nstest.Eventually(t, patience, func() bool { return count() == 1 }, "the first dump")
	f.kernel.news <- pfstate.Event{Kind: pfstate.EventOverrun}
	nstest.Eventually(t, patience, func() bool { return count() == 2 }, "a dump at once")
	if got := n.stats().Reasons["overrun"]; got != 1 {
		t.Errorf("overrun %d", got)
	}
}

// TestTooBig: a frame that does not fit is counted, and the next are smaller.
func TestTooBig(t *testing.T) {
	link := tuntest.NewLink(1000)
	n, f := newFakeNode(t, link, "10.0.3.2")
	m, _ := newFakeNode(t, link, "10.0.3.3")
	n.set("syncdev", "eth2")
	m.set("syncdev", "eth2")
	n.waitSync(control.SyncOK)
	sent := 0
	nstest.Eventually(t, patience, func() bool {
		for range 50 {
			f.kernel.news <- newUDP(sent)
			sent++
		}
		return n.stats().Reasons["mtushrunk"] >= 1
	}, "smaller frames")
	nstest.Eventually(t, patience, func() bool { return m.status().States.Total == sent }, "all states at the peer")
	if n.stats().Counters.OErrors == 0 {
		t.Error("oerrors 0")
	}
}

// TestMonitor: a client sees frames both ways, as they were on the link, and is
// told what it lost.
func TestMonitor(t *testing.T) {
	link := tuntest.NewLink(1500)
	n, f := newFakeNode(t, link, "10.0.3.2")
	m, _ := newFakeNode(t, link, "10.0.3.3")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	recs := make(chan control.Record, 1<<12)
	ended := make(chan error, 1)
	go func() { ended <- n.Monitor(ctx, func(r control.Record) error { recs <- r; return nil }) }()
	nstest.Eventually(t, patience, func() bool { return monitorsOf(t, n) == 1 }, "the client")
	n.set("syncdev", "eth2")
	m.set("syncdev", "eth2")
	n.waitSync(control.SyncOK)
	f.kernel.news <- newUDP(1)
	seen := map[string]bool{}
	for !seen["out INS"] || !seen["in BUS"] {
		r := <-recs
		var rd syncproto.Reader
		if err := rd.Reset(r.Data); err != nil || r.TTL != 255 || r.Dst != syncdev.Group {
			t.Fatalf("record %+v: %v", r, err)
		}
		for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
			seen[r.Dir+" "+reg.Action.String()] = true
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	nstest.Eventually(t, patience, func() bool { return monitorsOf(t, n) == 0 }, "the client to be forgotten")
}

func monitorsOf(t *testing.T, n *node) (c int) {
	if err := n.loop.do(t.Context(), func() { c = len(n.loop.monitors.list) }); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMonitorLoses(t *testing.T) {
	var m monitors
	c := &monitor{recs: make(chan control.Record, 1)}
	m.add(c)
	for range 3 {
		m.publish(control.Record{Data: []byte{1}})
	}
	<-c.recs
	m.publish(control.Record{Data: []byte{1}})
	if r := <-c.recs; r.Lost != 2 {
		t.Errorf("lost %d, want 2", r.Lost)
	}
}

// TestStates: the walk hands out every state once, in steps.
func TestStates(t *testing.T) {
	n, f := newFakeNode(t, tuntest.NewLink(1500), "10.0.3.2")
	nstest.Eventually(t, patience, func() (ok bool) { f.kernel.set(func(k *fakeKernel) { ok = k.dumps == 1 }); return ok }, "the first dump")
	const many = 3*walkStep + 7
	for i := range many {
		f.kernel.news <- newUDP(i)
	}
	nstest.Eventually(t, patience, func() bool { return n.status().States.Total == many }, "states")
	seen, steps := map[control.HexID64]bool{}, 0
	err := n.States(t.Context(), control.StateQuery{}, func(states []control.State) error {
		steps++
		for _, s := range states {
			seen[s.ID] = true
			if s.Proto != pfstate.ProtoUDP || s.Origin != control.OriginLocal || !s.Carried || !s.Kernel || s.CreatorID != n.status().HostID {
				t.Fatalf("state %+v", s)
			}
		}
		return nil
	})
	if err != nil || len(seen) != many || steps != 4 {
		t.Errorf("%d states in %d steps, %v; want %d in 4", len(seen), steps, err, many)
	}
	stop := errors.New("client gone")
	if err := n.States(t.Context(), control.StateQuery{}, func([]control.State) error { return stop }); err != stop {
		t.Errorf("error of emit: %v", err)
	}
}

// TestNewErrors: a start that fails says why and leaves nothing behind.
func TestNewErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*Host)
		want error
	}{
		{"no nf_conntrack", func(h *Host) { h.NewInjector = func() (Injector, error) { return nil, conntrack.ErrNoConntrack } }, conntrack.ErrNoConntrack},
		{"no ctnetlink", func(h *Host) {
			h.Listen = func(conntrack.ListenConfig) (Listener, error) { return nil, conntrack.ErrNoNetlink }
		}, conntrack.ErrNoNetlink},
		{"no dumper", func(h *Host) { h.NewDumper = func() (Dumper, error) { return nil, conntrack.ErrPermission } }, conntrack.ErrPermission},
		{"second interface", func(h *Host) { h.Interfaces = func() ([]string, error) { return []string{"pfsync1"}, nil } }, ErrOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, h := newFakeHost(tuntest.NewLink(1500), "10.0.3.2")
			tc.set(&h)
			dir := t.TempDir()
			cfg := Config{Name: "pfsync0", Dirs: control.Dirs{Run: dir, State: dir, Etc: dir}, Log: testLog(t, "fw"), Host: h}
			if _, err := New(cfg); !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			_, cfg.Host = newFakeHost(tuntest.NewLink(1500), "10.0.3.2")
			d, err := New(cfg)
			if err != nil {
				t.Fatalf("second try: %v", err)
			}
			d.release()
		})
	}
}
