package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// without starts a daemon that does not find some programs.
func (h *host) without(programs string) {
	h.t.Helper()
	hide := "for p in " + programs + `; do
		for d in /usr/sbin /sbin /usr/bin /usr/local/sbin; do [ ! -e $d/$p ] || mount --bind /dev/null $d/$p; done; done; exec "$@"`
	h.Start(h.t, "msg=ready", append([]string{"unshare", "--mount", "--propagation", "private", "--", "sh", "-c", hide, "sh"}, h.pfsyncd("-f")...)...)
}

// TestDeferNoPrograms: without nft and iptables the word says what is missing,
// and nothing has changed.
func TestDeferNoPrograms(t *testing.T) {
	ns := nstest.New(t, "unshare").NS("fw1")
	h := newHost(t, ns)
	h.without("nft iptables-restore ip6tables-restore")
	ctl := h.env(filepath.Join(binDir, "pfsyncctl"), "pfsync0")
	h.fails(1, "pfsyncctl: pfsync0: defer: install rules: neither nft nor iptables can send packets to a queue", append(ctl, "maxupd", "7", "defer")...)
	if out := h.ctl("pfsync0", "dump"); strings.Contains(out, "defer") || strings.Contains(out, "maxupd") {
		t.Errorf("refused, and set: %q", out)
	}
	if left := ns.ReadFile(t, "/proc/thread-self/net/netfilter/nfnetlink_queue"); left != "" {
		t.Errorf("the queue is still there: %s", left)
	}
}

// TestDeferNoNft: where nft is missing iptables does it, and undoes it.
func TestDeferNoNft(t *testing.T) {
	ns := nstest.New(t, "unshare", "iptables").NS("fw1")
	h := newHost(t, ns)
	h.without("nft")
	n := &node{t: t, ns: ns, where: "fw1"}
	h.ctl("pfsync0", "defer")
	if r := n.rules(); !strings.Contains(strings.Join(r, "\n"), "NFQUEUE") {
		t.Errorf("rules %q", r)
	}
	h.ctl("pfsync0", "-defer")
	if r := n.rules(); r != nil {
		t.Errorf("left by -defer: %q", r)
	}
}

// TestDeferDropped: a ruleset that lets nothing of pfsync out, or in, costs each
// connection no more than the delay, and none is lost.
func TestDeferDropped(t *testing.T) {
	for _, hook := range []string{"output", "input"} {
		t.Run(hook, func(t *testing.T) {
			p := newPair(t, nstest.Options{})
			to := p.servers(t)
			p.n[0].set("defer")
			p.FW[0].Nft(t, "table inet no240 { chain c { type filter hook "+hook+" priority 0; meta l4proto 240 drop; }; }")
			for _, network := range []string{"tcp4", "udp4"} {
				if r := p.many(network, to[network], 10, 1, anyway, func() {}); r.lost > 0 {
					t.Errorf("%s: %v", network, r)
				}
			}
			if own := p.n[0].deferred(); own["deferacked"] > 0 || own["defertimeout"]+own["deferpassed"] == 0 {
				t.Error("acknowledged by nobody")
			}
		})
	}
}

