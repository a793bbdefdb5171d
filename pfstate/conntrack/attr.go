package conntrack

import "encoding/binary"

// attrs walks the attributes of a message or a nest:
//
//	 0                   1                   2                   3
//	+-------------------------------+-------------------------------+
//	| length (header and data)      | N O  type                     | host order
//	+-------------------------------+-------------------------------+
//	| data, padded to four bytes …                                  | big endian
//	+---------------------------------------------------------------+
//
// data points into the buffer it was made from. A length that does not fit
// ends the walk with ok false and bad true.
type attrs struct {
	rest []byte
	data []byte
	typ  uint16
	bad  bool
}

// next steps to the next attribute and reports whether there is one.
func (a *attrs) next() bool {
	if len(a.rest) < attrHdr {
		a.bad = a.bad || len(a.rest) != 0
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < attrHdr || n > len(a.rest) {
		a.bad = true
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) &^ attrFlags
	a.data = a.rest[attrHdr:n]
	a.rest = a.rest[min(align4(n), len(a.rest)):]
	return true
}

func (a *attrs) u8(p *uint8) {
	if len(a.data) != 1 {
		a.fail()
		return
	}
	*p = a.data[0]
}

func (a *attrs) u16(p *uint16) {
	if len(a.data) != 2 {
		a.fail()
		return
	}
	*p = binary.BigEndian.Uint16(a.data)
}

func (a *attrs) u32(p *uint32) {
	if len(a.data) != 4 {
		a.fail()
		return
	}
	*p = binary.BigEndian.Uint32(a.data)
}

func (a *attrs) u64(p *uint64) {
	if len(a.data) != 8 {
		a.fail()
		return
	}
	*p = binary.BigEndian.Uint64(a.data)
}

// bytes copies data to p, which may be longer; the rest of p stays.
func (a *attrs) bytes(p []byte) {
	if len(a.data) > len(p) {
		a.fail()
		return
	}
	copy(p, a.data)
}

// exact copies data to p, which has to have its length.
func (a *attrs) exact(p []byte) {
	if len(a.data) != len(p) {
		a.fail()
		return
	}
	copy(p, a.data)
}

// fail ends the walk.
func (a *attrs) fail() {
	a.bad = true
	a.rest = nil
}

func align4(n int) int { return (n + 3) &^ 3 }

// pad fills b up to the next attribute. The messages in b start at multiples
// of four.
func pad(b []byte) []byte {
	var zero [3]byte
	return append(b, zero[:align4(len(b))-len(b)]...)
}

func putHdr(b []byte, typ uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHdr+n))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func put8(b []byte, typ uint16, v uint8) []byte {
	return append(putHdr(b, typ, 1), v, 0, 0, 0)
}

func put16(b []byte, typ, v uint16) []byte {
	return append(putHdr(b, typ, 2), byte(v>>8), byte(v), 0, 0)
}

func put32(b []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(putHdr(b, typ, 4), v)
}

func put64(b []byte, typ uint16, v uint64) []byte {
	return binary.BigEndian.AppendUint64(putHdr(b, typ, 8), v)
}

func putBytes(b []byte, typ uint16, p []byte) []byte {
	return pad(append(putHdr(b, typ, len(p)), p...))
}

// nest opens a nested attribute; at is where close finds it.
func nest(b []byte, typ uint16) (_ []byte, at int) {
	return putHdr(b, typ|nestedFlag, 0), len(b)
}

// closeNest writes the length of the nest opened at.
func closeNest(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

func putNative32(b []byte, typ uint16, v uint32) []byte {
	return binary.NativeEndian.AppendUint32(putHdr(b, typ, 4), v)
}

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
