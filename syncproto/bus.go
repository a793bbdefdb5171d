package syncproto

import "encoding/binary"

// BusLen is the length of a BUS message in bytes.
const BusLen = 12

// Status of a bulk transfer; others are ignored.
const (
	BusStart = 1
	BusEnd   = 2
)

// Bus tells that a bulk transfer starts or has ended (if_pfsync.h struct
// pfsync_bus).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------------------------------------------------------+
//	|                            endtime                            |
//	+---------------+-----------------------------------------------+
//	|    status     |                      pad                      |
//	+---------------+-----------------------------------------------+
type Bus struct {
	CreatorID uint32 // host id of the sender
	EndTime   uint32 // seconds since the request came; OpenBSD sends 0
	Status    uint8  // BusStart, BusEnd
	Pad       [3]byte
}

// AppendBus appends the 12 bytes of m to b.
func AppendBus(b []byte, m *Bus) []byte {
	b = binary.BigEndian.AppendUint32(b, m.CreatorID)
	b = binary.BigEndian.AppendUint32(b, m.EndTime)
	return append(b, m.Status, m.Pad[0], m.Pad[1], m.Pad[2])
}

// ParseBus reads m from the first 12 bytes of b.
func ParseBus(b []byte, m *Bus) error {
	if len(b) < BusLen {
		return ErrShort
	}
	m.CreatorID = binary.BigEndian.Uint32(b[0:])
	m.EndTime = binary.BigEndian.Uint32(b[4:])
	m.Status = b[8]
	m.Pad = [3]byte(b[9:12])
	return nil
}
