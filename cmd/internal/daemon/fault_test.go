package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// faultBed is firewalls with daemons of their own process, each loaded with
// connections of its own.
type faultBed struct {
	*nstest.Topology
	t     *testing.T // of the fault
	group *testing.T // of all faults here
	state string     // directory of the states, below the firewall's number; "": with the others
	wire  *badWire   // nil: a good one
	h     []*host
	p     []*nstest.Proc
	load  []*traffic
	mourn []*mourner
	wit   []*witness
	dead  []bool // for ever
	next  int    // number of the next connection

	rate     int           // connections a second
	lasts    time.Duration // a fault
	patience time.Duration // until the kernels are equal, for a busy machine; what it took is printed
}

// faultOptions says what a bed of faults is like.
type faultOptions struct {
	firewalls int
	badWire   bool
	smallDisk bool // the state directory is a file system that can be filled
}

func newFaultBed(t *testing.T, o faultOptions) *faultBed {
	t.Helper()
	b := &faultBed{Topology: nstest.NewTopology(t, nstest.Options{Firewalls: o.firewalls}), t: t, group: t}
	b.rate = envNumber(t, "PFSYNC_FAULT_RATE", 300)
	b.lasts = time.Duration(envNumber(t, "PFSYNC_FAULT_SECONDS", 1)) * time.Second
	b.patience = time.Duration(envNumber(t, "PFSYNC_FAULT_PATIENCE", 60)) * time.Second
	if o.badWire {
		b.wire = newBadWire(t, b.Topology)
	}
	if o.smallDisk {
		b.state = smallDisk(t, len(b.FW))
	}
	for i, fw := range b.FW {
		for key, val := range map[string]string{"udp_timeout": "600", "udp_timeout_stream": "600", "tcp_timeout_close": "1"} {
			fw.Sysctl(t, "net.netfilter.nf_conntrack_"+key, val)
		}
		b.h = append(b.h, newHost(t, fw))
		b.p = append(b.p, nil)
		b.dead = append(b.dead, false)
		b.start(i)
	}
	for i := range b.h {
		b.h[i].ctl("pfsync0", "wait", "--timeout", "60")
		b.mourn = append(b.mourn, newMourner(t, b.FW[i], b.lives))
		b.wit = append(b.wit, newWitness(t, b.h[i], func() error { return b.whole(i) }))
	}
	return b
}

// start starts a daemon on a firewall.
func (b *faultBed) start(i int) {
	b.t.Helper()
	h := *b.h[i]
	h.t = b.group // it outlives the fault
	var args []string
	if b.state != "" {
		args = []string{"--state-dir", filepath.Join(b.state, strconv.Itoa(i))}
	}
	b.p[i] = h.daemon(args...)
	b.h[i].ctl("pfsync0", "syncdev", nstest.SyncDev)
}

// signal sends a daemon a signal; nsenter has become the daemon.
func (b *faultBed) signal(i int, sig syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(b.p[i].Pid(), sig); err != nil {
		b.t.Fatal(err)
	}
}

// lives reports whether a connection lives, wherever it passes.
func (b *faultBed) lives(tup *pfstate.Tuple) bool {
	for _, g := range b.load {
		if g.lives(tup) {
			return true
		}
	}
	return false
}

// compare counts what a kernel lacks of the living connections, and what it has
// beyond.
func (b *faultBed) compare(have map[pfstate.Tuple]bool) (missing, stale int) {
	stale = len(have)
	for _, g := range b.load {
		g.mu.Lock()
		for tup := range g.living {
			if have[tup] {
				stale--
			} else {
				missing++
			}
		}
		g.mu.Unlock()
	}
	return missing, stale
}

// oldLag is how long ago a connection was made that a firewall in sync has.
const oldLag = 2 * time.Second

