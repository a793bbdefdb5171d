package sim

import (
	"fmt"
	"os"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestDigests: where the tables are equal the digests say so too, whatever has
// happened before: what differs by nature is not in them.
func TestDigests(t *testing.T) {
	first, n := seeds()
	if os.Getenv("SEEDS") == "" {
		n = 40
	}
	for seed := first; seed < first+n; seed++ {
		sc := makeScenario(seed)
		if sc.mixed {
			continue // version 5 carries no marks, and compares no digests
		}
		w := simulate(sc, false)
		if len(w.complaints) > 0 {
			continue // TestSimulation says so
		}
		var diff []string
		for range 20 { // what is under way has a moment to arrive
			w.run(w.now + second)
			if diff = w.digestsDiffer(); len(diff) == 0 {
				break
			}
		}
		for _, d := range diff {
			t.Errorf("seed %d: %s", seed, d)
		}
	}
}

// digestsDiffer lists the states that two nodes have, with other digests.
func (w *world) digestsDiffer() (out []string) {
	for _, n := range w.nodes {
		tab := n.eng.Table()
		for r := pfstate.Ref(1); r < tab.End(); r++ {
			if !tab.InUse(r) || tab.At(r).Expire-w.now < nearEnd {
				continue
			}
			s := tab.At(r)
			for _, o := range w.nodes[n.no+1:] {
				have, _, ok := o.eng.Table().ByName(s.DigestName())
				if !ok {
					continue // near its end there
				}
				if x := o.eng.Table().At(have); x.Digest() != s.Digest() {
					out = append(out, fmt.Sprintf("%s has %v as %s, %s as %s", n.name, s.DigestName(), inDigest(s), o.name, inDigest(x)))
				}
			}
		}
	}
	return out
}

// inDigest is what of a state is in its digest.
func inDigest(s *pfstate.State) string {
	return fmt.Sprintf("%08x: %d:%d status %x mark %d flags %x names %v %v", s.Digest(), s.Src.State, s.Dst.State, s.Status, s.Mark, s.Flags,
		s.Name(pfstate.SideIn), s.Name(pfstate.SideOut))
}
