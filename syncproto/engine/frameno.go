package engine

// Numbers of frames between Linux peers go from 1 to 2³²−1 and on with 1: 0 is
// never given.

// frameAfter is the number that follows n.
func frameAfter(n uint32) uint32 {
	if n++; n == 0 {
		return 1
	}
	return n
}

// frameBefore is the number that n follows.
func frameBefore(n uint32) uint32 {
	if n <= 1 {
		return 1<<32 - 1
	}
	return n - 1
}

// framesFrom is how many frames b is later than a; negative if it is earlier.
func framesFrom(a, b uint32) int32 {
	d := int32(b - a)
	switch {
	case d > 0 && b < a:
		d--
	case d < 0 && b > a:
		d++
	}
	return d
}
