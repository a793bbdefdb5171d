package syncproto

import "encoding/binary"

// SubheaderLen is the length of a region's subheader in bytes.
const SubheaderLen = 4

// MaxMessageLen is the longest message that a version 6 subheader can tell.
const MaxMessageLen = 255 * 4

// Subheader opens a region (if_pfsync.h struct pfsync_subheader).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|    action     |      len      |             count             |
//	+---------------+---------------+-------------------------------+
type Subheader struct {
	Action uint8  // as on the wire; its meaning depends on the version
	Len    uint8  // version 6: bytes of a message / 4; version 5: pad, sent 0, ignored
	Count  uint16 // messages in the region
}

// AppendSubheader appends the 4 bytes of m to b.
func AppendSubheader(b []byte, m *Subheader) []byte {
	b = append(b, m.Action, m.Len)
	return binary.BigEndian.AppendUint16(b, m.Count)
}

// ParseSubheader reads m from the first 4 bytes of b.
func ParseSubheader(b []byte, m *Subheader) error {
	if len(b) < SubheaderLen {
		return ErrShort
	}
	m.Action, m.Len = b[0], b[1]
	m.Count = binary.BigEndian.Uint16(b[2:])
	return nil
}
