package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

const (
	quotaPeriod = 100_000 // microseconds, the kernel's default
	quotaBulk   = 12_000  // states to be transferred
	quotaProbes = 5       // that have to arrive before them
)

// quota is a control group of its own with a share of one core.
type quota struct {
	dir  string
	lift func() error
}

// newQuota makes one of so many in a hundred; nil and why if this machine has no
// control group for the processor.
func newQuota(t *testing.T, share int) (*quota, error) {
	t.Helper()
	var why error
	for _, kind := range []struct {
		fs, data, control, file, limit, none string
	}{
		{"cgroup", "cpu", "", "cpu.cfs_quota_us", strconv.Itoa(quotaPeriod * share / 100), "-1"},
		{"cgroup2", "", "cgroup.subtree_control", "cpu.max", fmt.Sprintf("%d %d", quotaPeriod*share/100, quotaPeriod), "max"},
	} {
		root := t.TempDir()
		if err := syscall.Mount("pfsync-test", root, kind.fs, 0, kind.data); err != nil {
			why = fmt.Errorf("mount %s: %w", kind.fs, err)
			continue
		}
		t.Cleanup(func() { syscall.Unmount(root, syscall.MNT_DETACH) })
		if kind.control != "" {
			_ = os.WriteFile(filepath.Join(root, kind.control), []byte("+cpu"), 0) // it may be so already
		}
		q := &quota{dir: filepath.Join(root, fmt.Sprintf("pfsync-test-%d", os.Getpid()))}
		limit := filepath.Join(q.dir, kind.file)
		if err := os.Mkdir(q.dir, 0o755); err != nil {
			why = err
			continue
		}
		t.Cleanup(func() { q.remove(t, root) })
		if why = os.WriteFile(limit, []byte(kind.limit), 0); why != nil {
			continue
		}
		q.lift = func() error { return os.WriteFile(limit, []byte(kind.none), 0) }
		return q, nil
	}
	return nil, why
}

// add puts a process into it.
func (q *quota) add(pid int) error {
	return os.WriteFile(filepath.Join(q.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// remove moves who is in it to the group above, and removes it.
func (q *quota) remove(t *testing.T, above string) {
	pids, err := os.ReadFile(filepath.Join(q.dir, "cgroup.procs"))
	for _, pid := range strings.Fields(string(pids)) {
		_ = os.WriteFile(filepath.Join(above, "cgroup.procs"), []byte(pid), 0) // it may have ended
	}
	if err == nil {
		err = os.Remove(q.dir)
	}
	if err != nil {
		t.Error(err)
	}
}

// throttled is what the kernel counts of it.
func (q *quota) throttled() string {
	b, _ := os.ReadFile(filepath.Join(q.dir, "cpu.stat"))
	return strings.Join(strings.Fields(string(b)), " ")
}

// poor is a receiver that has lost its table, and gets that of the sender with a
// tenth of a core while connections go on to begin and end.
func poor() fault {
	var q *quota
	return fault{
		name: "receiver with a tenth of a core joins", loses: true, long: true,
		begin: func(b *faultBed) {
			b.reboot(1)
			kernelFlows(b.t, b.FW[0], pfstate.OpCreate, quotaBulk)
			for _, g := range b.load {
				g.start()
			}
		},
		during: func(b *faultBed) {
			h := *b.h[1]
			h.t = b.group
			b.p[1] = h.daemon()
			var why error
			if q, why = newQuota(b.t, 10); why == nil {
				why = q.add(b.p[1].Pid())
			}
			if why != nil {
				b.t.Logf("no quota, it stands still for most of the time instead: %v", why)
				done := make(chan struct{})
				go func() { defer close(done); slow(1)(b) }()
				defer func() { <-done }()
			}
			b.h[1].ctl("pfsync0", "syncdev", nstest.SyncDev)
			b.overtakes()
		},
		end: func(b *faultBed) {
			if q != nil {
				b.t.Log(q.throttled())
				if err := q.lift(); err != nil {
					b.t.Error(err)
				}
			}
			b.h[1].ctl("pfsync0", "wait", "--timeout", "60")
			if n := b.entries(1); n < quotaBulk {
				b.t.Errorf("says ok with %d entries of %d", n, quotaBulk)
			}
		},
	}
}

// overtakes has connections begin at the sender, one after the other, while the
// receiver gets its table: they must not wait for the end of that.
func (b *faultBed) overtakes() {
	b.t.Helper()
	get := opened(b.t, b.FW[1], conntrack.NewInjector)
	defer get.Close()
	arrived, worst := 0, time.Duration(0)
	for i := quotaBulk; b.entries(1) < quotaBulk; i++ {
		kernelFlowsFrom(b.t, b.FW[0], pfstate.OpCreate, i, 1)
		start := time.Now()
		nstest.Eventually(b.t, b.patience, func() bool {
			op := []pfstate.Op{{Kind: pfstate.OpGet, Flow: newUDP(i).Flow}}
			res := make([]pfstate.Result, 1)
			_, err := get.Do(op, res)
			return err == nil && res[0].Code == pfstate.ResultOK
		}, "a connection that begins")
		if had := b.entries(1); had < quotaBulk {
			arrived, worst = arrived+1, max(worst, time.Since(start))
		}
	}
	b.t.Logf("ROW | live beside a transfer of %d | %d came before its end | worst %.0f ms", quotaBulk, arrived, float64(worst.Milliseconds()))
	if arrived < quotaProbes {
		b.t.Errorf("only %d connections came before the end of the transfer", arrived)
	}
}
