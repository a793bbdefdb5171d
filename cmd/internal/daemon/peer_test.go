package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// TestSyncpeer: frames go to one address, or to the IPv6 group, and are heard.
func TestSyncpeer(t *testing.T) {
	p := newPair(t, nstest.Options{})
	for _, tc := range []struct {
		name string
		peer [2]string
		six  bool
	}{
		{"IPv4", [2]string{p.SyncAddr(1), p.SyncAddr(0)}, false},
		{"IPv6", [2]string{p.linkLocal(t, 1), p.linkLocal(t, 0)}, true},
		{"IPv6 with its scope", [2]string{p.linkLocal(t, 1) + "%" + nstest.SyncDev, p.linkLocal(t, 0) + "%" + nstest.SyncDev}, true},
		{"IPv6 group", [2]string{"ff12::f0", "ff12::f0"}, true},
		{"IPv4 group", [2]string{"224.0.0.240", "224.0.0.240"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, n := range p.n {
				n.set("syncpeer", tc.peer[i])
			}
			for _, n := range p.n {
				n.waitSync(control.SyncOK)
			}
			before := p.n[1].stats().Counters
			for _, f := range p.tcpUDP(t) {
				waitFlow(t, p.FW[1], true, f.family, f.words...)
			}
			after := p.n[1].stats().Counters
			if six := after.IPackets6 > before.IPackets6; six != tc.six {
				t.Errorf("counters before %+v, after %+v", before, after)
			}
		})
	}
}

// linkLocal is the address that a firewall sends from over IPv6.
func (p *pair) linkLocal(t *testing.T, i int) string {
	t.Helper()
	var addr string
	nstest.Eventually(t, patience, func() bool {
		out := p.FW[i].Run(t, "ip", "-6", "-o", "addr", "show", "dev", nstest.SyncDev, "scope", "link")
		if f := strings.Fields(out); len(f) > 3 {
			addr, _, _ = strings.Cut(f[3], "/")
		}
		return addr != ""
	}, "link-local address")
	return addr
}

// TestBadSource: with a syncpeer set nobody else is heard.
func TestBadSource(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	n.set("syncpeer", p.SyncAddr(1))
	p.n[1].set("syncpeer", p.SyncAddr(0))
	n.waitSync(control.SyncOK)
	p.FW[1].Addr(t, nstest.SyncDev, "10.0.3.77/24")
	p.FW[1].Run(t, "ip", "route", "add", p.SyncAddr(0)+"/32", "dev", nstest.SyncDev, "src", "10.0.3.77")
	newRawSender(t, p.FW[1], nstest.SyncDev, 255).send(p.SyncAddr(0), []byte("from elsewhere"))
	nstest.Eventually(t, patience, func() bool { return n.stats().Reasons["badsrc"] > 0 }, "badsrc")
	if len(n.status().Peers) != 1 {
		t.Errorf("peers %+v", n.status().Peers)
	}
}

// TestLocal: connections of the firewall itself stay with it, until -nosync
// local says otherwise.
func TestLocal(t *testing.T) {
	p := newPair(t, nstest.Options{})
	own := func() string {
		to := p.FW[0].Echo(t, "udp4", "10.0.1.2:0")
		c := p.Client.Dial(t, "udp4", to)
		if err := nstest.Ask(c, "hello", patience); err != nil {
			t.Fatal(err)
		}
		return "sport=" + to[strings.LastIndex(to, ":")+1:]
	}
	port := own()
	for _, f := range p.tcpUDP(t) { // later, and so behind it in the queue
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	waitFlow(t, p.FW[0], true, "ipv4", port)
	if lines := p.FW[1].Conntrack(t, "-p", "udp"); containsAll(strings.Join(lines, " "), []string{port}) {
		t.Errorf("%s at the peer:\n%s", port, strings.Join(lines, "\n"))
	}
	for _, n := range p.n {
		n.set("-nosync", "local")
	}
	waitFlow(t, p.FW[1], true, "ipv4", own())
}

// TestShown: without a syncdev the changes are still to be seen on pfsync0.
func TestShown(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{})
	n := newNode(t, top.FW[0], t.TempDir())
	n.set("up")
	dump := top.FW[0].Tcpdump(t, "pfsync0", "-x")
	p := &pair{Topology: top}
	p.tcpUDP(t)
	nstest.EventuallyNil(t, patience, func() error { return hasActions(dump.Lines(), syncproto.ActIns) }, "INS in tcpdump")
	dump.WaitFor(t, patience, `IP 0\.0\.0\.0 > 224\.0\.0\.240:  ip-proto-240 `)
	if st := n.status().Sync.State; st != control.SyncAlone {
		t.Errorf("sync %s", st)
	}
}