// whole reports what a firewall that says ok lacks of the connections that were
// old when it said so. The load goes on meanwhile.
func (b *faultBed) whole(i int) error {
	old := map[pfstate.Tuple]bool{}
	for _, g := range b.load {
		g.mu.Lock()
		until := g.next - int(float64(g.rate)*oldLag.Seconds())
		for tup, n := range g.living {
			if n < until {
				old[tup] = true
			}
		}
		g.mu.Unlock()
	}
	missing := 0
	have := farFlows(b.t, b.FW[i])
	for tup := range old {
		if !have[tup] && b.lives(&tup) {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d old connections missing", missing, len(old))
	}
	return nil
}

// fault is one row of the table.
type fault struct {
	name   string
	load   []int // firewalls loaded; nil: the first
	back   bool  // answers pass another firewall
	reuse  bool  // ports are used again at once
	begin  func(b *faultBed)
	during func(b *faultBed) // in place of waiting for b.lasts
	end    func(b *faultBed)
	// long is set where another fault is much the same, or where the machine must
	// have nothing else to do: only where a rate is given.
	long bool
	// loses is set where a kernel's table is emptied: entries of living
	// connections end.
	loses bool
}

// TestFaults: whatever befalls a daemon, a machine or the link under load, once
// it is over all kernels have what they should, no connection that lives was
// deleted anywhere, and status and demotion file have told the truth. The small
// form runs with all tests, make faults is the large one.
func TestFaults(t *testing.T) {
	for _, group := range faultGroups() {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			newFaultBed(t, group.options).run(t, group.faults)
		})
	}
}

// run lets one fault after the other befall the bed.
func (b *faultBed) run(t *testing.T, faults []fault) {
	for _, f := range faults {
		if f.long && os.Getenv("PFSYNC_FAULT_RATE") == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			b.t = t
			for _, h := range b.h {
				h.t = t
			}
			b.fault(t, &f)
		})
	}
}

// fault loads firewalls over the time of a fault and compares.
func (b *faultBed) fault(t *testing.T, f *fault) {
	defer b.explain(t)
	loaded := f.load
	if loaded == nil {
		loaded = []int{0}
	}
	b.load = nil
	for _, i := range loaded {
		back := i
		if f.back {
			back = (i + 1) % len(b.FW)
		}
		g := newTraffic(t, b.Topology, i, back, b.rate/len(loaded), b.next)
		g.reuse = f.reuse
		if f.back { // both have to know of a connection that is killed at one
			g.life = 2 * time.Second
		}
		b.next += 1 << 20
		b.load = append(b.load, g)
		defer g.stop(t)
	}
	for _, g := range b.load {
		g.start()
	}
	nstest.Eventually(t, patience, func() bool { return b.arrived(b.rate / 2) }, "the load to arrive")
	f.begin(b)
	if f.during != nil {
		f.during(b)
	} else {
		time.Sleep(b.lasts) // its length, not a wait for anything
	}
	f.end(b)
	made := 0
	for _, g := range b.load {
		g.stop(t)
		made += g.made()
	}
	b.judge(t, f, made)
	b.clear(t)
}

// arrived reports whether every firewall has so many connections.
func (b *faultBed) arrived(n int) bool {
	for i := range b.FW {
		if !b.dead[i] && len(farFlows(b.t, b.FW[i])) < n {
			return false
		}
	}
	return true
}

// judge waits until the kernels are equal and tells how long that took, what was
// deleted that lived, and what was said that was not so.
func (b *faultBed) judge(t *testing.T, f *fault, made int) {
	t.Helper()
	first, took := "", time.Duration(0)
	start := time.Now()
	nstest.EventuallyNil(t, b.patience, func() error {
		line, equal := b.difference()
		if first == "" {
			first = line
		}
		took = time.Since(start)
		if !equal {
			return errorText(line)
		}
		return nil
	}, "equal kernels")
	for i := range b.h {
		if !b.dead[i] {
			b.h[i].ctl("pfsync0", "wait", "--timeout", "60")
		}
	}
	killed := 0
	for i, m := range b.mourn {
		n, blind := m.count()
		if killed += n; n > 0 && !f.loses {
			t.Errorf("%s: %d entries of living connections ended", b.FW[i].Name(), n)
		}
		if blind > 0 {
			t.Logf("%s: the test missed events", b.FW[i].Name())
		}
		m.forget()
		lies, told := b.wit[i].heard()
		for _, l := range lies {
			t.Errorf("%s: %s", b.FW[i].Name(), l)
		}
		t.Logf("%s: %s", b.FW[i].Name(), strings.Join(told, ", "))
	}
	t.Logf("ROW | %s | %d made | at once %s | missing 0 stale 0 after %.1f s | living deleted %d", t.Name(), made, first, took.Seconds(), killed)
}

// quiet stops the load and waits until all kernels are equal.
func (b *faultBed) quiet() {
	b.t.Helper()
	for _, g := range b.load {
		g.stop(b.t)
	}
	b.equal("equal kernels before")
}

