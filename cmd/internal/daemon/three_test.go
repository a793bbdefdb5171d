package daemon

import (
	"net"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestThree: what one of three tells reaches both others, and is told by nobody
// again.
func TestThree(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{Firewalls: 3})
	var nodes []*node
	for _, fw := range top.FW {
		n := newNode(t, fw, t.TempDir())
		n.set("syncdev", nstest.SyncDev)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.waitSync(control.SyncOK)
	}
	p := &pair{Topology: top}
	flows := append(p.tcpUDP(t), p.pings(t)...)
	for _, f := range flows {
		for _, n := range nodes {
			waitFlow(t, n.ns, true, f.family, f.words...)
		}
		top.FW[0].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
		for _, n := range nodes {
			waitFlow(t, n.ns, false, f.family, f.words...)
		}
	}
	for _, n := range nodes[1:] {
		for _, c := range n.stats().Out {
			switch c.Name {
			case "INS", "UPD", "UPD_C", "DEL", "DEL_C", "CLR":
				if c.Count > 0 {
					t.Errorf("%s sent %d %s", n.where, c.Count, c.Name)
				}
			}
		}
	}
}

// TestBothCarry: each firewall has connections of its own, and each other's.
// Then both daemons are restarted, one after the other, and nothing is missing.
func TestBothCarry(t *testing.T) {
	p := newPair(t, nstest.Options{})
	first := p.tcpUDP(t)
	for _, f := range first {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	p.Master(1)
	second := p.tcpUDP(t)
	all := append(first, second...)
	check := func() {
		t.Helper()
		for _, f := range all {
			for _, n := range p.n {
				waitFlow(t, n.ns, true, f.family, f.words...)
			}
		}
	}
	check()
	for i, n := range p.n {
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		p.n[i] = newNode(t, p.FW[i], n.dirs.Run)
		p.n[i].set("syncdev", nstest.SyncDev)
		p.n[i].waitSync(control.SyncOK)
		check()
	}
	for _, f := range all { // still one state for both: what one loses the other loses
		p.FW[0].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
		waitFlow(t, p.FW[1], false, f.family, f.words...)
	}
}

// TestRefusedPort keeps a connection that is refused from staying anywhere.
func TestRefusedPort(t *testing.T) {
	p := newPair(t, nstest.Options{})
	l := p.Server.Listen(t, "tcp4", nstest.ServerAddr+":0")
	addr := l.Addr().String()
	l.Close()
	if c, err := p.Client.TryDial("tcp4", "", addr); err == nil {
		c.Close()
		t.Fatal("nobody listens, but the connection was made")
	}
	_, port, _ := net.SplitHostPort(addr)
	for _, fw := range p.FW {
		waitFlow(t, fw, false, "ipv4", "tcp", "dport="+port)
	}
}
