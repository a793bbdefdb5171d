package sim

import (
	"sync"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// simulate runs a scenario and returns its world when all is over.
func simulate(sc *scenario, tracing bool) *world {
	w := newWorld(sc)
	w.tracing, w.names = tracing, map[pfstate.ID]key{}
	start := w.now
	for _, n := range w.nodes {
		n.start()
	}
	if sc.pf {
		w.pfSpeaks()
	}
	for i := range sc.conns {
		c := &sc.conns[i]
		w.at(c.spec.at, func() { w.open(c.no, &c.spec) })
	}
	for i := range sc.faults {
		f := &sc.faults[i]
		w.at(f.spec.at, func() { w.strike(&f.spec) })
	}
	w.at(calm, w.heal)
	w.at(hush, func() { w.hushed = true })
	w.at(second, w.reaper)
	w.run(start + hush)
	if sc.also != nil {
		sc.also(w)
	}
	if len(w.complaints) > 0 {
		return w
	}
	w.settle(start)
	if len(w.complaints) == 0 {
		w.silence()
	}
	return w
}

// heal ends what faults there are.
func (w *world) heal() {
	w.log("calm")
	w.wire = wire{deaf: map[[2]int]bool{}}
	for _, n := range w.nodes {
		n.k.max = 0
		n.plug(true)
		if !n.running() {
			n.start()
		}
	}
	w.elect()
}

// TestRepeat: a run is a function of its scenario and of nothing else, be others
// made beside it or the trace kept.
func TestRepeat(t *testing.T) {
	var all sync.WaitGroup
	for seed := range uint64(12) {
		all.Go(func() {
			first := simulate(makeScenario(seed), false)
			again := simulate(makeScenario(seed), seed%2 == 0)
			if first.digest != again.digest {
				t.Errorf("seed %d runs otherwise the second time", seed)
			}
		})
	}
	all.Wait()
}
