package syncproto

import "bytes"

// Name is the name of an interface, zero padded (IFNAMSIZ of the BSDs).
type Name [16]byte

// MakeName returns s as a Name. What is longer than 15 bytes is cut, so that
// a zero ends it.
func MakeName(s string) (n Name) {
	copy(n[:len(n)-1], s)
	return n
}

// String returns the bytes before the first zero.
func (n Name) String() string { return text(n[:]) }

// Terminated tells whether a zero ends the name; FreeBSD refuses to import a
// state where none does.
func (n *Name) Terminated() bool { return bytes.IndexByte(n[:], 0) >= 0 }

// Tag is the name of a pf tag, zero padded (PF_TAG_NAME_SIZE).
type Tag [64]byte

// String returns the bytes before the first zero.
func (t Tag) String() string { return text(t[:]) }

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
