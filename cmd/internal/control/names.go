package control

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// sortNames sorts interface names by number: pfsync2 before pfsync10.
func sortNames(names []string) {
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(unit(a), unit(b)) })
}

func unit(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "pfsync"))
	if err != nil {
		return -1 // ValidName said there is a number
	}
	return n
}
