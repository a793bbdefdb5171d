package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestUnplug takes the syncdev away, by its carrier and then altogether, and
// gives it back: what happened meanwhile is told then.
func TestUnplug(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	n.waitDemotion("0")

	p.FW[1].Down(t, nstest.SyncDev)
	n.waitSync(control.SyncLinkDown)
	n.waitDemotion("1")
	if n.status().Running {
		t.Error("running without carrier")
	}
	during := p.tcpUDP(t)
	p.FW[1].Up(t, nstest.SyncDev)
	p.checkBack(t, during)

	p.FW[0].Run(t, "ip", "link", "delete", nstest.SyncDev) // and its other end
	for _, n := range p.n {
		n.waitSync(control.SyncLinkDown)
	}
	during = p.tcpUDP(t)
	p.Bed.Veth(p.FW[0], nstest.SyncDev, p.FW[1], nstest.SyncDev)
	for i, fw := range p.FW {
		fw.Addr(t, nstest.SyncDev, p.SyncAddr(i)+"/24")
	}
	p.checkBack(t, during)

	p.FW[0].Run(t, "ip", "addr", "flush", "dev", nstest.SyncDev)
	n.waitSync(control.SyncLinkDown)
	p.FW[0].Addr(t, nstest.SyncDev, p.SyncAddr(0)+"/24")
	p.checkBack(t, nil)
}

// checkBack waits until both are in sync again and the other kernel has what
// it missed.
func (p *pair) checkBack(t *testing.T, during []flow) {
	t.Helper()
	for _, n := range p.n {
		n.waitSync(control.SyncOK)
		n.waitDemotion("0")
	}
	for _, f := range during {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	for _, f := range p.tcpUDP(t) {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
}

// TestMTU: the interface follows the syncdev, and frames fit.
func TestMTU(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	p.FW[0].Run(t, "ip", "link", "set", nstest.SyncDev, "mtu", "1200")
	nstest.Eventually(t, patience, func() bool {
		return n.status().MTU == 1200 && p.FW[0].Interface(t, "pfsync0").MTU == 1200
	}, "mtu 1200")
	err := n.try("mtu", "1300")
	if err == nil || !strings.Contains(err.Error(), "mtu 1300: too large") {
		t.Errorf("mtu beyond the syncdev's: %v", err)
	}
	n.set("mtu", "900")
	if got := p.FW[0].Interface(t, "pfsync0").MTU; got != 900 || n.status().MTU != 900 {
		t.Errorf("mtu %d, status %d", got, n.status().MTU)
	}
	for _, f := range p.tcpUDP(t) {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
}

// TestDownFromOutside: ip link set pfsync0 down is the word down.
func TestDownFromOutside(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	p.FW[0].Down(t, "pfsync0")
	nstest.Eventually(t, patience, func() bool { return !n.status().Up }, "down")
	n.waitDemotion("0")
	flows := p.tcpUDP(t)
	nstest.Eventually(t, patience, func() bool { return !p.n[1].status().Peers[0].Alive }, "silence")
	p.FW[0].Up(t, "pfsync0")
	nstest.Eventually(t, patience, func() bool { return n.status().Up }, "up")
	n.waitSync(control.SyncOK)
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
}

// TestDeletedFromOutside: the daemon ends and says why.
func TestDeletedFromOutside(t *testing.T) {
	ns := nstest.New(t).NS("fw1")
	n := newNode(t, ns, t.TempDir())
	ns.Run(t, "ip", "link", "delete", "pfsync0")
	if err := n.wait(); !errors.Is(err, ErrDeleted) || !strings.Contains(err.Error(), "pfsync0") {
		t.Errorf("ended with %v", err)
	}
}

// TestConfigureErrors: a change that cannot be made changes nothing.
func TestConfigureErrors(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw1")
	bed.Veth(ns, "eth2", bed.NS("fw2"), "eth2")
	ns.Run(t, "ip", "link", "add", "bare", "type", "veth", "peer", "name", "bare1")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	n := newNode(t, ns, t.TempDir())
	n.set("syncdev", "eth2", "maxupd", "64")
	for _, tc := range []struct {
		name  string
		words []string
		want  string
	}{
		{"no such device", []string{"maxupd", "1", "syncdev", "eth9"}, "syncdev eth9: no such device; see ip link for those there are"},
		{"no address", []string{"syncdev", "bare"}, "syncdev bare: no address on it; ip addr add"},
		{"peer's family", []string{"syncdev", "bare", "syncpeer", "ff12::f0", "up", "mtu", "9000"}, "mtu 9000: too large"},
		{"value", []string{"maxupd", "256"}, "maxupd 256: too large"},
		{"label", []string{"nosync", "label no-such-label"}, "nosync label no-such-label"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := n.status().Config
			err := n.try(tc.words...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if !n.status().Config.Equal(before) {
				t.Errorf("configuration changed to %+v", n.status().Config)
			}
		})
	}
}

// TestWaitForSyncdev: at boot a syncdev that is not there is waited for.
func TestWaitForSyncdev(t *testing.T) {
	bed := nstest.New(t)
	a, b := bed.NS("fw1"), bed.NS("fw2")
	n := newNode(t, a, t.TempDir())
	set, err := control.ParseWords([]string{"syncdev", "eth2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Configure(t.Context(), control.Change{Set: set, Wait: true}); err != nil {
		t.Fatal(err)
	}
	n.waitSync(control.SyncLinkDown)
	n.waitDemotion("240")
	bed.Veth(a, "eth2", b, "eth2")
	a.Addr(t, "eth2", "10.0.3.2/24")
	b.Addr(t, "eth2", "10.0.3.3/24")
	m := newNode(t, b, t.TempDir())
	m.set("syncdev", "eth2")
	n.waitSync(control.SyncOK)
	m.waitSync(control.SyncOK)
}
