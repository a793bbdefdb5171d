package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// pairsEnv is the number of pairs of firewalls in TestManyNamespaces; if it is
// set, what they cost while nothing happens is measured too.
const pairsEnv = "PFSYNC_PAIRS"

// mostIdle is what a daemon with an empty table may have of memory of its own,
// in kilobytes: three times as much where the kernel gives two megabytes to
// whoever touches a page of them.
func mostIdle() int {
	huge, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled") // not there: no huge pages
	if strings.Contains(string(huge), "[always]") {
		return 24 << 10
	}
	return 8 << 10
}

// TestManyNamespaces: many firewalls on one machine, a daemon each, are half as
// many pairs, and what one of a pair knows none of another does.
func TestManyNamespaces(t *testing.T) {
	bed := nstest.New(t)
	hosts := make([][2]*host, envNumber(t, pairsEnv, 8))
	for i := range hosts {
		for k := range hosts[i] {
			ns := bed.NS(fmt.Sprintf("fw%d-%d", i, k))
			ns.Nft(t, nstest.StrictRules)
			hosts[i][k] = newHost(t, ns)
		}
		bed.Veth(hosts[i][0].NS, nstest.SyncDev, hosts[i][1].NS, nstest.SyncDev)
		for k, h := range hosts[i] {
			h.Addr(t, nstest.SyncDev, fmt.Sprintf("10.0.3.%d/24", k+2))
		}
	}
	each := func(what string, f func(i int, h *host) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, 2*len(hosts))
		for i := range hosts {
			for _, h := range hosts[i] {
				wg.Go(func() { errs <- f(i, h) })
			}
		}
		wg.Wait()
		for range 2 * len(hosts) {
			if err := <-errs; err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	each("start", func(_ int, h *host) error { _, err := h.tryCtl("pfsync0", "syncdev", nstest.SyncDev); return err })
	each("sync", func(_ int, h *host) error { _, err := h.tryCtl("pfsync0", "wait", "--timeout", "60"); return err })
	for i := range hosts {
		kernelFlows(t, hosts[i][0].NS, pfstate.OpCreate, i+1)
	}
	for i := range hosts {
		h := hosts[i][1]
		nstest.EventuallyNil(t, patience, func() error {
			if n := kernelCount(t, h.NS, pfstate.ProtoUDP); n != i+1 {
				return errorText(strconv.Itoa(n))
			}
			return nil
		}, fmt.Sprintf("%d entries in pair %d", i+1, i))
	}
	total, most := 0, 0
	for i := range hosts {
		for _, h := range hosts[i] {
			kb := anonymous(t, h.pid())
			total, most = total+kb, max(most, kb)
		}
	}
	t.Logf("%d daemons: %d kB of memory of their own in all, %d kB the largest", 2*len(hosts), total, most)
	if most > mostIdle() {
		t.Errorf("a daemon has %d kB, more than %d", most, mostIdle())
	}
	if os.Getenv(pairsEnv) != "" {
		const watched = 20 * time.Second
		cost, woken := processorTime(t, hosts)
		time.Sleep(watched)
		costAfter, wokenAfter := processorTime(t, hosts)
		t.Logf("all of them take %.2f %% of a core; each has its threads woken %.1f times a second",
			float64(costAfter-cost)/float64(watched)*100, float64(wokenAfter-woken)/watched.Seconds()/float64(2*len(hosts)))
	}
}

// processorTime is what all daemons have had, and how often their threads have
// waited for something.
func processorTime(t *testing.T, hosts [][2]*host) (sum time.Duration, waits int) {
	t.Helper()
	for _, pair := range hosts {
		for _, h := range pair {
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", h.pid()))
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range tasks {
				b, _ := os.ReadFile(filepath.Join(task, "schedstat")) // a thread may have ended
				var ns int64
				fmt.Sscan(string(b), &ns)
				sum += time.Duration(ns)
				b, _ = os.ReadFile(filepath.Join(task, "status"))
				_, v, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
				var n int
				fmt.Sscan(v, &n)
				waits += n
			}
		}
	}
	return sum, waits
}

// envNumber is the number that an environment variable holds.
func envNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: want a number", name, v)
	}
	return n
}

// anonymous is the memory of a process that no file stands behind, in kilobytes.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, v, _ := strings.Cut(string(b), "RssAnon:")
	kb, err := strconv.Atoi(strings.Fields(v)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
