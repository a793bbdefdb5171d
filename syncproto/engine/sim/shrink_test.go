package sim

import (
	"fmt"
	"slices"
	"testing"
)

const (
	// shrinkRuns bounds the runs that making a scenario smaller may take.
	shrinkRuns = 2000
	// salts are how many fates of the frames are tried: with anything taken out
	// of a scenario others get lost than before.
	salts = 6
)

// shrink takes out of a scenario that fails whatever it also fails without.
func shrink(sc *scenario) *scenario {
	best, runs := sc, 0
	try := func(c scenario) bool {
		for salt := range uint64(salts) {
			c.salt = (best.salt + salt) % salts
			if runs++; runs > shrinkRuns {
				return false
			}
			if len(simulate(&c, false).complaints) > 0 {
				best = &c
				return true
			}
		}
		return false
	}
	for again := true; again; {
		again = false
		for best.nodes > 2 {
			c := *best
			c.nodes--
			if !try(c) {
				break
			}
			again = true
		}
		if !best.quiet() {
			c := *best
			c.wire = wire{}
			again = try(c) || again
		}
		again = fewer(best.faults, func(l []numbered[faultSpec]) bool { c := *best; c.faults = l; return try(c) }) || again
		again = fewer(best.conns, func(l []numbered[connSpec]) bool { c := *best; c.conns = l; return try(c) }) || again
	}
	return best
}

// fewer takes out ever smaller parts of a list, as long as it still fails
// without them.
func fewer[T any](list []T, fails func([]T) bool) (any bool) {
	for part := len(list); part > 0; part /= 2 {
		for i := 0; i < len(list); {
			rest := append(append([]T(nil), list[:i]...), list[min(i+part, len(list)):]...)
			if fails(rest) {
				list, any = rest, true
			} else {
				i += part
			}
		}
	}
	return any
}

// TestShrink: what a failure does not need is left out, and what is left is
// written so that it can be run again.
func TestShrink(t *testing.T) {
	sc := makeScenario(3)
	for sc.nodes < 3 || len(sc.faults) < 3 || sc.quiet() {
		sc = makeScenario(sc.seed + 1)
	}
	conn, fault := sc.conns[len(sc.conns)/2].no, sc.faults[1].no
	has := func(w *world) bool {
		c := slices.ContainsFunc(w.sc.conns, func(x numbered[connSpec]) bool { return x.no == conn })
		return c && slices.ContainsFunc(w.sc.faults, func(x numbered[faultSpec]) bool { return x.no == fault })
	}
	sc.also = func(w *world) {
		if has(w) {
			w.complain(key{}, "as it should be")
		}
	}
	got, want := shrink(sc).String(), fmt.Sprintf("%d nodes=2 conns=%d faults=%d quiet", sc.seed, conn, fault)
	if got != want {
		t.Errorf("shrunk to %q, want %q", got, want)
	}
	again, err := parseScenario(got)
	if err != nil || again.String() != got {
		t.Errorf("%q reads as %v, %v", got, again, err)
	}
}
