package daemon

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestJoin: a firewall with an empty table joins one with many connections,
// nothing set but the syncdev, and has them all and no other. What begins
// meanwhile does not wait until the transfer has ended.
func TestJoin(t *testing.T) {
	many := 10_000
	if os.Getenv("PFSYNC_FAULT_RATE") != "" { // as many as the kernel holds by default
		many = 250_000
	}
	top := nstest.NewTopology(t, nstest.Options{})
	old, young := newHost(t, top.FW[0]), newHost(t, top.FW[1])
	old.daemon()
	old.ctl("pfsync0", "syncdev", nstest.SyncDev)
	kernelFlows(t, top.FW[0], pfstate.OpCreate, many)

	defer func() {
		for _, h := range []*host{old, young} {
			if t.Failed() {
				status, _ := h.tryCtl("pfsync0")
				stats, _ := h.tryCtl("pfsync0", "stats", "-v")
				t.Log(status, stats)
			}
		}
	}()
	live := newArrivals(t, top)
	young.daemon()
	start := time.Now()
	young.ctl("pfsync0", "syncdev", nstest.SyncDev)
	stop := live.start()
	young.ctl("pfsync0", "wait", "--timeout", "300")
	synced := time.Since(start)
	stop()
	nstest.EventuallyNil(t, patience, func() error { return live.equal(t) }, "equal kernels")
	t.Logf("ROW | %s | %d states | in sync after %.1f s | missing 0 stale 0 after %.1f s", t.Name(), many, synced.Seconds(), time.Since(start).Seconds())
	lags := live.lags()
	slices.Sort(lags)
	if len(lags) == 0 {
		t.Fatal("nothing began meanwhile")
	}
	t.Logf("ROW | %d that began during the transfer | in the peer's kernel after %v as a rule, %v at most", len(lags), lags[len(lags)/2], lags[len(lags)-1])
}

// arrivals makes entries in one firewall's kernel and notes when the other's has
// them.
type arrivals struct {
	top *nstest.Topology
	inj *conntrack.Injector
	lis *conntrack.Listener

	mu    sync.Mutex
	made  map[uint16]time.Time     // by port; guarded by mu, as below
	after map[uint16]time.Duration // until it was there
}

const (
	liveEvery = 20 * time.Millisecond
	livePort  = 9 // that they go to, of no others
)

func newArrivals(t *testing.T, top *nstest.Topology) *arrivals {
	t.Helper()
	a := &arrivals{top: top, made: map[uint16]time.Time{}, after: map[uint16]time.Duration{}}
	a.inj = opened(t, top.FW[0], conntrack.NewInjector)
	a.lis = opened(t, top.FW[1], func() (*conntrack.Listener, error) {
		return conntrack.Listen(conntrack.ListenConfig{RcvBuf: 128 << 20})
	})
	t.Cleanup(func() { a.inj.Close(); a.lis.Close() })
	go a.listen()
	return a
}

func (a *arrivals) listen() {
	for evs := make([]pfstate.Event, 64); ; {
		n, err := a.lis.Read(evs)
		for i := range evs[:n] {
			a.event(&evs[i])
		}
		if err != nil {
			return
		}
	}
}

func (a *arrivals) event(ev *pfstate.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	port := ev.Flow.Orig.SrcPort
	if since, ok := a.made[port]; ok && ev.Kind == pfstate.EventNew && ev.Flow.Orig.DstPort == livePort {
		a.after[port] = time.Since(since)
	}
}

// start goes on making entries until the function it returns is called.
func (a *arrivals) start() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		for port := uint16(1); ; port++ {
			a.make(port)
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(end); <-ended }
}

func (a *arrivals) make(port uint16) {
	f := newUDP(int(port)).Flow
	f.Orig.DstPort = livePort
	f.Reply, f.Timeout = f.Orig.Inverse(f.Proto), 600
	a.mu.Lock()
	a.made[port] = time.Now()
	a.mu.Unlock()
	_, _ = a.inj.Do([]pfstate.Op{{Kind: pfstate.OpCreate, Flow: f}}, make([]pfstate.Result, 1)) // the kernels are compared
}

func (a *arrivals) lags() (out []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.after {
		out = append(out, d)
	}
	return out
}

// equal compares the kernels, and whether all that began is in them.
func (a *arrivals) equal(t *testing.T) error {
	t.Helper()
	there, here := udpFlows(t, a.top.FW[0]), udpFlows(t, a.top.FW[1])
	missing, stale := 0, 0
	for tup := range there {
		if !here[tup] {
			missing++
		}
	}
	for tup := range here {
		if !there[tup] {
			stale++
		}
	}
	if missing+stale > 0 {
		return fmt.Errorf("missing %d stale %d", missing, stale)
	}
	return nil
}

// udpFlows are the original tuples of UDP in a kernel, but for what a host says
// to itself.
func udpFlows(t *testing.T, ns *nstest.NS) map[pfstate.Tuple]bool {
	t.Helper()
	d := opened(t, ns, conntrack.NewDumper)
	defer d.Close()
	have := map[pfstate.Tuple]bool{}
	if err := d.Begin(conntrack.Filter{Proto: pfstate.ProtoUDP}); err != nil {
		t.Fatal(err)
	}
	for evs := make([]pfstate.Event, 512); ; {
		n, err := d.Read(evs)
		for i := range evs[:n] {
			if o := &evs[i].Flow.Orig; evs[i].Kind == pfstate.EventDump && o.Src[0] != 127 {
				have[*o] = true
			}
		}
		if err != nil {
			return have
		}
	}
}
