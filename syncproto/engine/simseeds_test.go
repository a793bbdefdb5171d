package engine

import (
	"os"
	"strconv"
)

// simSeeds is how many seeds a run simulates: SEEDS, as in
// `make simulate SEEDS=`.
func simSeeds() int {
	if n, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		return n
	}
	return 200
}
