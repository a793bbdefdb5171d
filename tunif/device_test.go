package tunif_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/nstest"
)

const within = 30 * time.Second

// create makes a device in the namespace; it is closed with the test.
func create(t *testing.T, ns *nstest.NS, name string, mtu int) *tunif.Device {
	t.Helper()
	var d *tunif.Device
	var err error
	ns.Do(func() { d, err = tunif.Create(name, mtu) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// frame is a packet with a payload of n bytes.
func frame(src string, n int) []byte {
	var from netip.Addr
	if src != "" {
		from = netip.MustParseAddr(src)
	}
	pkt := make([]byte, tunif.HeaderLen+n)
	tunif.PutHeader(pkt, from, 1)
	return pkt
}

func TestCreate(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	d := create(t, ns, "pfsync0", 1400)
	ifi := ns.Interface(t, "pfsync0")
	if ifi.MTU != 1400 || d.MTU() != 1400 || ifi.Index != d.Index() || d.Name() != "pfsync0" {
		t.Errorf("device %+v, want MTU 1400 and index %d", ifi, d.Index())
	}
	if ifi.Flags&net.FlagUp == 0 {
		t.Error("device is not up")
	}
	if out := ns.Run(t, "ip", "-o", "addr", "show", "dev", "pfsync0"); strings.Contains(out, "inet") {
		t.Errorf("device has an address: %s", out)
	}
	if ns.HasIPv6() && ns.ReadSysctl(t, "net/ipv6/conf/pfsync0/disable_ipv6") != "1" {
		t.Error("IPv6 is not disabled")
	}
	if n := d.Drained(); n != 0 {
		t.Errorf("the kernel sent %d packets into it", n)
	}
}

func TestSet(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	d := create(t, ns, "pfsync7", 1500)
	if err := d.SetMTU(9000); err != nil || ns.Interface(t, "pfsync7").MTU != 9000 {
		t.Errorf("SetMTU: %v, MTU %d", err, ns.Interface(t, "pfsync7").MTU)
	}
	if err := d.SetMTU(10); err == nil || d.MTU() != 9000 {
		t.Errorf("SetMTU(10): %v, MTU %d", err, d.MTU())
	}
	for _, alias := range []string{"pfsync: syncdev: eth2", ""} {
		if err := d.SetAlias(alias); err != nil {
			t.Error(err)
		}
		out := ns.Run(t, "ip", "link", "show", "dev", "pfsync7")
		if strings.Contains(out, "alias") != (alias != "") || !strings.Contains(out, alias) {
			t.Errorf("alias %q: %s", alias, out)
		}
	}
	if err := d.SetUp(false); err != nil || ns.Interface(t, "pfsync7").Flags&net.FlagUp != 0 {
		t.Errorf("SetUp(false): %v", err)
	}
	if _, err := d.Write(frame("", 4)); !errors.Is(err, tunif.ErrDown) {
		t.Errorf("write while down: %v", err)
	}
	if err := d.SetUp(true); err != nil {
		t.Error(err)
	}
	if _, err := d.Write(frame("", 4)); err != nil {
		t.Errorf("write while up again: %v", err)
	}
}

func TestCreateErrors(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	create(t, ns, "pfsync0", 1500)
	ns.Run(t, "ip", "tuntap", "add", "dev", "pfsync1", "mode", "tun")
	for _, tt := range []struct {
		name, dev string
		mtu       int
		want      error
		text      string
	}{
		{"no pfsync", "tun0", 1500, tunif.ErrName, "pfsync[0-9]+"},
		{"ours", "pfsync0", 1500, tunif.ErrBusy, "ip link delete pfsync0"},
		{"persistent of another", "pfsync1", 1500, tunif.ErrBusy, "ip link delete pfsync1"},
		{"mtu", "pfsync2", 1, nil, "mtu"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			ns.Do(func() { _, err = tunif.Create(tt.dev, tt.mtu) })
			var op *tunif.OpError
			if !errors.As(err, &op) || op.Dev != tt.dev || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if out := ns.Run(t, "ip", "-o", "link"); strings.Contains(out, "pfsync2") {
		t.Errorf("a failed Create left its interface:\n%s", out)
	}
}

func TestCloseOnExec(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	create(t, ns, "pfsync0", 1500)
	out, err := ns.Cmd(t.Context(), "ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "/dev/net/tun") {
		t.Errorf("a child has the device open:\n%s", out)
	}
}

func TestRunEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, ns *nstest.NS, d *tunif.Device, cancel func())
		want error
	}{
		{"by context", func(_ *testing.T, _ *nstest.NS, _ *tunif.Device, cancel func()) { cancel() }, nil},
		{"by close", func(_ *testing.T, _ *nstest.NS, d *tunif.Device, _ func()) { d.Close() }, nil},
		{"by deletion", func(t *testing.T, ns *nstest.NS, _ *tunif.Device, _ func()) {
			ns.Run(t, "ip", "link", "delete", "pfsync0")
		}, tunif.ErrGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := nstest.New(t).NS("fw")
			d := create(t, ns, "pfsync0", 1500)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- d.Run(ctx) }()
			// What the host routes into the device shows that Run reads.
			ns.Run(t, "ip", "addr", "add", "10.8.0.1/24", "dev", "pfsync0")
			c := ns.Dial(t, "udp", "10.8.0.2:9")
			c.Write([]byte("lost"))
			nstest.Eventually(t, within, func() bool { return d.Drained() > 0 }, "a drained packet")
			tt.end(t, ns, d, cancel)
			select {
			case err := <-done:
				if !errors.Is(err, tt.want) {
					t.Errorf("Run: %v, want %v", err, tt.want)
				}
			case <-time.After(within):
				t.Fatal("Run goes on")
			}
			cancel()
		})
	}
}

func TestAfterEnd(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	d := create(t, ns, "pfsync0", 1500)
	ns.Run(t, "ip", "link", "delete", "pfsync0")
	if _, err := d.Write(frame("", 4)); !errors.Is(err, tunif.ErrGone) {
		t.Errorf("write after deletion: %v", err)
	}
	if err := d.SetMTU(1400); !errors.Is(err, tunif.ErrGone) {
		t.Errorf("SetMTU after deletion: %v", err)
	}
	d.Close()
	if _, err := d.Write(frame("", 4)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := d.SetUp(false); !errors.Is(err, os.ErrClosed) {
		t.Errorf("SetUp after close: %v", err)
	}
}

func TestWriteAllocs(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	d := create(t, ns, "pfsync0", 1500)
	pkt := frame("10.0.3.2", 1400)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Write(pkt); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
