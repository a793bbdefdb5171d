package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A scenario made smaller is written as its seed and what is kept of it:
//
//	207 nodes=2 conns=3,7 faults=1 quiet
//
// A word left out keeps everything; quiet is a link without loss, repetition
// and delay, salt gives the frames another fate.

func (sc *scenario) String() string {
	whole := makeScenario(sc.seed)
	s := strconv.FormatUint(sc.seed, 10)
	if sc.salt != 0 {
		s += fmt.Sprintf(" salt=%d", sc.salt)
	}
	if sc.nodes != whole.nodes {
		s += fmt.Sprintf(" nodes=%d", sc.nodes)
	}
	if len(sc.conns) != len(whole.conns) {
		s += " conns=" + numbers(sc.conns)
	}
	if len(sc.faults) != len(whole.faults) {
		s += " faults=" + numbers(sc.faults)
	}
	if sc.quiet() && !whole.quiet() {
		s += " quiet"
	}
	return s
}

func (sc *scenario) quiet() bool {
	return sc.wire.loss == 0 && sc.wire.dup == 0 && sc.wire.jitter == 0
}

func numbers[T any](list []numbered[T]) string {
	var s []string
	for _, x := range list {
		s = append(s, strconv.Itoa(x.no))
	}
	slices.SortFunc(s, func(a, b string) int { return strings.Compare(fmt.Sprintf("%6s", a), fmt.Sprintf("%6s", b)) })
	return strings.Join(s, ",")
}

// parseScenario reads what String writes.
func parseScenario(s string) (*scenario, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return nil, fmt.Errorf("sim: no scenario")
	}
	seed, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil {
		return nil, err
	}
	sc := makeScenario(seed)
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "salt":
			sc.salt, err = strconv.ParseUint(value, 10, 32)
		case "nodes":
			sc.nodes, err = strconv.Atoi(value)
		case "conns":
			sc.conns, err = only(sc.conns, value)
		case "faults":
			sc.faults, err = only(sc.faults, value)
		case "quiet":
			sc.wire = wire{}
		default:
			err = fmt.Errorf("sim: %s: no such word", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if sc.nodes < 2 || sc.nodes > maxNodes {
		return nil, fmt.Errorf("sim: %d nodes", sc.nodes)
	}
	return sc, nil
}

// only keeps the numbers that are listed.
func only[T any](list []numbered[T], value string) (kept []numbered[T], err error) {
	want := map[int]bool{}
	for _, v := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
		no, err := strconv.Atoi(v)
		if err != nil {
			return nil, err
		}
		want[no] = true
	}
	for _, x := range list {
		if want[x.no] {
			kept = append(kept, x)
		}
	}
	return kept, nil
}
