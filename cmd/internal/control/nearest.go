package control

import "strings"

// Nearest returns the name that s was most likely meant to be, "" if none is
// near: the shortest that begins with it, else one with at most a third of the
// letters wrong.
func Nearest(s string, names []string) string {
	if n := beginning(s, names); n != "" {
		return n
	}
	best, least := "", max(1, len(s)/3)
	for _, n := range names {
		if d := distance(s, n); d <= least && (best == "" || d < least) {
			best, least = n, d
		}
	}
	return best
}

func beginning(s string, names []string) string {
	best := ""
	for _, n := range names {
		if len(s) > 1 && strings.HasPrefix(n, s) && (best == "" || len(n) < len(best)) {
			best = n
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var before, last, row [65]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
