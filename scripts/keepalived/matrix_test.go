package keepalived

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// pair is the network with all programs running, and traffic through it.
type pair struct {
	*network
	t     *testing.T
	a, b  *machine
	tr    *traffic
	watch *watch
}

// scenario is something that happens to a pair, step by step.
type scenario struct {
	name  string
	begin func(*pair) // nil: both are there, and A is the master
	steps []step
}

// step is done, and then somebody is the master.
type step struct {
	name   string
	do     func(*pair)
	master int  // who is the master afterwards
	flags  flag // what holds besides
}

type flag uint8

const (
	steady flag = 1 << iota // nobody becomes master meanwhile
	more                    // new sessions begin afterwards
	apart                   // of which the other cannot hear
)

const a, b = 0, 1

var scenarios = []scenario{
	{"A rebooted, slow switch", nil, []step{
		{"power lost", func(p *pair) { p.a.powerOff() }, b, more | apart},
		{"booted", (*pair).bootBehindSlowSwitch, a, 0},
	}},
	{"A's daemon killed", nil, []step{
		{"killed", func(p *pair) { p.a.pfsyncd.Stop() }, a, steady | more | apart},
		{"started again", func(p *pair) { p.a.startDaemon(); p.a.waitSync() }, a, steady},
	}},
	{"A's daemon restarted", nil, []step{
		{"stopped", func(p *pair) { p.a.stopDaemon() }, a, steady | more | apart},
		{"started", func(p *pair) { p.a.startDaemon(); p.a.waitSync() }, a, steady},
	}},
	{"A's keepalived killed", nil, []step{
		{"killed", func(p *pair) { p.a.killKeepalived() }, b, more},
		{"started again", func(p *pair) { p.a.startKeepalived() }, a, 0},
	}},
	{"A's keepalived stopped", nil, []step{
		{"stopped", func(p *pair) { p.a.stopKeepalived() }, b, more},
		{"started again", func(p *pair) { p.a.startKeepalived() }, a, 0},
	}},
	{"A's outer link cut", nil, []step{
		{"cut", func(p *pair) { p.a.wires.cut(p.t, outDev) }, b, more},
		{"mended", func(p *pair) { p.a.wires.mend(p.t, outDev) }, a, 0},
	}},
	{"A's inner link cut", nil, []step{
		{"cut", func(p *pair) { p.a.wires.cut(p.t, inDev) }, b, more},
		{"mended", func(p *pair) { p.a.wires.mend(p.t, inDev) }, a, 0},
	}},
	{"sync link cut", nil, []step{
		{"cut", func(p *pair) { p.syncLink(wires.cut) }, a, steady | more | apart},
		{"mended", func(p *pair) { p.syncLink(wires.mend) }, a, steady},
	}},
	{"A frozen, and cut off", nil, []step{
		{"frozen", (*pair).freezeA, b, more | apart},
		{"thawed", func(p *pair) { p.a.thaw(); p.a.wires.mend(p.t, outDev, inDev, syncDev) }, a, 0},
	}},
	{"A rebooted", nil, []step{
		{"power lost", func(p *pair) { p.a.powerOff() }, b, more | apart},
		{"booted", func(p *pair) { p.a.powerOn(); p.a.boot() }, a, 0},
	}},
	{"A rebooted, with wait", nil, []step{
		{"power lost", func(p *pair) { p.a.powerOff() }, b, more | apart},
		{"booted", func(p *pair) { p.a.powerOn(); p.a.waits = true; p.a.boot() }, a, 0},
	}},
	{"A rebooted, init script", nil, []step{
		{"power lost", func(p *pair) { p.a.powerOff() }, b, more | apart},
		{"booted", func(p *pair) { p.a.powerOn(); p.a.byScript = true; p.a.boot() }, a, 0},
	}},
	{"A demoted by hand", nil, []step{
		{"echo 100", func(p *pair) { p.a.run("sh", "-c", "echo 100 >/run/pfsync/hand.demotion") }, b, more},
		{"echo 0", func(p *pair) { p.a.run("sh", "-c", "echo 0 >/run/pfsync/hand.demotion") }, a, 0},
	}},
	{"both started cold", (*pair).coldStart, []step{
		{"in sync", func(p *pair) { p.a.waitSync(); p.b.waitSync() }, a, 0},
	}},
	{"A alone", (*pair).bootA, []step{
		{"not for ever", func(p *pair) { p.a.waitSync() }, a, steady | apart},
		{"B joins", func(p *pair) { p.b.boot(); p.b.waitSync() }, a, steady},
	}},
}

// syncLink cuts or mends both ends of the cable.
func (p *pair) syncLink(do func(wires, *testing.T, ...string)) {
	do(p.a.wires, p.t, syncDev)
	do(p.b.wires, p.t, syncDev)
}

// freezeA stops A where it is, without its links, and lets it miss a while.
func (p *pair) freezeA() {
	const missed = 2 * time.Second
	p.a.freeze()
	p.a.wires.cut(p.t, outDev, inDev, syncDev)
	time.Sleep(missed)
}

// bootBehindSlowSwitch boots A while the switch of the sync link is still
// listening and learning, as the spanning tree has it: B stays the master.
func (p *pair) bootBehindSlowSwitch() {
	const each = 15 * time.Second // IEEE 802.1D, forward delay
	p.a.powerOn()
	before := p.watch.count()
	for _, state := range []string{portListening, portLearning} {
		p.a.wires.portState(p.t, syncDev, state)
		end := time.Now().Add(each)
		if state == portListening {
			p.a.boot()
		}
		time.Sleep(time.Until(end))
	}
	if p.watch.count() != before || p.a.demotion() != "240" {
		p.t.Errorf("after 30 s without a peer: master %s, demotion %s", letter(p.watch.master()), p.a.demotion())
	}
	p.a.wires.portState(p.t, syncDev, portForwarding)
}

