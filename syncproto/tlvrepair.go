package syncproto

import "encoding/binary"

// Values of the TLVs of control. They are lists: the functions that append
// start a TLV with its fixed part and return the list with as many items as
// fit; items are read one by one.

// Frames is an item of TLVWantFrames: frames of the receiver that the sender
// of the request has not seen.
type Frames struct {
	Epoch       uint32
	First, Last uint32 // inclusive; First > Last goes over the wrap
}

// AppendWantFrames appends a TLVWantFrames; of more than MaxWantFrames items
// the first.
func AppendWantFrames(b []byte, items []Frames) []byte {
	items = items[:min(len(items), MaxWantFrames)]
	b = append(b, uint8(TLVWantFrames), uint8(12*len(items)))
	for _, f := range items {
		b = binary.BigEndian.AppendUint32(b, f.Epoch)
		b = binary.BigEndian.AppendUint32(b, f.First)
		b = binary.BigEndian.AppendUint32(b, f.Last)
	}
	return b
}

// NextFrames takes the first item off the value of a TLVWantFrames.
func NextFrames(v []byte) (f Frames, rest []byte, ok bool) {
	if len(v) < 12 {
		return Frames{}, nil, false
	}
	f.Epoch = binary.BigEndian.Uint32(v[0:])
	f.First = binary.BigEndian.Uint32(v[4:])
	f.Last = binary.BigEndian.Uint32(v[8:])
	return f, v[12:], true
}

// AppendDigest appends a TLVDigest: the digests of the buckets from first on
// of a table of so many buckets; of more than MaxDigests the first.
func AppendDigest(b []byte, buckets, first uint16, digests []uint64) []byte {
	digests = digests[:min(len(digests), MaxDigests)]
	b = append(b, uint8(TLVDigest), uint8(4+8*len(digests)))
	b = binary.BigEndian.AppendUint16(b, buckets)
	b = binary.BigEndian.AppendUint16(b, first)
	for _, d := range digests {
		b = binary.BigEndian.AppendUint64(b, d)
	}
	return b
}

// Digest is the value of a TLVDigest.
type Digest struct {
	Buckets uint16 // buckets of the sender's table
	First   uint16 // number of the first one told
	Data    []byte // the digests
}

// ParseDigest reads a TLVDigest. Data points into v.
func ParseDigest(v []byte, m *Digest) error {
	if len(v) < 4 {
		return ErrShort
	}
	m.Buckets, m.First = binary.BigEndian.Uint16(v[0:]), binary.BigEndian.Uint16(v[2:])
	m.Data = v[4:]
	return nil
}

// Len returns how many digests there are.
func (m *Digest) Len() int { return len(m.Data) / 8 }

// At returns the digest of bucket First+i.
func (m *Digest) At(i int) uint64 { return binary.BigEndian.Uint64(m.Data[8*i:]) }

// AppendWantBuckets appends a TLVWantBuckets for a table of so many buckets;
// of more than MaxWantBuckets numbers the first.
func AppendWantBuckets(b []byte, buckets uint16, numbers []uint16) []byte {
	numbers = numbers[:min(len(numbers), MaxWantBuckets)]
	b = append(b, uint8(TLVWantBuckets), uint8(2+2*len(numbers)))
	b = binary.BigEndian.AppendUint16(b, buckets)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// WantBuckets is the value of a TLVWantBuckets.
type WantBuckets struct {
	Buckets uint16 // buckets of the sender's table
	Data    []byte // the numbers
}

// ParseWantBuckets reads a TLVWantBuckets. Data points into v.
func ParseWantBuckets(v []byte, m *WantBuckets) error {
	if len(v) < 2 {
		return ErrShort
	}
	m.Buckets, m.Data = binary.BigEndian.Uint16(v), v[2:]
	return nil
}

// Len returns how many numbers there are.
func (m *WantBuckets) Len() int { return len(m.Data) / 2 }

// At returns number i.
func (m *WantBuckets) At(i int) uint16 { return binary.BigEndian.Uint16(m.Data[2*i:]) }

// FramesAgain is the value of TLVFramesAgain, the answer to TLVWantFrames.
type FramesAgain struct {
	Frames
	Forgotten bool // too long ago: only a bulk transfer helps
}

// AppendFramesAgain appends a TLVFramesAgain.
func AppendFramesAgain(b []byte, m *FramesAgain) []byte {
	b = append(b, uint8(TLVFramesAgain), 13)
	b = binary.BigEndian.AppendUint32(b, m.Epoch)
	b = binary.BigEndian.AppendUint32(b, m.First)
	b = binary.BigEndian.AppendUint32(b, m.Last)
	if m.Forgotten {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseFramesAgain reads a TLVFramesAgain.
func ParseFramesAgain(v []byte, m *FramesAgain) error {
	if len(v) < 13 {
		return ErrShort
	}
	m.Frames, _, _ = NextFrames(v)
	m.Forgotten = v[12] != 0
	return nil
}
