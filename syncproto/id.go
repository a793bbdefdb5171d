package syncproto

import (
	"encoding/binary"
	"fmt"
	"log/slog"
)

// IDLen is the length of an INS_ACK, UPD_REQ or DEL_C message in bytes.
const IDLen = 12

// ID names a state; it is the whole message of INS_ACK, UPD_REQ and DEL_C
// (if_pfsync.h struct pfsync_ins_ack, pfsync_upd_req, pfsync_del_c). In an
// UPD_REQ the zero ID asks for a bulk transfer.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                         id (8 bytes)                          |
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------------------------------------------------------+
//
// Both are opaque. Read as big-endian numbers they print as pf's tools do.
type ID struct {
	ID        uint64 // unique per creator
	CreatorID uint32 // host id of the firewall that made the state
}

// AppendID appends the 12 bytes of m to b.
func AppendID(b []byte, m *ID) []byte {
	b = binary.BigEndian.AppendUint64(b, m.ID)
	return binary.BigEndian.AppendUint32(b, m.CreatorID)
}

// ParseID reads m from the first 12 bytes of b.
func ParseID(b []byte, m *ID) error {
	if len(b) < IDLen {
		return ErrShort
	}
	m.ID = binary.BigEndian.Uint64(b[0:])
	m.CreatorID = binary.BigEndian.Uint32(b[8:])
	return nil
}

// String returns the form of tcpdump, "id: %016x creatorid: %08x".
func (m ID) String() string {
	return fmt.Sprintf("id: %016x creatorid: %08x", m.ID, m.CreatorID)
}

// LogValue gives logs the numbers as pf prints them.
func (m ID) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", fmt.Sprintf("%016x", m.ID)),
		slog.String("creatorid", fmt.Sprintf("%08x", m.CreatorID)))
}
