package engine

import "testing"

// TestGapRoom: whatever frames arrive of many, in whatever order, those that do
// not stay missing, though there are more holes than ranges.
func TestGapRoom(t *testing.T) {
	const first, n = uint32(1000), 100
	for _, tc := range []struct {
		name string
		step uint32 // between one arrival and the next
	}{{"upwards", 2}, {"downwards", n - 2}, {"mixed", 34}} {
		t.Run(tc.name, func(t *testing.T) {
			var g gap
			g.missing(0, 1, first, first+n-1)
			for i, at := 0, uint32(0); i < n/2; i, at = i+1, (at+tc.step)%n {
				g.arrived(first+at, first+at)
			}
			for at := uint32(1); at < n; at += 2 {
				if !g.has(first + at) {
					t.Errorf("frame %d of %d is forgotten", at, n)
				}
			}
			g.arrived(first, first+n-1)
			if g.n != 0 {
				t.Errorf("%d ranges are missing after all has arrived", g.n)
			}
		})
	}
}

// has reports whether a frame is missing.
func (g *gap) has(no uint32) bool {
	for _, f := range g.ranges[:g.n] {
		if int32(no-f.First) >= 0 && int32(f.Last-no) >= 0 {
			return true
		}
	}
	return false
}
