package syncproto

import "encoding/binary"

// UpdCLen is the length of an UPD_C message in bytes.
const UpdCLen = 84

// UpdC is a compressed update: what changes in the life of a state
// (if_pfsync.h struct pfsync_upd_c).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                         id (8 bytes)                          |
//	+---------------------------------------------------------------+
//	|                   src, see Peer (32 bytes)                    |
//	+---------------------------------------------------------------+
//	|                   dst, see Peer (32 bytes)                    |
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------------------------------------------------------+
//	|                            expire                             |
//	+---------------+---------------+-------------------------------+
//	|    timeout    |  state flags  |              pad              |
//	+---------------+---------------+-------------------------------+
type UpdC struct {
	ID         uint64
	Src, Dst   Peer
	CreatorID  uint32
	Expire     uint32 // sent 0, ignored: the receiver starts the timeout anew
	Timeout    uint8  // index, see TimeoutTCPFirst
	StateFlags uint8  // sent 0, ignored; version 5: pad
	Pad        [2]byte
}

// AppendUpdC appends the 84 bytes of m to b.
func AppendUpdC(b []byte, m *UpdC) []byte {
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = appendPeer(b, &m.Src)
	b = appendPeer(b, &m.Dst)
	b = binary.BigEndian.AppendUint32(b, m.CreatorID)
	b = binary.BigEndian.AppendUint32(b, m.Expire)
	return append(b, m.Timeout, m.StateFlags, m.Pad[0], m.Pad[1])
}

// ParseUpdC reads m from the first 84 bytes of b.
func ParseUpdC(b []byte, m *UpdC) error {
	if len(b) < UpdCLen {
		return ErrShort
	}
	b = b[:UpdCLen]
	m.ID = binary.BigEndian.Uint64(b[0:])
	parsePeer(b[8:], &m.Src)
	parsePeer(b[40:], &m.Dst)
	m.CreatorID = binary.BigEndian.Uint32(b[72:])
	m.Expire = binary.BigEndian.Uint32(b[76:])
	m.Timeout, m.StateFlags = b[80], b[81]
	m.Pad = [2]byte(b[82:])
	return nil
}