// TestClash: a cloned machine is named, and a new hostid makes peace and lasts.
func TestClash(t *testing.T) {
	link := tuntest.NewLink(1500)
	a, _ := newFakeNode(t, link, "10.0.3.2")
	b, _ := newFakeNode(t, link, "10.0.3.3")
	for _, n := range []*node{a, b} {
		n.set("hostid", "7f3a9c01")
		n.set("syncdev", "eth2")
	}
	a.waitSync(control.SyncClash)
	if got := a.status().Sync.String(); got != "hostid clash with 10.0.3.3" {
		t.Errorf("status %q", got)
	}
	a.set("hostid", "random")
	a.waitSync(control.SyncOK)
	b.waitSync(control.SyncOK)
	kept, err := readHostID(a.dirs.HostID("pfsync0"))
	if st := a.status(); err != nil || kept != uint32(st.HostID) || kept == 0x7f3a9c01 {
		t.Errorf("kept %08x, %v; in force %v", kept, err, st.HostID)
	}
}

// TestPeers: what is told of a peer.
func TestPeers(t *testing.T) {
	link := tuntest.NewLink(1500)
	a, _ := newFakeNode(t, link, "10.0.3.2")
	b, f := newFakeNode(t, link, "10.0.3.3")
	a.set("syncdev", "eth2")
	b.set("syncdev", "eth2")
	a.waitSync(control.SyncOK)
	for i := range 10 {
		f.kernel.news <- newUDP(i)
	}
	nstest.EventuallyNil(t, patience, func() error {
		peers, err := a.Peers(t.Context())
		if err != nil || len(peers) != 1 {
			return fmt.Errorf("%d peers, %w", len(peers), err)
		}
		p := peers[0]
		if p.Addr.String() != "10.0.3.3" || !p.Linux || !p.Alive || p.Version != 6 || p.Mismatch || p.Table != 10 || p.States != 10 ||
			len(p.CreatorIDs) != 1 || p.CreatorIDs[0] != b.status().HostID {
			return fmt.Errorf("%+v", p)
		}
		return nil
	}, "the peer and its ten states")
	err := a.States(t.Context(), control.StateQuery{}, func(states []control.State) error {
		for _, s := range states {
			if s.Origin != control.OriginPeer || s.From != "10.0.3.3" || s.Carried || s.Proto != pfstate.ProtoUDP {
				t.Errorf("state %+v", s)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFlush: what was synchronised is gone on both sides, with one CLR.
func TestFlush(t *testing.T) {
	p := newPair(t, nstest.Options{})
	flows := p.tcpUDP(t)
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	r, err := p.n[0].Flush(t.Context())
	if err != nil || r.States < len(flows) {
		t.Errorf("flushed %+v, %v", r, err)
	}
	for _, f := range flows {
		for _, n := range p.n {
			waitFlow(t, n.ns, false, f.family, f.words...)
		}
	}
	for _, c := range p.n[0].stats().Out {
		if c.Name == "CLR" && c.Count != 1 {
			t.Errorf("%d CLR sent", c.Count)
		}
	}
}

// TestBulk: asking again is possible with a syncdev that has a link.
func TestBulk(t *testing.T) {
	link := tuntest.NewLink(1500)
	a, _ := newFakeNode(t, link, "10.0.3.2")
	if err := a.Bulk(t.Context()); err == nil || !strings.Contains(err.Error(), "no syncdev") {
		t.Errorf("without a syncdev: %v", err)
	}
	b, f := newFakeNode(t, link, "10.0.3.3")
	a.set("syncdev", "eth2")
	b.set("syncdev", "eth2")
	a.waitSync(control.SyncOK)
	b.waitSync(control.SyncOK)
	f.kernel.news <- newUDP(1)
	nstest.Eventually(t, patience, func() bool { return a.status().States.Total == 1 }, "the state")
	before := count(b.stats().Out, "BUS")
	if err := a.Bulk(t.Context()); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, func() bool { return count(b.stats().Out, "BUS") >= before+2 }, "a transfer")
	a.waitSync(control.SyncOK)
}

func count(cs []control.Count, name string) uint64 {
	for _, c := range cs {
		if c.Name == name {
			return c.Count
		}
	}
	return 0
}
