package engine

import (
	"os"
	"strconv"
)

// simSeeds is what a run simulates: SEEDS seeds from SEED on, as in
// `make simulate SEEDS=`.
func simSeeds() (first, n uint64) {
	n = 200
	if v, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 32); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 32); err == nil {
		first = v
	}
	return first, n
}
