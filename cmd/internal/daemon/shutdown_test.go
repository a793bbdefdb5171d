package daemon

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestShutdown: what is queued leaves, without a CLR; the interface, socket and
// sysctl are as before, the demotion 0, kernel entries stay, and no goroutine
// does.
func TestShutdown(t *testing.T) {
	p := newPair(t, nstest.Options{})
	if got := p.FW[0].ReadSysctl(t, "net/netfilter/nf_conntrack_tcp_be_liberal"); got != "1" {
		t.Errorf("be_liberal %s with a syncdev", got)
	}
	p.n[0].set("maxdelay", "1000")
	flows := p.tcpUDP(t)
	nstest.Eventually(t, patience, func() bool { return p.n[0].status().States.Total >= len(flows) }, "states")
	n := p.n[0]
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
		waitFlow(t, p.FW[0], true, f.family, f.words...)
	}
	for _, c := range p.n[1].stats().In {
		if c.Name == "CLR" && c.Count > 0 {
			t.Error("a CLR was sent")
		}
	}
	if _, err := p.FW[0].Try("ip", "link", "show", "pfsync0"); err == nil {
		t.Error("the interface is still there")
	}
	if _, err := os.Stat(n.dirs.Socket("pfsync0")); err == nil {
		t.Error("the socket is still there")
	}
	if got := n.demotionFile(); got != "0" {
		t.Errorf("demotion %s", got)
	}
	if got := p.FW[0].ReadSysctl(t, "net/netfilter/nf_conntrack_tcp_be_liberal"); got != "0" {
		t.Errorf("be_liberal %s afterwards", got)
	}
	if err := p.n[1].stop(); err != nil {
		t.Fatal(err)
	}
	noGoroutines(t)
}

// noGoroutines waits until nothing of this package runs but the tests.
func noGoroutines(t *testing.T) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		buf := make([]byte, 1<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "internal/daemon.") && !strings.Contains(g, "testing.tRunner") ||
				strings.Contains(g, "control.(*Server)") {
				return errorText(g)
			}
		}
		return nil
	}, "all goroutines to end")
}

// TestRestart: the second life has the first one's hostid, knows that the
// kernel's table is the same and that there was a peer, and claims its states.
func TestRestart(t *testing.T) {
	p := newPair(t, nstest.Options{})
	flows := p.tcpUDP(t)
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	n := p.n[0]
	id := n.status().HostID
	nstest.Eventually(t, patience, func() bool { return len(knownPeers(n.dirs.Peers("pfsync0"))) > 0 }, "file of peers")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	p.n[0] = newNode(t, p.FW[0], n.dirs.Run)
	n = p.n[0]
	var kept bool
	var known int
	if err := n.loop.do(t.Context(), func() { kept, known = n.loop.eng.Config().KernelKept, len(n.loop.known) }); err != nil {
		t.Fatal(err)
	}
	if !kept || known == 0 {
		t.Errorf("kernel kept %v, peers known %d; want both", kept, known)
	}
	n.set("syncdev", nstest.SyncDev)
	n.waitSync(control.SyncOK)
	if got := n.status().HostID; got != id {
		t.Errorf("hostid %v, was %v", got, id)
	}
	for _, f := range flows {
		waitFlow(t, p.FW[0], true, f.family, f.words...)
		waitFlow(t, p.FW[1], true, f.family, f.words...)
		p.FW[0].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
		waitFlow(t, p.FW[1], false, f.family, f.words...)
	}
}

// TestAlone: who hears nobody is master.
func TestAlone(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw1")
	bed.Veth(ns, "eth2", bed.NS("fw2"), "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	n := newNode(t, ns, t.TempDir())
	n.waitDemotion("0")
	n.set("syncdev", "eth2", "demotion", "200")
	n.waitDemotion("200")
	n.waitSync(control.SyncAlone)
	n.waitDemotion("0")
	n.set("-syncdev")
	n.waitSync(control.SyncAlone)
}
