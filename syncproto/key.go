package syncproto

import "encoding/binary"

// Lengths of a key in bytes.
const (
	keyLen6 = 40 // version 6
	keyLen5 = 36 // version 5
)

// Indexes of State.Key (PF_SK_*).
const (
	KeyWire  = 0 // endpoints as the network sees them
	KeyStack = 1 // endpoints as the host sees them
)

// Key is one pair of endpoints (pfvar.h struct pfsync_state_key). Which index
// is the source of the first packet depends on the direction of the state:
// 0 for in, 1 for out.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                       addr[0] (16 bytes)                      |
//	+---------------------------------------------------------------+
//	|                       addr[1] (16 bytes)                      |
//	+-------------------------------+-------------------------------+
//	|            port[0]            |            port[1]            |
//	+-------------------------------+---------------+---------------+
//	|            rdomain            |    family     |      pad      |
//	+-------------------------------+---------------+---------------+
//
// Version 5 has no last line.
type Key struct {
	Addr    [2][16]byte // an IPv4 address is the first 4 bytes; the others mean nothing but are kept
	Port    [2]uint16   // ICMP queries: see pfsync-protocol.md section 8
	RDomain uint16      // version 6
	AF      uint8       // version 6; 0 in both keys: that of the record
	Pad     uint8       // version 6
}

func appendKey(b []byte, f Format, m *Key) []byte {
	b = append(b, m.Addr[0][:]...)
	b = append(b, m.Addr[1][:]...)
	b = binary.BigEndian.AppendUint16(b, m.Port[0])
	b = binary.BigEndian.AppendUint16(b, m.Port[1])
	if f != Format6 {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, m.RDomain)
	return append(b, m.AF, m.Pad)
}

// parseKey reads m from b, which the caller knows to be long enough, and
// returns what is behind it.
func parseKey(b []byte, f Format, m *Key) []byte {
	m.Addr[0] = [16]byte(b[0:])
	m.Addr[1] = [16]byte(b[16:])
	m.Port[0] = binary.BigEndian.Uint16(b[32:])
	m.Port[1] = binary.BigEndian.Uint16(b[34:])
	if f != Format6 {
		m.RDomain, m.AF, m.Pad = 0, 0, 0
		return b[keyLen5:]
	}
	m.RDomain = binary.BigEndian.Uint16(b[36:])
	m.AF, m.Pad = b[38], b[39]
	return b[keyLen6:]
}
