package syncproto

import "encoding/binary"

// The tail of a Format1500 record (FreeBSD pfvar.h struct pfsync_state_1500),
// 128 bytes:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                       tag name (64 bytes)                     |
//	+---------------------------------------------------------------+
//	|                      rt ifname (16 bytes)                     |
//	+---------------------------------------------------------------+
//	|                     orig ifname (16 bytes)                    |
//	+---------------------------------------------------------------+
//	|                           rtableid                            |
//	+-------------------------------+-------------------------------+
//	|          state flags          |              qid              |
//	+-------------------------------+-------------------------------+
//	|             pqid              |            dnpipe             |
//	+-------------------------------+-------------------------------+
//	|            dnrpipe            |            max mss            |
//	+---------------+---------------+---------------+---------------+
//	|    wire af    |   stack af    |     rt af     |  wire proto   |
//	+---------------+---------------+---------------+---------------+
//	|  stack proto  |      log      |    timeout    |   direction   |
//	+---------------+---------------+---------------+---------------+
//	|      rt       |    min ttl    |    set tos    |  set prio[0]  |
//	+---------------+---------------+---------------+---------------+
//	|  set prio[1]  |                     spare                     |
//	+---------------+-----------------------------------------------+

func appendTail1500(b []byte, m *State) []byte {
	b = append(b, m.Tag[:]...)
	b = append(b, m.RtIfName[:]...)
	b = append(b, m.OrigIfName[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(m.RTableID[0]))
	b = binary.BigEndian.AppendUint16(b, m.StateFlags)
	b = binary.BigEndian.AppendUint16(b, m.QID)
	b = binary.BigEndian.AppendUint16(b, m.PQID)
	b = binary.BigEndian.AppendUint16(b, m.DNPipe)
	b = binary.BigEndian.AppendUint16(b, m.DNRPipe)
	b = binary.BigEndian.AppendUint16(b, m.MaxMSS)
	b = append(b, m.AF, m.StackAF, m.RtAF, m.Proto, m.StackProto, m.Log, m.Timeout, m.Direction)
	b = append(b, m.Rt, m.MinTTL, m.SetTOS, m.SetPrio[0], m.SetPrio[1])
	return append(b, m.Spare[:]...)
}

func parseTail1500(b []byte, m *State) {
	b = b[:128]
	m.Tag = Tag(b[0:64])
	m.RtIfName = Name(b[64:80])
	m.OrigIfName = Name(b[80:96])
	m.RTableID[0] = int32(binary.BigEndian.Uint32(b[96:]))
	m.StateFlags = binary.BigEndian.Uint16(b[100:])
	m.QID = binary.BigEndian.Uint16(b[102:])
	m.PQID = binary.BigEndian.Uint16(b[104:])
	m.DNPipe = binary.BigEndian.Uint16(b[106:])
	m.DNRPipe = binary.BigEndian.Uint16(b[108:])
	m.MaxMSS = binary.BigEndian.Uint16(b[110:])
	m.AF, m.StackAF, m.RtAF = b[112], b[113], b[114]
	m.Proto, m.StackProto = b[115], b[116]
	m.Log, m.Timeout, m.Direction = b[117], b[118], b[119]
	m.Rt, m.MinTTL, m.SetTOS = b[120], b[121], b[122]
	m.SetPrio = [2]uint8(b[123:125])
	m.Spare = [3]byte(b[125:128])
}
