package daemon

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// manyEnv is how many connections of each kind the tests of defer make: 10 000
// for figures, few on a slow machine.
const manyEnv = "PFSYNC_TEST_MANY"

func howMany(t *testing.T) int { return envNumber(t, manyEnv, 1000) }

// perSecond is how many connections begin in a second, as far as the machine
// can: with defer no more than atOnce are without their first answer, fewer than
// may be held. Of those that get none many more are, or it would take for ever.
const (
	perSecond  = 2000
	atOnce     = 100
	lostAtOnce = 1000
)

// anyway is how long an answer is waited for that is late, but not lost.
const anyway = 20 * time.Second

// many begins n connections, paced, and calls half in the middle.
func (p *pair) many(network, to string, n, atOnce int, within time.Duration, half func()) result {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var r result
	var took []time.Duration
	slots := make(chan struct{}, atOnce)
	start := time.Now()
	for i := range n {
		if i == n/2 {
			half()
		}
		if wait := time.Until(start.Add(time.Duration(i) * time.Second / perSecond)); wait > time.Millisecond {
			time.Sleep(wait)
		}
		slots <- struct{}{}
		wg.Go(func() {
			d, err := p.first(network, to, within)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				r.lost++
			case d > answerWithin:
				r.slow++
			default:
				took = append(took, d)
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

// apart sends requests through firewall i, and answers through the other.
func (p *pair) apart(t *testing.T, i int) {
	t.Helper()
	p.Master(i)
	mac := p.FW[1-i].Interface(t, nstest.WANDev).HardwareAddr.String()
	for _, addr := range []string{nstest.OutsideAddr, nstest.OutsideAddr6} {
		p.Server.Run(t, "ip", "neigh", "replace", addr, "lladdr", mac, "dev", nstest.LANDev, "nud", "permanent")
	}
}

// earlyAll is the number of answers that the firewalls did not know yet. It is
// what counts on a slow machine, where an answer may take its time.
func (p *pair) earlyAll(t *testing.T) int {
	t.Helper()
	n := 0
	for _, fw := range p.FW {
		_, out, _ := strings.Cut(fw.Run(t, "nft", "list", "counter", "inet", "inside", "early"), "packets ")
		var m int
		if _, err := fmt.Sscan(out, &m); err != nil {
			t.Fatal(err)
		}
		n += m
	}
	return n
}

// TestDeferMany: requests go through one firewall, answers come back through
// the other, and in the middle the two change places. With defer no firewall
// meets an answer that it does not know; without it many.
func TestDeferMany(t *testing.T) {
	n := howMany(t)
	for _, nat := range []bool{false, true} {
		t.Run(map[bool]string{false: "untranslated", true: "source translated"}[nat], func(t *testing.T) {
			p := newPair(t, nstest.Options{Rules: insideOnly, SNAT: nat})
			p.setBoth("deferdelay", "1000", "defer")
			if nat && !p.n[0].set1().hold.whole {
				p.manyOneWay(t, n/5)
				return
			}
			p.manyApart(t, n, nat)
		})
	}
}

// manyApart is the asymmetric way. The long delay is for the machine, on which
// all five hosts live; what comes of the usual one is told too. A datagram is
// never said twice: without an answer one of the two was dropped.
func (p *pair) manyApart(t *testing.T, n int, nat bool) {
	networks := []string{"tcp4", "udp4", "tcp6", "udp6"}
	if nat {
		networks = networks[:2]
	}
	each := 2 * n / len(networks)
	for _, row := range []struct {
		name   string
		words  []string
		atOnce int
		within time.Duration
	}{
		{"defer, at most 1 s", []string{"deferdelay", "1000", "defer"}, atOnce, anyway},
		{"defer, at most 20 ms", []string{"deferdelay", "20", "defer"}, atOnce, answerWithin},
		{"without defer", []string{"-defer"}, lostAtOnce, answerWithin},
	} {
		p.setBoth(row.words...)
		to := p.servers(t)
		all, lost, late, before := 0, 0, 0, p.unacked()
		for _, network := range networks {
			p.apart(t, 0)
			was := p.earlyAll(t)
			r := p.many(network, to[network], each, row.atOnce, row.within, func() { p.apart(t, 1) })
			early := p.earlyAll(t) - was
			all, lost, late = all+early, lost+r.lost, late+r.slow
			t.Logf("%-20s  %s: %5d connections, %5d answers too early, %v", row.name, network, each, early, r)
		}
		unacked := p.unacked() - before
		t.Logf("%-20s  %d let go without an acknowledgement", row.name, unacked)
		switch deferring := row.words[0] != "-defer"; {
		case deferring && unacked == 0 && row.within == anyway && (lost > 0 || all > 0 && late == 0):
			t.Errorf("%s: %d answers came too early, %d connections lost", row.name, all, lost)
		case !deferring && all == 0:
			t.Errorf("%s: no answer was early: nothing is shown", row.name)
		}
		p.n[0].deferred()
	}
}

// unacked is how many packets were let go though no peer had acknowledged their
// connection: on a machine that stands still for longer than the delay, or finds
// its peer silent, that is what is asked for.
func (p *pair) unacked() (n uint64) {
	for _, node := range p.n {
		n += node.stats().Reasons["deferpassed"]
	}
	return n + p.givenUp()
}

// givenUp is those of them that were held, in vain.
func (p *pair) givenUp() (n uint64) {
	for _, node := range p.n {
		own := node.stats().Reasons
		n += own["defertimeout"] + own["deferoverflow"] + own["deferstopped"]
	}
	return n
}

// manyOneWay is the way that works where the kernel does not tell a held
// packet's entry: the answer comes back through the firewall that holds it.
func (p *pair) manyOneWay(t *testing.T, n int) {
	lost, late, before := 0, 0, p.givenUp()
	for network, addr := range p.servers(t) {
		for i := range p.FW {
			p.Master(i)
			r := p.many(network, addr, n/2, atOnce, anyway, func() {})
			lost, late = lost+r.lost, late+r.slow
			t.Logf("%s through %s: %d connections, %v", network, p.FW[i].Name(), n/2, r)
		}
	}
	// What comes too late comes after the change, and then is early.
	if early := p.earlyAll(t); p.givenUp() == before && (lost > 0 || early > 0 && late == 0) {
		t.Errorf("%d answers came too early, %d connections lost", early, lost)
	}
}

// TestDeferLatency tells what defer adds to a new connection, with a peer that
// acknowledges and without one. The figures depend on the machine and are only
// logged.
func TestDeferLatency(t *testing.T) {
	p := newPair(t, nstest.Options{})
	to := p.servers(t)
	row := func(peer string) {
		for _, word := range []string{"-defer", "defer"} {
			p.n[0].set(word)
			for _, network := range []string{"udp4", "tcp4"} {
				r := p.exchange(network, to[network], howMany(t)*3/10, 1)
				t.Logf("%s, %s: %s: %v", peer, word, network, r)
			}
		}
	}
	row("with a peer")
	if own := p.n[0].deferred(); own["deferacked"] == 0 {
		t.Error("nothing was held and acknowledged")
	}
	p.n[1].stop()
	nstest.Eventually(t, patience, func() bool { return !p.n[0].status().Peers[0].Alive }, "the peer to be silent")
	held := p.n[0].deferred()["deferheld"]
	row("without a peer")
	if own := p.n[0].deferred(); own["deferheld"] != held {
		t.Error("held without a peer")
	}
}
