package syncproto

import "encoding/binary"

// ClrLen is the length of a CLR message in bytes.
const ClrLen = 20

// Clr asks to remove the states of a creator (if_pfsync.h struct pfsync_clr).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                      ifname (16 bytes)                        |
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------------------------------------------------------+
type Clr struct {
	IfName    Name // empty: all interfaces
	CreatorID uint32
}

// AppendClr appends the 20 bytes of m to b.
func AppendClr(b []byte, m *Clr) []byte {
	b = append(b, m.IfName[:]...)
	return binary.BigEndian.AppendUint32(b, m.CreatorID)
}

// ParseClr reads m from the first 20 bytes of b.
func ParseClr(b []byte, m *Clr) error {
	if len(b) < ClrLen {
		return ErrShort
	}
	m.IfName = Name(b[0:16])
	m.CreatorID = binary.BigEndian.Uint32(b[16:])
	return nil
}