func (b *faultBed) equal(what string) {
	b.t.Helper()
	nstest.EventuallyNil(b.t, patience, func() error {
		line, equal := b.difference()
		if !equal {
			return errorText(line)
		}
		return nil
	}, what)
}

// reboot does to firewalls, with their daemons killed, what losing their power
// does: their kernels forget all, and so do their run directories.
func (b *faultBed) reboot(fws ...int) {
	b.t.Helper()
	b.quiet()
	for _, i := range fws {
		b.p[i].Stop()
	}
	if len(fws) == len(b.FW) {
		for _, g := range b.load {
			g.forget()
		}
	}
	for _, i := range fws {
		b.FW[i].Run(b.t, "conntrack", "-F")
		b.forgetRun(i)
	}
}

// clear ends all connections: each loaded kernel is flushed by another program,
// and what it loses the others lose.
func (b *faultBed) clear(t *testing.T) {
	t.Helper()
	for _, g := range b.load {
		g.forget()
	}
	for _, g := range b.load {
		b.FW[g.fw].Run(t, "conntrack", "-F")
	}
	start := time.Now()
	b.equal("flush to arrive")
	t.Logf("ROW | %s, then all killed | | none left after %.1f s", t.Name(), time.Since(start).Seconds())
}

// difference compares all kernels with what should be there. What the loaded
// kernel never had is taken out first.
func (b *faultBed) difference() (line string, equal bool) {
	have := make([]map[pfstate.Tuple]bool, len(b.FW))
	for i := range b.FW {
		if !b.dead[i] {
			have[i] = farFlows(b.t, b.FW[i])
		}
	}
	for _, g := range b.load {
		g.lost(have[g.fw], b.mourn[g.fw].has)
	}
	equal = true
	for i := range b.FW {
		if b.dead[i] {
			continue
		}
		m, s := b.compare(have[i])
		equal = equal && m == 0 && s == 0
		line += fmt.Sprintf("%s missing %d stale %d ", b.FW[i].Name(), m, s)
	}
	return line, equal
}

// ended shows some of the entries that should not be there, and their states.
func (b *faultBed) ended(i int) (lines []string) {
	states, _ := b.h[i].tryCtl("pfsync0", "states", "-v")
	for tup := range farFlows(b.t, b.FW[i]) {
		if len(lines) > 20 || b.lives(&tup) {
			continue
		}
		words := []string{fmt.Sprintf("sport=%d", tup.SrcPort), fmt.Sprintf("dport=%d", tup.DstPort)}
		for _, l := range b.FW[i].Conntrack(b.t) {
			if containsAll(l, words) {
				lines = append(lines, l)
			}
		}
		_, after, _ := strings.Cut(states, fmt.Sprintf("10.0.1.200:%d ", tup.SrcPort))
		lines = append(lines, after[:min(len(after), 300)])
	}
	return lines
}

// explain shows what the daemons say when a row fails, and empties the kernels
// for the next row.
func (b *faultBed) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	for i, fw := range b.FW {
		if !b.dead[i] {
			t.Logf("%s has what has ended:\n%s", fw.Name(), strings.Join(b.ended(i), "\n"))
		}
	}
	for i := range b.h {
		if b.dead[i] {
			continue
		}
		for _, args := range [][]string{{"pfsync0"}, {"pfsync0", "stats", "-v"}} {
			out, err := b.h[i].tryCtl(args...)
			t.Log(b.FW[i].Name(), out, err)
		}
		if b.p[i] != nil {
			t.Log(strings.Join(b.p[i].Lines(), "\n"))
		}
	}
	for i, fw := range b.FW {
		if !b.dead[i] {
			fw.Run(t, "conntrack", "-F")
		}
	}
}

// forgetRun removes what a boot removes.
func (b *faultBed) forgetRun(i int) {
	b.t.Helper()
	for _, f := range []string{"kernel", "sock", "pid", "demotion", "liberal", "defer"} {
		os.Remove(filepath.Join(b.h[i].dir, "pfsync0."+f))
	}
}

// smallDisk mounts a file system of a few pages with a directory for each
// firewall.
func smallDisk(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("pfsync-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	for i := range n {
		if err := os.Mkdir(filepath.Join(dir, strconv.Itoa(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fillDisk leaves no room on it.
func (b *faultBed) fillDisk() {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.state, "full"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		b.t.Fatalf("the disk is not full: %v", err)
	}
}
