package nstest_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

const within = 30 * time.Second

func netns(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestDo(t *testing.T) {
	bed := nstest.New(t)
	a, b := bed.NS("a"), bed.NS("b")
	if bed.NS("a") != a {
		t.Error("a second look for a namespace made another")
	}
	home := netns(t)
	a.Do(func() {
		inA := netns(t)
		if inA == home {
			t.Error("Do stayed at home")
		}
		b.Do(func() {
			if in := netns(t); in == home || in == inA {
				t.Errorf("nested Do in %s", in)
			}
		})
		if in := netns(t); in != inA {
			t.Errorf("nested Do returned to %s, want %s", in, inA)
		}
	})
	if in := netns(t); in != home {
		t.Errorf("Do returned to %s, want %s", in, home)
	}
}

func TestVeth(t *testing.T) {
	bed := nstest.New(t)
	a, b := bed.NS("a"), bed.NS("b")
	bed.Veth(a, "eth0", b, "eth1")
	a.Addr(t, "eth0", "10.9.0.1/24", "fd09::1/64")
	b.Addr(t, "eth1", "10.9.0.2/24", "fd09::2/64")
	for _, tt := range []struct{ network, addr string }{
		{"tcp", "10.9.0.2:0"}, {"udp", "10.9.0.2:0"}, {"tcp", "[fd09::2]:0"}, {"udp", "[fd09::2]:0"},
	} {
		t.Run(tt.network+tt.addr, func(t *testing.T) {
			c := a.Dial(t, tt.network, b.Echo(t, tt.network, tt.addr))
			if err := nstest.Ask(c, "ping", within); err != nil {
				t.Error(err)
			}
		})
	}
	a.Down(t, "eth0")
	nstest.Eventually(t, within, func() bool {
		return b.Interface(t, "eth1").Flags&net.FlagRunning == 0
	}, "loss of carrier")
}

func TestCmdAndProc(t *testing.T) {
	bed := nstest.New(t, "tcpdump", "ping")
	ns := bed.NS("a")
	out, err := ns.Cmd(t.Context(), "ip", "-o", "link").CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("interfaces of a new namespace: %v\n%s", err, out)
	}
	dump := ns.Tcpdump(t, "lo", "icmp")
	ns.Run(t, "ping", "-c", "1", "127.0.0.1")
	dump.WaitFor(t, within, "echo request")
	if _, err := ns.Try("ip", "link", "show", "nosuch"); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("Try of a failing program: %v", err)
	}
}

func TestTopology(t *testing.T) {
	for _, tt := range []struct {
		name string
		opt  nstest.Options
		seen string // source the server sees
	}{
		{"pair", nstest.Options{}, nstest.ClientAddr},
		{"pair with snat", nstest.Options{SNAT: true}, nstest.OutsideAddr},
		{"three", nstest.Options{Firewalls: 3}, nstest.ClientAddr},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := nstest.NewTopology(t, tt.opt)
			top.Bed.Need("conntrack", "ping")
			addr := top.Server.Echo(t, "tcp", nstest.ServerAddr+":0")
			addr6 := top.Server.Echo(t, "tcp", "["+nstest.ServerAddr6+"]:0")
			for i, fw := range top.FW {
				top.Master(i)
				events := fw.ConntrackEvents(t, "-p", "tcp")
				c := top.Client.Dial(t, "tcp", addr)
				if err := nstest.Ask(c, "hello", within); err != nil {
					t.Fatalf("through %s: %v", fw.Name(), err)
				}
				if err := nstest.Ask(top.Client.Dial(t, "tcp", addr6), "hello", within); err != nil {
					t.Fatalf("IPv6 through %s: %v", fw.Name(), err)
				}
				events.WaitFor(t, within, `\[NEW\].*dst=`+nstest.ServerAddr)
				entries := fw.Conntrack(t, "-p", "tcp", "-d", nstest.ServerAddr)
				if len(entries) != 1 || !strings.Contains(entries[0], "dst="+tt.seen+" ") {
					t.Errorf("entries of %s: %q", fw.Name(), entries)
				}
				fw.Run(t, "ping", "-c", "1", "-W", "10", top.SyncAddr((i+1)%len(top.FW)))
			}
		})
	}
}

// TestTopologyStrict shows that without pfsync a connection does not survive
// the move: that is what makes the topology a test of it.
func TestTopologyStrict(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{})
	c := top.Client.Dial(t, "tcp", top.Server.Echo(t, "tcp", nstest.ServerAddr+":0"))
	if err := nstest.Ask(c, "hello", within); err != nil {
		t.Fatal(err)
	}
	top.Kill(0)
	top.Master(1)
	c.Write([]byte("lost"))
	nstest.Eventually(t, within, func() bool { return top.Invalid(1) > 0 }, "an invalid packet at fw2")
	top.Revive(0)
	top.Master(0)
	if err := nstest.Ask(c, "back", within); err != nil {
		t.Errorf("after the return of fw1: %v", err)
	}
}
