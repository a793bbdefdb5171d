package daemon

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// faultGroup is faults that befall the same firewalls one after the other.
type faultGroup struct {
	name    string
	options faultOptions
	faults  []fault
}

func kill(i int) func(*faultBed)  { return func(b *faultBed) { b.p[i].Stop() } }
func start(i int) func(*faultBed) { return func(b *faultBed) { b.start(i) } }
func nothing(*faultBed)           {}

// both does one after the other.
func both(a, b func(*faultBed)) func(*faultBed) {
	return func(bed *faultBed) {
		a(bed)
		b(bed)
	}
}

// faultGroups is the table.
func faultGroups() []faultGroup {
	return []faultGroup{
		{"daemons", faultOptions{}, daemonFaults()},
		{"link", faultOptions{badWire: true}, linkFaults()},
		{"machines", faultOptions{}, machineFaults()},
		{"disk", faultOptions{smallDisk: true}, diskFaults()},
		{"three", faultOptions{firewalls: 3}, threeFaults()},
		{"both", faultOptions{}, bothFaults()},
	}
}

// lasting is a fault of its own length.
func lasting(d time.Duration) func(*faultBed) { return func(*faultBed) { time.Sleep(d) } }

// slow lets a daemon run a quarter of the time.
func slow(i int) func(*faultBed) {
	return func(b *faultBed) {
		const pulse = 10 * time.Millisecond
		for end := time.Now().Add(b.lasts); time.Now().Before(end); {
			b.signal(i, syscall.SIGSTOP)
			time.Sleep(3 * pulse)
			b.signal(i, syscall.SIGCONT)
			time.Sleep(pulse)
		}
	}
}

// A burst is more than the event buffer holds, 25 000 entries made; a few of it
// live on.
const burst, burstLives = 50_000, 500

// deafen lets more happen while the loaded daemon is stopped than its kernel
// keeps for it.
func deafen(b *faultBed) {
	b.signal(0, syscall.SIGSTOP)
	kernelFlows(b.t, b.FW[0], pfstate.OpCreate, burst)
	kernelFlowsFrom(b.t, b.FW[0], pfstate.OpDelete, burstLives, burst-burstLives)
}

// hearAgain lets it go on: it has to notice, and the peer to have what lives on
// of the burst.
func hearAgain(b *faultBed) {
	b.signal(0, syscall.SIGCONT)
	nstest.EventuallyNil(b.t, patience, func() error {
		have := 0
		for _, l := range b.FW[1].Conntrack(b.t, "-p", "udp") {
			if strings.Contains(l, " src=10.0.1.10 ") {
				have++
			}
		}
		if lost := b.reasons(0)["overrun"]; lost == 0 || have != burstLives {
			return fmt.Errorf("%d of the burst at the peer, overrun %d", have, lost)
		}
		return nil
	}, "the burst to arrive")
}

func daemonFaults() []fault {
	return []fault{
		{name: "receiver killed", begin: kill(1), end: start(1)},
		{name: "sender killed", begin: kill(0), end: start(0)},
		{name: "receiver killed again", long: true, begin: kill(1), end: start(1)},
		{name: "one of two busy killed", load: []int{0, 1}, begin: kill(1), end: start(1)},
		{name: "sender stopped", begin: func(b *faultBed) { b.signal(0, syscall.SIGSTOP) }, end: func(b *faultBed) { b.signal(0, syscall.SIGCONT) }},
		{name: "sender deaf", begin: deafen, during: nothing, end: hearAgain},
		{name: "receiver stopped", long: true, begin: func(b *faultBed) { b.signal(1, syscall.SIGSTOP) }, end: func(b *faultBed) { b.signal(1, syscall.SIGCONT) }},
		{name: "receiver slow", begin: nothing, during: slow(1), end: nothing},
		{name: "receiver killed, and slow when back", long: true, begin: kill(1), during: both(start(1), slow(1)), end: nothing},
	}
}

func linkFaults() []fault {
	wire := func(loss, twice, late int) func(*faultBed) {
		return func(b *faultBed) { b.wire.set(loss, twice, late) }
	}
	good := wire(0, 0, 0)
	mtu := func(n string) func(*faultBed) {
		return func(b *faultBed) {
			for _, fw := range b.FW {
				fw.Run(b.t, "ip", "link", "set", "dev", nstest.SyncDev, "mtu", n)
			}
		}
	}
	return []fault{
		{name: "carrier lost", begin: func(b *faultBed) { b.FW[1].Down(b.t, nstest.SyncDev) }, end: func(b *faultBed) { b.FW[1].Up(b.t, nstest.SyncDev) }},
		{name: "loss of 1 in 100", long: true, begin: wire(1, 0, 0), end: good},
		{name: "loss of 5 in 100", long: true, begin: wire(5, 0, 0), end: good},
		{name: "loss of 20 in 100", begin: wire(20, 0, 0), end: good},
		{name: "half of all twice", begin: wire(0, 50, 0), end: good},
		{name: "half of all late", begin: wire(0, 0, 50), end: good},
		{name: "cut", begin: wire(100, 0, 0), end: good},
		{name: "cut for 10 s", long: true, begin: wire(100, 0, 0), during: lasting(10 * time.Second), end: good},
		{name: "ports used again at once, loss of 20 in 100", reuse: true, begin: wire(20, 0, 0), end: good, loses: true},
		{name: "smaller MTU", begin: mtu("1280"), end: mtu("1500")},
	}
}

func machineFaults() []fault {
	reboot := func(i ...int) func(*faultBed) { return func(b *faultBed) { b.reboot(i...) } }
	flush := func(b *faultBed) { b.h[1].ctl("pfsync0", "flush", "-y") }
	return []fault{
		{name: "receiver rebooted", begin: reboot(1), during: nothing, end: start(1), loses: true},
		{name: "sender rebooted", begin: reboot(0), during: nothing, end: start(0), loses: true},
		{name: "both rebooted", begin: reboot(0, 1), during: nothing, end: func(b *faultBed) { b.start(1); b.start(0) }, loses: true},
		{name: "receiver flushed", begin: flush, end: nothing, loses: true},
		{name: "answers another way", back: true, begin: nothing, end: nothing, loses: true},
		{name: "ports used again at once", reuse: true, begin: nothing, end: nothing, loses: true},
		poor(),
	}
}

func diskFaults() []fault {
	full := func(b *faultBed) {
		b.fillDisk()
		b.p[1].Stop()
	}
	return []fault{{name: "disk full, receiver killed", begin: full, end: start(1)}}
}

func threeFaults() []fault {
	forEver := func(b *faultBed) {
		b.p[2].Stop()
		b.dead[2] = true
	}
	return []fault{
		{name: "one of three killed", long: true, begin: kill(0), end: start(0)},
		{name: "one of three dies", begin: forEver, end: nothing},
		{name: "then another is killed", begin: kill(1), end: start(1)},
		{name: "then the loaded one is killed", begin: kill(0), end: start(0)},
	}
}

// bothFaults: both daemons are away at a time, while connections begin and end
// in the kernels.
func bothFaults() []fault {
	return []fault{
		{name: "both killed, receiver first back", begin: both(kill(0), kill(1)), end: both(start(1), start(0))},
		{name: "both killed, sender first back", long: true, begin: both(kill(1), kill(0)), end: both(start(0), start(1))},
		{name: "both busy and killed", long: true, load: []int{0, 1}, begin: both(kill(1), kill(0)), end: both(start(0), start(1))},
		{name: "both killed and back at once", load: []int{0, 1}, begin: both(kill(1), kill(0)), during: nothing, end: both(start(0), start(1))},
	}
}