// coldStart boots both at once; what comes first is served by whoever is the
// master first.
func (p *pair) coldStart() {
	var wg sync.WaitGroup
	wg.Go(p.a.boot)
	p.b.boot()
	wg.Wait()
	nstest.Eventually(p.t, patience, func() bool { return p.watch.master() >= 0 }, "a master")
	p.tr.start()
}

// bootA boots A, which has never heard of B.
func (p *pair) bootA() {
	p.a.boot()
	p.watch.wait(p.t, a)
	p.tr.start()
}

// outcome is a row of the table.
type outcome struct {
	scenario, step string
	known, lost    int
	master         string
	took           time.Duration // from what was done until the master rose; 0: it did not change
	udp, tcp       time.Duration // longest gap
	missing        int
	made, failed   int // newcomers, of all steps
}

func (o *outcome) row() string {
	beyond := "-"
	if o.took > 0 {
		beyond = ms(max(0, o.udp-o.took))
	}
	return fmt.Sprintf("%-26s %-14s %4d %4d   %-12s %7s %7s %7s %7s %7d %5d/%d",
		o.scenario, o.step, o.known, o.lost, o.master, ms(o.took), ms(o.udp), ms(o.tcp), beyond, o.missing, o.failed, o.made)
}

const heading = "scenario                   step           conn lost   master       after    udp gap tcp gap beyond  missing failed new"

func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprint(d.Milliseconds(), " ms")
}

// atOnce is how many scenarios run side by side: most of the time they wait.
const atOnce = 6

// TestMatrix: whatever fails, no connection does.
func TestMatrix(t *testing.T) {
	nstest.New(t, "keepalived")
	var mu sync.Mutex
	table := map[string][]outcome{}
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, words := range []string{"-defer", "defer"} {
		for _, s := range scenarios {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				t.Run(s.name+"/"+words, func(t *testing.T) {
					out := s.run(t, words)
					mu.Lock()
					table[words] = append(table[words], out...)
					mu.Unlock()
				})
			})
		}
	}
	wg.Wait()
	for _, words := range []string{"-defer", "defer"} {
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n%s\n", words, heading)
		for _, o := range table[words] {
			fmt.Fprintln(&b, o.row())
		}
		t.Log(b.String())
	}
}

// newPair is a network in which nothing runs yet.
func newPair(t *testing.T, words string) *pair {
	t.Helper()
	n := newNetwork(t)
	p := &pair{network: n, t: t, a: n.fw[a], b: n.fw[b], tr: newTraffic(t, n)}
	p.watch = newWatch(t, n, p.tr.flows)
	t.Cleanup(func() {
		if t.Failed() {
			p.a.tell()
			p.b.tell()
		}
	})
	for _, m := range n.fw {
		m.words = "syncdev " + syncDev + " " + words
	}
	return p
}

// both boots A and then B, so that A is the master, with traffic.
func (p *pair) both() {
	p.a.boot()
	p.b.boot()
	p.a.waitSync()
	p.b.waitSync()
	p.watch.wait(p.t, a)
	p.tr.start()
	p.settle()
}

// settle waits until the standby's kernel has all that is in flight.
func (p *pair) settle() {
	p.t.Helper()
	m := p.fw[1-p.watch.master()]
	nstest.EventuallyNil(p.t, patience, func() error {
		if names := p.watch.missing(m); len(names) > 0 {
			return fmt.Errorf("%d: %s …", len(names), names[0])
		}
		return nil
	}, m.name+" to know all connections")
}

func (s *scenario) run(t *testing.T, words string) (out []outcome) {
	p := newPair(t, words)
	if s.begin == nil {
		p.both()
	} else {
		s.begin(p)
	}
	for _, m := range p.fw {
		m.Nft(t, knownRules)
	}
	for i := range s.steps {
		out = append(out, p.step(&s.steps[i]))
	}
	p.settle()
	out[0].scenario = s.name
	last := &out[len(out)-1]
	lost := p.tr.ask(p.tr.idle)
	last.lost += len(lost)
	for _, l := range lost {
		t.Errorf("lost: %s", l)
	}
	last.made, last.failed = p.tr.fresh.count()
	return out
}

// step does it, and looks at what came of it.
func (p *pair) step(st *step) outcome {
	p.t.Helper()
	p.tr.gaps()
	before, begin := p.watch.count(), time.Now()
	st.do(p)
	p.watch.wait(p.t, st.master)
	lost := p.tr.goOn(patience)
	o := outcome{step: st.name, known: len(p.tr.flows()), lost: len(lost), master: letter(st.master)}
	for _, l := range lost {
		p.t.Errorf("%s: %s does not go on", st.name, l)
	}
	for _, r := range p.watch.seen(before) {
		o.missing += len(r.missing)
		o.took = r.at.Sub(begin)
		for _, m := range r.missing {
			p.t.Errorf("%s: %s became master without %s", st.name, letter(r.who), m)
		}
		if st.flags&steady != 0 {
			p.t.Errorf("%s: %s became master", st.name, letter(r.who))
		}
	}
	o.udp, o.tcp = p.tr.gaps()
	if st.flags&more != 0 {
		p.tr.begin(morePerKind)
	}
	if st.flags&apart == 0 {
		p.settle()
	}
	return o
}
