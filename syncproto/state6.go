package syncproto

import "encoding/binary"

// The tail of a Format6 record (OpenBSD pfvar.h struct pfsync_state), 24 bytes:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                          rtableid[0]                          |
//	+---------------------------------------------------------------+
//	|                          rtableid[1]                          |
//	+-------------------------------+---------------+---------------+
//	|            max mss            |      af       |     proto     |
//	+---------------+---------------+---------------+---------------+
//	|   direction   |      log      |      rt       |    timeout    |
//	+---------------+---------------+---------------+---------------+
//	|  sync flags   |    updates    |    min ttl    |    set tos    |
//	+---------------+---------------+---------------+---------------+
//	|          state flags          |  set prio[0]  |  set prio[1]  |
//	+-------------------------------+---------------+---------------+

func appendTail6(b []byte, m *State) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(m.RTableID[0]))
	b = binary.BigEndian.AppendUint32(b, uint32(m.RTableID[1]))
	b = binary.BigEndian.AppendUint16(b, m.MaxMSS)
	b = append(b, m.AF, m.Proto, m.Direction, m.Log, m.Rt, m.Timeout,
		m.SyncFlags, m.Updates, m.MinTTL, m.SetTOS)
	b = binary.BigEndian.AppendUint16(b, m.StateFlags)
	return append(b, m.SetPrio[0], m.SetPrio[1])
}

func parseTail6(b []byte, m *State) {
	b = b[:24]
	m.RTableID[0] = int32(binary.BigEndian.Uint32(b[0:]))
	m.RTableID[1] = int32(binary.BigEndian.Uint32(b[4:]))
	m.MaxMSS = binary.BigEndian.Uint16(b[8:])
	m.AF, m.Proto = b[10], b[11]
	m.Direction, m.Log, m.Rt, m.Timeout = b[12], b[13], b[14], b[15]
	m.SyncFlags, m.Updates, m.MinTTL, m.SetTOS = b[16], b[17], b[18], b[19]
	m.StateFlags = binary.BigEndian.Uint16(b[20:])
	m.SetPrio = [2]uint8(b[22:24])
}
