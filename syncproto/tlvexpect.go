package syncproto

import (
	"encoding/binary"
	"slices"
)

// Expectations
//
// A TLVExpect tells of one expectation of the state that it stands with (struct
// nf_conntrack_expect); the state may have several, and a record that carries
// none has none. Addresses have the length of the state's family, four or
// sixteen bytes, here as in TLVMaster.
//
//	+---------------+---------------+---------------+---------------+
//	|   protocol    |     what      | kernel's flags|     class     |
//	+---------------+---------------+---------------+---------------+
//	|                         seconds left                          |
//	+-------------------------------+-------------------------------+
//	|          source port          |       mask of the port        |
//	+-------------------------------+-------------------------------+
//	|        destination port       |     port without NAT          |
//	+-------------------------------+-------------------------------+
//	|  source, its mask, destination, address without NAT …         |
//	+---------------+-----------------------------------------------+
//	|      len      |  name of the helper …                         |
//	+---------------+-----------------------------------------------+
//	|      len      |  name of the kernel's function …              |
//	+---------------+-----------------------------------------------+

// Bits of Expect.What.
const (
	ExpectNAT      = 0x01 // the connection will be translated
	ExpectReplyDir = 0x02 // it comes from where the state's reply direction does
)

// Expect is the value of a TLVExpect.
type Expect struct {
	Proto    uint8
	What     uint8 // ExpectNAT, ExpectReplyDir
	Flags    uint8 // NF_CT_EXPECT_*
	Class    uint8
	Left     uint32 // seconds
	SrcPort  uint16
	MaskPort uint16
	DstPort  uint16
	NATPort  uint16
	Src      [16]byte // IPv4 in the first four
	MaskSrc  [16]byte
	Dst      [16]byte
	NATSrc   [16]byte
	Helper   string // up to 15 bytes, none is that of the state
	Fn       string // up to 23 bytes
}

const expectFixed = 16

// ExpectLen returns how long an AppendExpect makes a list of TLVs at most.
func ExpectLen(addr int) int { return 2 + expectFixed + 4*addr + 1 + 15 + 1 + 23 }

// AppendExpect appends a TLVExpect with addresses of addr bytes.
func AppendExpect(b []byte, m *Expect, addr int) []byte {
	at := len(b)
	b = append(b, uint8(TLVExpect), 0, m.Proto, m.What, m.Flags, m.Class)
	b = binary.BigEndian.AppendUint32(b, m.Left)
	for _, p := range [...]uint16{m.SrcPort, m.MaskPort, m.DstPort, m.NATPort} {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	for _, a := range [...]*[16]byte{&m.Src, &m.MaskSrc, &m.Dst, &m.NATSrc} {
		b = append(b, a[:addr]...)
	}
	b = append(append(b, uint8(min(len(m.Helper), 15))), m.Helper[:min(len(m.Helper), 15)]...)
	b = append(append(b, uint8(min(len(m.Fn), 23))), m.Fn[:min(len(m.Fn), 23)]...)
	b[at+1] = uint8(len(b) - at - 2)
	return b
}

// ParseExpect reads a TLVExpect.
func ParseExpect(v []byte, m *Expect, addr int) error {
	if len(v) < expectFixed+4*addr+2 {
		return ErrShort
	}
	n := Expect{Proto: v[0], What: v[1], Flags: v[2], Class: v[3], Left: binary.BigEndian.Uint32(v[4:])}
	for i, p := range [...]*uint16{&n.SrcPort, &n.MaskPort, &n.DstPort, &n.NATPort} {
		*p = binary.BigEndian.Uint16(v[8+2*i:])
	}
	for i, a := range [...]*[16]byte{&n.Src, &n.MaskSrc, &n.Dst, &n.NATSrc} {
		copy(a[:addr], v[expectFixed+i*addr:])
	}
	rest := v[expectFixed+4*addr:]
	for i, name := range [...]*string{&n.Helper, &n.Fn} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return ErrShort
		}
		s := rest[1 : 1+rest[0]]
		if len(s) > [...]int{15, 23}[i] || slices.Contains(s, 0) {
			return ErrValue
		}
		*name = string(s)
		rest = rest[1+len(s):]
	}
	*m = n
	return nil
}

// Master is the value of a TLVMaster: the original tuple of the connection in
// which a helper read that this one would come.
//
//	+---------------+-----------------------------------------------+
//	|   protocol    |                     pad                       |
//	+---------------+---------------+-------------------------------+
//	|          source port          |       destination port        |
//	+-------------------------------+-------------------------------+
//	|  source, destination …                                        |
//	+---------------------------------------------------------------+
type Master struct {
	Proto            uint8
	SrcPort, DstPort uint16
	Src, Dst         [16]byte // IPv4 in the first four
}

// AppendMaster appends a TLVMaster with addresses of addr bytes.
func AppendMaster(b []byte, m *Master, addr int) []byte {
	b = append(b, uint8(TLVMaster), uint8(8+2*addr), m.Proto, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.SrcPort)
	b = binary.BigEndian.AppendUint16(b, m.DstPort)
	b = append(b, m.Src[:addr]...)
	return append(b, m.Dst[:addr]...)
}

// ParseMaster reads a TLVMaster.
func ParseMaster(v []byte, m *Master, addr int) error {
	if len(v) < 8+2*addr {
		return ErrShort
	}
	n := Master{Proto: v[0], SrcPort: binary.BigEndian.Uint16(v[4:]), DstPort: binary.BigEndian.Uint16(v[6:])}
	copy(n.Src[:addr], v[8:])
	copy(n.Dst[:addr], v[8+addr:])
	*m = n
	return nil
}
