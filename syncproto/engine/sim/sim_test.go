package sim

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// seeds is what a run simulates: SEEDS seeds from FROM on.
func seeds() (first, n uint64) {
	n = 1000
	if v, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 32); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("FROM"), 10, 64); err == nil {
		first = v
	}
	return first, n
}

const (
	maxFailed  = 50 // seeds, then a run ends
	maxStories = 5  // are told of those, all others are named
)

// TestSimulation runs many scenarios, on all cores, or the one that SIM says.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("SIM"); s != "" {
		sc, err := parseScenario(s)
		if err != nil {
			t.Fatal(err)
		}
		if w := simulate(sc, true); len(w.complaints) > 0 {
			t.Fatal(w.story())
		}
		return
	}
	first, n := seeds()
	var failed failures
	var next atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < n && failed.few(); i = next.Add(1) - 1 {
				if w := simulate(makeScenario(first+i), false); len(w.complaints) > 0 {
					failed.add(w)
				}
			}
		})
	}
	all.Wait()
	for i, w := range failed.list {
		if i < maxStories {
			t.Errorf("%s", explain(w))
		} else {
			t.Errorf("seed %d: %s", w.sc.seed, w.complaints[0])
		}
	}
	t.Logf("%d seeds", n)
}

type failures struct {
	sync.Mutex
	list []*world
}

func (f *failures) add(w *world) {
	f.Lock()
	defer f.Unlock()
	f.list = append(f.list, w)
}

func (f *failures) few() bool {
	f.Lock()
	defer f.Unlock()
	return len(f.list) < maxFailed
}

// explain tells what is wrong with a failed run, made as small as it gets.
func explain(w *world) string {
	small := shrink(w.sc)
	again := simulate(small, true)
	return fmt.Sprintf("seed %d: %s\nshrunk to %s", w.sc.seed, w.complaints[0], again.story())
}

// story is all about a failed run.
func (w *world) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIM='%s', %d nodes, %d connections, %d faults\n", w.sc, w.sc.nodes, len(w.sc.conns), len(w.sc.faults))
	for _, c := range w.complaints {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	b.WriteString(w.tale(w.complaints[0].about))
	return b.String()
}
