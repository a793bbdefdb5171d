package syncproto

// The tail of a Format1301 record (FreeBSD pfvar.h struct pfsync_state_1301),
// 10 bytes:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+---------------+---------------+
//	|      af       |     proto     |   direction   |     spare     |
//	+---------------+---------------+---------------+---------------+
//	|     spare     |      log      |  state flags  |    timeout    |
//	+---------------+---------------+---------------+---------------+
//	|  sync flags   |    updates    |
//	+---------------+---------------+

func appendTail1301(b []byte, m *State) []byte {
	return append(b, m.AF, m.Proto, m.Direction, m.Spare[0], m.Spare[1], m.Log,
		uint8(m.StateFlags), m.Timeout, m.SyncFlags, m.Updates)
}

func parseTail1301(b []byte, m *State) {
	b = b[:10]
	m.AF, m.Proto, m.Direction = b[0], b[1], b[2]
	m.Spare[0], m.Spare[1] = b[3], b[4]
	m.Log, m.StateFlags, m.Timeout = b[5], uint16(b[6]), b[7]
	m.SyncFlags, m.Updates = b[8], b[9]
}
