package sim

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
