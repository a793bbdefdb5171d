package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// failoversEnv is the number of rounds of TestFailovers.
const failoversEnv = "PFSYNC_FAILOVERS"

// crowd is connections that must live through all: idle ones are asked once in
// a while, streams in every step.
type crowd struct {
	idle, streams []*conn
}

const idleConns = 50

// newCrowd opens idle TCP connections and UDP streams of all translations.
func (p *pair) newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{}
	for i := range translations {
		x := &translations[i]
		for _, proto := range []uint8{pfstate.ProtoTCP, pfstate.ProtoUDP} {
			serveTalk(t, p.Server, proto, x.served(false), talkPort)
		}
	}
	open := func(list *[]*conn, kind string, proto uint8, i int) {
		x := &translations[i%len(translations)]
		*list = append(*list, &conn{
			name: fmt.Sprintf("%s %d, %s", kind, i, x.name), proto: proto, to: x.asked(false), nat: x.name,
			talk: openTalk(t, p.Client, proto, x.asked(false), x.port),
		})
	}
	for i := range idleConns {
		open(&c.idle, "idle", pfstate.ProtoTCP, i)
	}
	for i := range translations {
		open(&c.streams, "stream", pfstate.ProtoUDP, i)
	}
	return c
}

// ask lets connections ask at once; each has to be answered. A stream may lose
// the packets that were on the way when its firewall died.
func (c *crowd) ask(t *testing.T, where string, conns []*conn) {
	t.Helper()
	var wg sync.WaitGroup
	for _, k := range conns {
		wg.Go(func() { k.err = k.talk.ask("word "+where, patience/2) })
	}
	wg.Wait()
	for _, k := range conns {
		if k.err != nil {
			t.Errorf("%s: %s: %v", where, k.name, k.err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// part is a fifth of the idle ones, another in each step.
func (c *crowd) part(step int) []*conn {
	const parts = 5
	n := len(c.idle) / parts
	return c.idle[step%parts*n:][:n]
}

// tellState logs what a failure is to be understood by.
func (p *pair) tellState(t *testing.T, i int) {
	fw := p.FW[i]
	t.Logf("%s: %d invalid packets, addresses %s, rules %s entries\n%s", fw.Name(), p.Invalid(i),
		fw.Run(t, "ip", "-br", "-4", "addr"), fw.Run(t, "nft", "list", "tables"), strings.Join(fw.Conntrack(t, "-f", "ipv4"), "\n"))
}

// TestFailovers: the firewall that carries the connections loses its links and
// its daemon, comes back, and carries them again; half of the times it has
// forgotten all, as after a reboot. PFSYNC_FAILOVERS is how many times.
func TestFailovers(t *testing.T) {
	p := &pair{Topology: nstest.NewTopology(t, nstest.Options{Rules: natRules})}
	var hosts [2]*host
	var procs [2]*nstest.Proc
	start := func(i int) {
		t.Helper()
		procs[i] = hosts[i].daemon()
		hosts[i].ctl("pfsync0", "syncdev", nstest.SyncDev)
	}
	inSync := func(i int) { t.Helper(); hosts[i].ctl("pfsync0", "wait", "--timeout", "60") }
	for i := range hosts {
		hosts[i] = newHost(t, p.FW[i])
		start(i)
	}
	inSync(0)
	inSync(1)
	p.serveTranslations(t)
	bulk, crowd := p.startBulk(t), p.newCrowd(t)
	t.Cleanup(func() {
		for i := range p.FW {
			if t.Failed() {
				p.tellState(t, i)
			}
		}
	})
	crowd.ask(t, "begun", slices.Concat(crowd.idle, crowd.streams))
	p.waitKnown(t, p.FW[1], crowd.idle)
	for _, fw := range p.FW {
		fw.Nft(t, knownRules)
	}

	step := 0
	goOn := func(where string, on int) {
		t.Helper()
		before := p.Invalid(on)
		bulk.pass(t, where)
		crowd.ask(t, where, slices.Concat(crowd.part(step), crowd.streams))
		if n := p.Invalid(on) - before; n > 0 {
			t.Errorf("%s: %d invalid packets", where, n)
		}
		step++
	}
	for round := range envNumber(t, failoversEnv, 2) {
		goOn(fmt.Sprintf("round %d, before", round+1), 0)
		p.Kill(0)
		procs[0].Stop()
		p.move(t, 1)
		goOn(fmt.Sprintf("round %d, failover", round+1), 1)

		if round%2 == 0 {
			p.FW[0].Run(t, "conntrack", "-F")
			if err := os.Remove(kernelPath(control.Dirs{Run: hosts[0].dir}, "pfsync0")); err != nil { // as a boot does
				t.Fatal(err)
			}
		}
		p.Revive(0)
		start(0)
		inSync(0)
		p.waitKnown(t, p.FW[0], crowd.idle)
		p.move(t, 0)
		goOn(fmt.Sprintf("round %d, failback", round+1), 0)
	}
	crowd.ask(t, "at the end", slices.Concat(crowd.idle, crowd.streams))
}