// TestDeferKilledHolding: a daemon is killed while it holds packets. The kernel
// drops them, TCP says them again and they pass; the next daemon takes out the
// rules.
func TestDeferKilledHolding(t *testing.T) {
	p := &pair{Topology: nstest.NewTopology(t, nstest.Options{})}
	to := p.servers(t)
	a, b := newHost(t, p.FW[0]), newHost(t, p.FW[1])
	first, peer := a.daemon(), b.daemon()
	for _, h := range []*host{a, b} {
		h.ctl("pfsync0", "syncdev", nstest.SyncDev, "deferdelay", "1000", "defer")
	}
	a.ctl("pfsync0", "wait", "--timeout", "60")
	b.ctl("pfsync0", "wait", "--timeout", "60")

	// A peer that was heard a moment ago and does not acknowledge.
	if err := syscall.Kill(peer.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	begin := time.Now()
	go func() {
		c, err := p.Client.TryDial("tcp4", "", to["tcp4"])
		if err == nil {
			err = nstest.Ask(c, "said again", patience)
			c.Close()
		}
		done <- err
	}()
	nstest.Eventually(t, patience, func() bool { return waiting(t, p.FW[0]) > 0 || len(done) > 0 }, "a held packet")
	first.Stop() // kill -9
	if err := <-done; err != nil {
		t.Errorf("TCP did not get over it: %v", err)
	}
	t.Logf("connected and answered after %v", time.Since(begin).Round(time.Millisecond))
	n := &node{t: t, ns: p.FW[0], where: "fw1"}
	if n.rules() == nil {
		t.Error("a killed daemon cannot have taken out its rules")
	}
	for _, network := range []string{"tcp6", "udp4"} {
		if r := p.exchange(network, to[network], 20, 2); r.lost > 0 {
			t.Errorf("without a daemon: %s: %v", network, r)
		}
	}
	a.daemon()
	if r := n.rules(); r != nil {
		t.Errorf("left by the next daemon: %q", r)
	}
	syscall.Kill(peer.Pid(), syscall.SIGCONT)
}

// waiting is how many queues of a namespace hold packets: the third column
// (nfnetlink_queue.c seq_show).
func waiting(t *testing.T, ns *nstest.NS) (n int) {
	t.Helper()
	for line := range strings.Lines(ns.ReadFile(t, "/proc/thread-self/net/netfilter/nfnetlink_queue")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] != "0" {
			n++
		}
	}
	return n
}

// TestDeferForeignRule: a rule of somebody else that sends everything to our
// queue costs time, and no packet.
func TestDeferForeignRule(t *testing.T) {
	p := newPair(t, nstest.Options{})
	to := p.servers(t)
	p.setBoth("deferdelay", "1000", "defer")
	for _, program := range []string{"iptables", "ip6tables"} {
		p.FW[0].Run(t, program, "-A", "FORWARD", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "240")
	}
	c := p.Client.Dial(t, "udp4", to["udp4"])
	for range 20 {
		if err := nstest.Ask(c, "through the queue", patience/2); err != nil {
			t.Fatal(err)
		}
	}
	for _, network := range []string{"tcp4", "udp6"} {
		if r := p.exchange(network, to[network], 20, 1); r.lost > 0 && p.unacked() == 0 {
			t.Errorf("%s: %v", network, r)
		}
	}
	p.n[0].deferred()
	p.n[0].waitSync(control.SyncOK)
}

// TestDeferLeavesNothing: after the daemon there is no file, no rule, and no
// table that was not there before, though its queue has changed and an earlier
// one was killed.
func TestDeferLeavesNothing(t *testing.T) {
	h := newHost(t, nstest.New(t).NS("fw1"))
	p := h.daemon()
	h.ctl("pfsync0", "defer")
	h.ctl("pfsync0", "deferqueue", "77")
	h.ctl("pfsync0", "-defer")
	if out := h.tables(); out != "" {
		t.Errorf("tables left by -defer: %s", out)
	}
	h.ctl("pfsync0", "defer")
	if _, err := os.Stat(filepath.Join(h.dir, "pfsync0.defer")); err != nil {
		t.Error(err)
	}
	p.Stop() // kill -9
	p = h.daemon()
	if out := h.tables(); out != "" {
		t.Errorf("tables left by one that was killed: %s", out)
	}
	h.ctl("pfsync0", "defer")
	syscall.Kill(p.Pid(), syscall.SIGTERM)
	p.WaitFor(t, patience, "msg=stopped")
	if _, err := os.Stat(filepath.Join(h.dir, "pfsync0.defer")); err == nil {
		t.Error("the file of the rules is left")
	}
	if out := h.tables(); out != "" {
		t.Errorf("tables left: %s", out)
	}
}

// tables are those that nft knows of, the ones iptables makes among them.
func (h *host) tables() string {
	h.t.Helper()
	return strings.TrimSpace(h.Run(h.t, "nft", "list", "tables"))
}
