package daemon

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate/nfqueue"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// insideOnly has connections begin inside only: an answer that comes before
// its connection is known is dropped, over UDP too.
const insideOnly = `
table inet inside {
	counter early { }
	chain forward {
		type filter hook forward priority filter - 1;
		iifname "` + nstest.WANDev + `" ct state new,invalid counter name early drop
	}
}
`

// result is what a number of first exchanges came to.
type result struct {
	lost         int
	slow         int           // later than answerWithin, and not lost
	median, late time.Duration // of those that were not; late: 99 of 100 are faster
}

func (r result) String() string {
	return fmt.Sprintf("lost %d, late %d, median %v, 99 %% %v", r.lost, r.slow, r.median.Round(time.Microsecond), r.late.Round(time.Microsecond))
}

// answerWithin is how long a first answer may take: TCP sends its SYN again
// after a second.
const answerWithin = 700 * time.Millisecond

// exchange opens n connections, so many at a time, each of which is lost if the
// first answer does not come.
func (p *pair) exchange(network, to string, n, atATime int) result {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var r result
	var took []time.Duration
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	for range atATime {
		wg.Go(func() {
			for range next {
				d, err := p.first(network, to, answerWithin)
				mu.Lock()
				if err != nil || d > answerWithin {
					r.lost++
				} else {
					took = append(took, d)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	if len(took) > 0 {
		r.median, r.late = took[len(took)/2], took[len(took)*99/100]
	}
	return r
}

// first times the first answer of a connection: the handshake, or a datagram.
func (p *pair) first(network, to string, within time.Duration) (time.Duration, error) {
	dial := net.Dialer{Timeout: within}
	dial.SetMultipathTCP(false)
	start := time.Now()
	var c net.Conn
	var err error
	p.Client.Do(func() {
		start = time.Now()
		c, err = dial.Dial(network, to)
	})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if strings.HasPrefix(network, "udp") {
		start = time.Now()
		err = nstest.Ask(c, "first", within)
	}
	return time.Since(start), err
}

// TestDeferSNAT: where conntrack tells a held packet's entry, a translated
// source is announced as it leaves; else the answer waits, where it comes back
// the same way.
func TestDeferSNAT(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: insideOnly, SNAT: true})
	to := p.servers(t)
	p.setBoth("deferdelay", "1000", "defer")
	if p.n[0].set1().hold.whole {
		p.apart(t, 0)
	}
	for _, network := range []string{"tcp4", "udp4"} {
		r := p.exchange(network, to[network], 100, 2)
		t.Logf("%s: %v", network, r)
	}
	own := p.n[0].deferred()
	if n := p.earlyAll(t); n > 0 && own["defertimeout"]+own["deferstopped"] == 0 {
		t.Errorf("%d answers came too early", n)
	}
	if own["deferacked"] == 0 || own["deferguessed"] > 20 { // a few, until the kernel has told of the first
		t.Errorf("acked %d, guessed %d", own["deferacked"], own["deferguessed"])
	}
}

// set1 is the setup in force.
func (n *node) set1() setup {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Daemon.set
}

func (p *pair) setBoth(words ...string) {
	for _, n := range p.n {
		n.set(words...)
	}
}

// servers gives an echo server for each transport and family.
func (p *pair) servers(t *testing.T) map[string]string {
	to := map[string]string{"tcp4": nstest.ServerAddr, "udp4": nstest.ServerAddr, "tcp6": nstest.ServerAddr6, "udp6": nstest.ServerAddr6}
	for network, addr := range to {
		to[network] = p.Server.Echo(t, network, net.JoinHostPort(addr, "0"))
	}
	return to
}

// deferred gives the counters, and logs those of defer.
func (n *node) deferred() map[string]uint64 {
	own := n.stats().Reasons
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(own)) {
		if name, ok := strings.CutPrefix(k, "defer"); ok {
			fmt.Fprintf(&text, " %s %d", name, own[k])
		}
	}
	n.t.Logf("%s:%s", n.where, text.String())
	return own
}

// rules are those that send packets to a queue, as the programs list them.
func (n *node) rules() (list []string) {
	n.t.Helper()
	for _, args := range [][]string{{"nft", "list", "ruleset"}, {"iptables", "-t", "mangle", "-S"}, {"ip6tables", "-t", "mangle", "-S"}} {
		out, _ := n.ns.Try(args...)
		for line := range strings.Lines(out) {
			if strings.Contains(line, "pfsync_pfsync0") {
				list = append(list, strings.TrimSpace(line))
			}
		}
	}
	return list
}

// TestDeferRules: the rules are there while the word is, and no longer.
func TestDeferRules(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	n.set("defer")
	if len(n.rules()) == 0 {
		t.Fatal("no rules")
	}
	n.set("deferqueue", "77")
	if n.rules() == nil || !strings.Contains(p.FW[0].ReadFile(t, "/proc/thread-self/net/netfilter/nfnetlink_queue"), " 77 ") {
		t.Error("the queue did not move")
	}
	n.set("-defer")
	if r := n.rules(); r != nil {
		t.Errorf("left by -defer: %q", r)
	}

	q, err := n.host.OpenQueue(240)
	if err != nil {
		t.Fatal(err)
	}
	err = n.try("deferqueue", "240", "defer")
	if err == nil || !strings.Contains(err.Error(), "set deferqueue to another number") {
		t.Errorf("queue that is taken: %v", err)
	}
	if st := n.status(); st.Config.Defer || st.Config.DeferQueue != 77 {
		t.Errorf("refused, and set: %+v", st.Config)
	}
	q.Close()
	n.set("deferqueue", "240", "defer")
	n.stop()
	if r := n.rules(); r != nil {
		t.Errorf("left at the end: %q", r)
	}
}

// TestDeferAlone: without a peer nothing is held.
func TestDeferAlone(t *testing.T) {
	p := newPair(t, nstest.Options{})
	to := p.servers(t)
	p.n[1].stop()
	p.n[0].set("deferdelay", "1000", "defer")
	nstest.Eventually(t, patience, func() bool { return !p.n[0].status().Peers[0].Alive }, "the peer to be silent")
	r := p.exchange("udp4", to["udp4"], 100, 4)
	t.Logf("alone: %v", r)
	own := p.n[0].deferred()
	if r.lost > 0 || own["deferheld"] != 0 || own["deferpassed"] == 0 {
		t.Error("held without a peer, or lost")
	}
}

// TestDeferKilled: rules without a daemon let all pass, and the next daemon
// takes them out.
func TestDeferKilled(t *testing.T) {
	p := newPair(t, nstest.Options{})
	to := p.servers(t)
	n := p.n[0]
	n.set("deferdelay", "1000", "defer")
	// What a killed daemon leaves: the rules, and the file that tells of them.
	d := n.Daemon
	d.mu.Lock()
	d.host.RemoveRules, d.host.RemoveLeft = func(*nfqueue.Rules) {}, nil
	d.mu.Unlock()
	n.stop()
	if err := os.WriteFile(d.holdPath(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n.rules() == nil {
		t.Fatal("no rules left")
	}
	for _, network := range []string{"tcp4", "udp6"} {
		if r := p.exchange(network, to[network], 20, 2); r.lost > 0 {
			t.Errorf("without a daemon: %v", r)
		}
	}
	again := newNode(t, p.FW[0], n.dirs.Run)
	if r := again.rules(); r != nil {
		t.Errorf("left by the next daemon: %q", r)
	}
}
