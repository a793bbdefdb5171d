package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestMachineFaults: what befalls a whole machine, under load, ends as the
// faults of TestFaults do.
func TestMachineFaults(t *testing.T) {
	newFaultBed(t, faultOptions{}).run(t, []fault{
		{name: "clock hours ahead", begin: stepClock(5 * time.Hour), end: nothing},
		{name: "clock a day back", begin: stepClock(-24 * time.Hour), end: nothing},
		{name: "clock right again", begin: stepClock(19 * time.Hour), end: nothing},
		{name: "table full", begin: fillTable, during: tellsFull, end: roomAgain},
		{name: "table overfull", begin: fillTable, during: overfill, end: roomAgain, loses: true},
	})
}

// stepClock sets the wall clock of the machine.
func stepClock(by time.Duration) func(*faultBed) {
	return func(b *faultBed) {
		b.t.Helper()
		now := unix.NsecToTimespec(time.Now().Add(by).Round(0).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			b.t.Fatal(err)
		}
	}
}

const (
	maxEntries = "net.netfilter.nf_conntrack_max"
	buckets    = "net.netfilter.nf_conntrack_buckets"

	ownNet   = "10.88.0.0/16" // of entries that no peer is told of
	ownFlows = 2000
	lastRoom = 20 // entries
)

// fillTable has the receiver's kernel full of entries of its own that are not
// assured, in so few buckets that it could let go of one for each that comes.
func fillTable(b *faultBed) {
	b.t.Helper()
	b.h[1].ctl("pfsync0", "nosync", "addr "+ownNet)
	b.ownEntries(0, ownFlows)
	nstest.MachineSysctl(b.t, buckets, 512)
	nstest.MachineSysctl(b.t, maxEntries, b.entries(1)+lastRoom)
}

// ownEntries makes some of the receiver's own.
func (b *faultBed) ownEntries(first, n int) {
	b.t.Helper()
	inj := opened(b.t, b.FW[1], conntrack.NewInjector)
	defer inj.Close()
	ops := make([]pfstate.Op, n)
	for i := range ops {
		at := first + i
		orig := pfstate.Tuple{Src: pfstate.Addr{10, 88, byte(at >> 8), byte(at)}, Dst: farServer, SrcPort: 7, DstPort: 7}
		ops[i] = pfstate.Op{Kind: pfstate.OpCreate, Flow: pfstate.Flow{
			Orig: orig, Reply: orig.Inverse(pfstate.ProtoUDP), AF: pfstate.AFInet, Proto: pfstate.ProtoUDP,
			Has: pfstate.HasTimeout | pfstate.HasStatus, Status: pfstate.StatusConfirmed, Timeout: 600,
		}}
	}
	if n, err := inj.Do(ops, make([]pfstate.Result, len(ops))); err != nil || n != len(ops) {
		b.t.Fatalf("%d entries: %v", n, err)
	}
}

// overfill goes on making local entries, for which the kernel ends others: those
// of the peer, which must not end there.
func overfill(b *faultBed) {
	tellsFull(b)
	b.ownEntries(ownFlows, ownFlows)
	nstest.Eventually(b.t, patience, func() bool {
		gone, _ := b.mourn[1].count()
		return gone > 0
	}, "the kernel to let go of some of the peer's")
}

// roomAgain gives room enough for all, before the local entries end.
func roomAgain(b *faultBed) {
	b.t.Helper()
	nstest.MachineSysctl(b.t, maxEntries, 1<<18)
	b.t.Cleanup(func() { b.FW[1].Run(b.t, "conntrack", "-D", "-s", ownNet) })
}

// entries is how many a firewall's kernel has.
func (b *faultBed) entries(i int) int {
	b.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(b.FW[i].ReadFile(b.t, "/proc/sys/net/netfilter/nf_conntrack_count")))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// reasons are the counters of a daemon.
func (b *faultBed) reasons(i int) map[string]uint64 {
	b.t.Helper()
	var st control.Stats
	var err error
	b.FW[i].Do(func() { st, err = b.wit[i].client.Stats(context.Background()) })
	if err != nil {
		b.t.Fatal(err)
	}
	return st.Reasons
}

// tellsFull: what does not fit is counted, said, and pushes out nothing.
func tellsFull(b *faultBed) {
	was := b.reasons(1)["kernfull"]
	nstest.EventuallyNil(b.t, patience, func() error {
		if n := b.reasons(1)["kernfull"]; n < was+2*lastRoom {
			return fmt.Errorf("kernfull %d", n)
		}
		if out := b.h[1].ctl("pfsync0"); strings.Contains(out, "sync: ok") {
			return errorText(out)
		}
		return nil
	}, "the receiver to say that it has no room")
	if out, _ := b.h[1].tryCtl("pfsync0", "doctor"); !strings.Contains(out, "the state table is or was full") {
		b.t.Errorf("the doctor finds nothing:\n%s", out)
	}
	own := 0
	for _, l := range b.FW[1].Conntrack(b.t, "-p", "udp") {
		if strings.Contains(l, "src=10.88.") {
			own++
		}
	}
	if own != ownFlows {
		b.t.Errorf("%d of %d local entries pushed out", ownFlows-own, ownFlows)
	}
}
