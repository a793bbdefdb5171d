package syncproto

import "encoding/binary"

// The tail of a Format1400 record (FreeBSD pfvar.h struct pfsync_state_1400),
// 45 bytes; state flags are at an odd offset:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+---------------+---------------+
//	|      af       |     proto     |   direction   |  state flags
//	+---------------+---------------+---------------+---------------+
//	                |      log      |     spare     |    timeout    |
//	+---------------+---------------+---------------+---------------+
//	|  sync flags   |    updates    |              qid              |
//	+---------------+---------------+-------------------------------+
//	|             pqid              |            dnpipe             |
//	+-------------------------------+-------------------------------+
//	|            dnrpipe            |            rtableid
//	+-------------------------------+---------------+---------------+
//	                                |    min ttl    |    set tos    |
//	+-------------------------------+---------------+---------------+
//	|            max mss            |  set prio[0]  |  set prio[1]  |
//	+---------------+---------------+---------------+---------------+
//	|      rt       |            rt ifname (16 bytes)               |
//	+---------------+-----------------------------------------------+

func appendTail1400(b []byte, m *State) []byte {
	b = append(b, m.AF, m.Proto, m.Direction)
	b = binary.BigEndian.AppendUint16(b, m.StateFlags)
	b = append(b, m.Log, m.Spare[0], m.Timeout, m.SyncFlags, m.Updates)
	b = binary.BigEndian.AppendUint16(b, m.QID)
	b = binary.BigEndian.AppendUint16(b, m.PQID)
	b = binary.BigEndian.AppendUint16(b, m.DNPipe)
	b = binary.BigEndian.AppendUint16(b, m.DNRPipe)
	b = binary.BigEndian.AppendUint32(b, uint32(m.RTableID[0]))
	b = append(b, m.MinTTL, m.SetTOS)
	b = binary.BigEndian.AppendUint16(b, m.MaxMSS)
	b = append(b, m.SetPrio[0], m.SetPrio[1], m.Rt)
	return append(b, m.RtIfName[:]...)
}

func parseTail1400(b []byte, m *State) {
	b = b[:45]
	m.AF, m.Proto, m.Direction = b[0], b[1], b[2]
	m.StateFlags = binary.BigEndian.Uint16(b[3:])
	m.Log, m.Spare[0], m.Timeout = b[5], b[6], b[7]
	m.SyncFlags, m.Updates = b[8], b[9]
	m.QID = binary.BigEndian.Uint16(b[10:])
	m.PQID = binary.BigEndian.Uint16(b[12:])
	m.DNPipe = binary.BigEndian.Uint16(b[14:])
	m.DNRPipe = binary.BigEndian.Uint16(b[16:])
	m.RTableID[0] = int32(binary.BigEndian.Uint32(b[18:]))
	m.MinTTL, m.SetTOS = b[22], b[23]
	m.MaxMSS = binary.BigEndian.Uint16(b[24:])
	m.SetPrio = [2]uint8(b[26:28])
	m.Rt = b[28]
	m.RtIfName = Name(b[29:45])
}
