package main

import "encoding/binary"

// The stream is a function of the position alone, so that either end knows
// every byte and a lost, repeated or foreign one shows.

// fill writes the stream's bytes from offset on into b; both offset and the
// length of b are multiples of 8.
func fill(b []byte, offset uint64) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], word(offset/8+uint64(i)/8))
	}
}

// word is the n-th word of the stream: the finalizer of SplitMix64.
func word(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// checker compares a stream that arrives in pieces of any length.
type checker struct {
	offset uint64  // position of the next byte
	want   [8]byte // the word that holds it
}

// check reports the position of the first wrong byte of b, or ok.
func (c *checker) check(b []byte) (at uint64, ok bool) {
	for _, have := range b {
		if c.offset%8 == 0 {
			binary.LittleEndian.PutUint64(c.want[:], word(c.offset/8))
		}
		if have != c.want[c.offset%8] {
			return c.offset, false
		}
		c.offset++
	}
	return c.offset, true
}
