package syncdev_test

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// watch keeps all that a running Watcher has reported.
type watch struct {
	t *testing.T

	mu  sync.Mutex
	all []syncdev.Status // guarded by mu
}

// startWatch runs a Watcher until the test ends, passing reports on to also.
func startWatch(t *testing.T, ns *nstest.NS, also func(syncdev.Status), devs ...string) *watch {
	t.Helper()
	w := &watch{t: t}
	var sw *syncdev.Watcher
	var err error
	ns.Do(func() { sw, err = syncdev.NewWatcher(devs...) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- sw.Run(ctx, func(s syncdev.Status) {
			if also != nil {
				also(s)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all = append(w.all, s)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		sw.Close()
	})
	return w
}

func (w *watch) reports() []syncdev.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// until waits until the last report is as cond wants it.
func (w *watch) until(what string, cond func(s syncdev.Status) bool) syncdev.Status {
	w.t.Helper()
	var last syncdev.Status
	nstest.Eventually(w.t, within, func() bool {
		all := w.reports()
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return cond(last)
	}, what)
	return last
}

func has(s syncdev.Status, addr string) bool {
	return slices.Contains(s.Local, netip.MustParseAddr(addr))
}

func TestWatchLink(t *testing.T) {
	bed := nstest.New(t)
	a, b := bed.NS("fw1"), bed.NS("fw2")
	w := startWatch(t, a, nil, "eth2")
	w.until("the first report", func(s syncdev.Status) bool {
		return s.Links[0] == syncdev.Link{} && has(s, "127.0.0.1")
	})
	cable(t, bed, a, b)
	s := w.until("the link", func(s syncdev.Status) bool {
		l := s.Links[0]
		return l.Present && l.Up && l.Admin && l.MTU == 1500 && l.Addr4 == netip.MustParseAddr("10.0.3.2") &&
			l.Addr6.IsLinkLocalUnicast() && has(s, "fd00:3::2") && has(s, "10.0.3.2")
	})
	if want := a.Interface(t, "eth2").Index; s.Links[0].Index != want {
		t.Errorf("index %d, want %d", s.Links[0].Index, want)
	}
	if got := lookup(t, a, "eth2"); got != s.Links[0] {
		t.Errorf("Lookup gives %+v, Watcher %+v", got, s.Links[0])
	}
	for _, step := range []struct {
		name string
		cmd  string
		ns   *nstest.NS
		want func(l syncdev.Link) bool
	}{
		{"mtu", "ip link set eth2 mtu 1400", a, func(l syncdev.Link) bool { return l.MTU == 1400 && l.Up }},
		{"carrier lost", "ip link set eth2 down", b, func(l syncdev.Link) bool { return l.Admin && !l.Up && l.Present }},
		{"carrier back", "ip link set eth2 up", b, func(l syncdev.Link) bool { return l.Up }},
		{"down", "ip link set eth2 down", a, func(l syncdev.Link) bool { return !l.Admin && !l.Up && l.Present }},
		{"up", "ip link set eth2 up", a, func(l syncdev.Link) bool { return l.Admin && l.Up }},
		{"second address", "ip addr add 10.0.3.9/24 dev eth2", a, func(l syncdev.Link) bool { return l.Addr4.String() == "10.0.3.2" }},
		{"primary deleted", "ip addr del 10.0.3.2/24 dev eth2", a, func(l syncdev.Link) bool { return !l.Addr4.IsValid() }},
		{"other address", "ip addr add 10.0.3.77/24 dev eth2", a, func(l syncdev.Link) bool { return l.Addr4.String() == "10.0.3.77" }},
		// Older kernels rename only what is down.
		{"down again", "ip link set eth2 down", a, func(l syncdev.Link) bool { return !l.Admin && l.Present }},
		{"renamed", "ip link set eth2 name other", a, func(l syncdev.Link) bool { return l == syncdev.Link{} }},
		{"renamed back", "ip link set other name eth2", a, func(l syncdev.Link) bool { return l.Present && !l.Up }},
		{"up again", "ip link set eth2 up", a, func(l syncdev.Link) bool { return l.Up }},
	} {
		step.ns.Run(t, strings.Fields(step.cmd)...)
		w.until(step.name, func(s syncdev.Status) bool { return step.want(s.Links[0]) })
	}
}

func TestWatchLocal(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw")
	w := startWatch(t, ns, nil, "eth2")
	for _, step := range []struct {
		name, cmd string
		addr      string
		want      bool
	}{
		{"added elsewhere", "ip addr add 192.0.2.1/32 dev lo", "192.0.2.1", true},
		{"ipv6 added", "ip addr add 2001:db8::1/128 dev lo nodad", "2001:db8::1", true},
		{"deleted", "ip addr del 192.0.2.1/32 dev lo", "192.0.2.1", false},
		{"point to point", "ip addr add 192.0.2.5 peer 192.0.2.6 dev lo", "192.0.2.5", true},
	} {
		ns.Run(t, strings.Fields(step.cmd)...)
		s := w.until(step.name, func(s syncdev.Status) bool { return has(s, step.addr) == step.want })
		if !slices.IsSortedFunc(s.Local, netip.Addr.Compare) || has(s, "192.0.2.6") {
			t.Errorf("%s: %v", step.name, s.Local)
		}
	}
}

// TestWatchPseudo watches the pseudo-device beside the syncdev.
func TestWatchPseudo(t *testing.T) {
	a, _ := pair(t)
	w := startWatch(t, a, nil, "eth2", "pfsync0")
	w.until("absence", func(s syncdev.Status) bool { return s.Links[0].Present && !s.Links[1].Present })
	var dev *tunif.Device
	var err error
	a.Do(func() { dev, err = tunif.Create("pfsync0", 1500) })
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	w.until("creation", func(s syncdev.Status) bool { return s.Links[1].Up && s.Links[1].Index == dev.Index() })
	a.Down(t, "pfsync0")
	w.until("down from outside", func(s syncdev.Status) bool { return s.Links[1].Present && !s.Links[1].Admin })
	a.Up(t, "pfsync0")
	w.until("up from outside", func(s syncdev.Status) bool { return s.Links[1].Up })
	a.Run(t, "ip", "link", "delete", "pfsync0")
	w.until("deletion from outside", func(s syncdev.Status) bool { return !s.Links[1].Present && s.Links[0].Present })
}

// TestWatchBridgePort is about messages that look like the end of an interface
// and are only the end of its membership in a bridge.
func TestWatchBridgePort(t *testing.T) {
	a, _ := pair(t)
	a.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	w := startWatch(t, a, nil, "eth2")
	before := w.until("the link", func(s syncdev.Status) bool { return s.Links[0].Up }).Links[0]
	a.Run(t, "ip", "link", "set", "eth2", "master", "br0")
	a.Run(t, "ip", "link", "set", "eth2", "nomaster")
	a.Run(t, "ip", "link", "set", "eth2", "mtu", "1234")
	after := w.until("the MTU", func(s syncdev.Status) bool { return s.Links[0].MTU == 1234 }).Links[0]
	if after.Epoch != before.Epoch || after.Index != before.Index {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for _, s := range w.reports() {
		if !s.Links[0].Present {
			t.Error("the interface was reported absent")
		}
	}
}

// TestReturn deletes the interface and makes it anew under the same name, once
// with another index and once with the same: the group is joined again, and the
// sender bound again, by nothing but the reports.
func TestReturn(t *testing.T) {
	for _, peer := range []string{"", "ff12::f0"} {
		t.Run("peer "+strconv.Quote(peer), func(t *testing.T) {
			bed := nstest.New(t)
			a, b := bed.NS("fw1"), bed.NS("fw2")
			if peer != "" && !a.HasIPv6() {
				t.Skip("kernel without IPv6")
			}
			cable(t, bed, a, b)
			if peer != "" {
				linkLocal(t, a)
				linkLocal(t, b)
			}
			ca, cb := open(t, a, peer), open(t, b, peer)
			follow := func(c *syncdev.Conn) func(syncdev.Status) {
				return func(s syncdev.Status) {
					if err := c.SetLink(s.Links[0]); err != nil {
						t.Log(err) // gone again since; the next report tells
					}
				}
			}
			wa, wb := startWatch(t, a, follow(ca), "eth2"), startWatch(t, b, follow(cb), "eth2")
			ra, rb := receive(ca), receive(cb)
			both := func(text string) {
				t.Helper()
				exchange(t, ca, rb, "a "+text)
				exchange(t, cb, ra, "b "+text)
			}
			both("first")
			first := a.Interface(t, "eth2").Index
			for _, index := range []int{first + 100, first + 100} {
				was := wa.until("the link", func(s syncdev.Status) bool { return s.Links[0].Up }).Links[0]
				a.Run(t, "ip", "link", "delete", "eth2")
				wa.until("absence", func(s syncdev.Status) bool { return !s.Links[0].Present })
				wb.until("absence", func(s syncdev.Status) bool { return !s.Links[0].Present })
				a.Run(t, "ip", "link", "add", "eth2", "index", strconv.Itoa(index), "type", "veth",
					"peer", "name", "eth2", "index", strconv.Itoa(index), "netns", b.Path())
				a.Addr(t, "eth2", "10.0.3.2/24")
				b.Addr(t, "eth2", "10.0.3.3/24")
				a.Up(t, "eth2")
				b.Up(t, "eth2")
				up := func(s syncdev.Status) bool {
					l := s.Links[0]
					return l.Up && l.Addr4.IsValid() && l.Addr6.IsValid() && l.Index == index
				}
				is := wa.until("return", up).Links[0]
				wb.until("return", up)
				if is.Epoch == was.Epoch {
					t.Errorf("epoch is still %d", is.Epoch)
				}
				both("after return")
			}
		})
	}
}

// exchange sends until the frame is there: an IPv6 source may need a moment
// after the link is up.
func exchange(t *testing.T, from *syncdev.Conn, to <-chan got, text string) {
	t.Helper()
	nstest.EventuallyNil(t, within, func() error {
		if _, err := from.WriteBatch([][]byte{[]byte(text)}); err != nil {
			return err
		}
		return nil
	}, "send "+text)
	deadline := time.After(within)
	for {
		select {
		case g := <-to:
			if g.data == text {
				return
			}
		case <-deadline:
			t.Fatalf("%q not received", text)
		}
	}
}

// TestWatchOverrun makes more events than the buffer holds while the Watcher is
// busy reporting: the last report is true all the same.
func TestWatchOverrun(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	hold, release := make(chan struct{}), make(chan struct{})
	first := true
	w := startWatch(t, ns, func(syncdev.Status) {
		if first {
			first = false
			close(hold)
			<-release
		}
	}, "lo")
	<-hold
	var batch strings.Builder
	for i := range 20000 {
		mtu := 60000 + i%2
		batch.WriteString("link set lo mtu " + strconv.Itoa(mtu) + "\n")
	}
	batch.WriteString("link set lo mtu 50000\naddr add 192.0.2.1/32 dev lo\n")
	cmd := ns.Cmd(t.Context(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	close(release)
	s := w.until("the truth", func(s syncdev.Status) bool { return s.Links[0].MTU == 50000 && has(s, "192.0.2.1") })
	if s.Links[0].Epoch == 0 {
		t.Error("no overrun happened")
	}
}

func TestWatchEndsByClose(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	var w *syncdev.Watcher
	var err error
	ns.Do(func() { w, err = syncdev.NewWatcher("lo") })
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- w.Run(t.Context(), func(syncdev.Status) { close(started) })
	}()
	<-started
	w.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(within):
		t.Fatal("Run goes on")
	}
}
