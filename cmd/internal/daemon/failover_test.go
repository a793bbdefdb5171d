package daemon

import (
	"net"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestFailover: under rules that drop what is invalid, connections with source
// translation go on through the second firewall when the first is cut off, and
// through the first again when it is back.
func TestFailover(t *testing.T) {
	p := newPair(t, nstest.Options{SNAT: true})
	conns := p.longConns(t)
	say := func(where string) {
		t.Helper()
		for network, c := range conns {
			start := time.Now()
			if err := nstest.Ask(c, "still there", patience); err != nil {
				t.Fatalf("%s %s: %v", network, where, err)
			}
			t.Logf("%s %s: answer after %v", network, where, time.Since(start))
		}
	}
	say("through the first")
	for _, n := range p.n {
		p.settled(t, n)
	}

	p.Kill(0)
	p.Master(1)
	say("through the second")
	p.n[1].waitDemotion("1")

	p.Revive(0)
	for _, n := range p.n {
		n.waitSync(control.SyncOK)
		n.waitDemotion("0")
	}
	p.Master(0)
	say("through the first again")
	p.Master(1)
	say("through the second again")
}

// longConns opens a connection of each kind; source translation makes the
// ports on the two sides of the firewall belong together.
func (p *pair) longConns(t *testing.T) map[string]net.Conn {
	conns := map[string]net.Conn{}
	for network, addr := range map[string]string{
		"tcp4": nstest.ServerAddr, "udp4": nstest.ServerAddr, "tcp6": nstest.ServerAddr6, "udp6": nstest.ServerAddr6,
	} {
		to := p.Server.Echo(t, network, net.JoinHostPort(addr, "0"))
		conns[network] = p.Client.Dial(t, network, to)
		if err := nstest.Ask(conns[network], "hello", patience); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// settled waits until a kernel has the four connections.
func (p *pair) settled(t *testing.T, n *node) {
	t.Helper()
	nstest.Eventually(t, patience, func() bool { return n.status().States.Total >= 4 }, "four states")
	for family, protos := range map[string][]string{"ipv4": {"tcp", "udp"}, "ipv6": {"tcp", "udp"}} {
		for _, proto := range protos {
			waitFlow(t, n.ns, true, family, proto)
		}
	}
}
