package syncproto

import "encoding/binary"

// PeerLen is the length of a peer in bytes.
const PeerLen = 32

// Peer is the tracking of one side of a state: src is the side that sent the
// first packet (pfvar.h struct pfsync_state_peer).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+---------------+---------------+
//	|          scrub flags          |   scrub ttl   |  scrub valid  |
//	+-------------------------------+---------------+---------------+
//	|                         scrub ts mod                          |
//	+---------------------------------------------------------------+
//	|                             seqlo                             |
//	+---------------------------------------------------------------+
//	|                             seqhi                             |
//	+---------------------------------------------------------------+
//	|                            seqdiff                            |
//	+-------------------------------+-------------------------------+
//	|            max win            |              mss              |
//	+---------------+---------------+-------------------------------+
//	|     state     |    wscale     |         pad (6 bytes)         |
//	+---------------+---------------+-------------------------------+
type Peer struct {
	ScrubFlags uint16 // only 0x0001, timestamp modulation, is transferred
	ScrubTTL   uint8  // lowest TTL seen
	ScrubValid uint8  // 1: the scrub fields hold
	ScrubTSMod uint32 // timestamp modulator; FreeBSD 14 and later: SCTP verification tag
	SeqLo      uint32 // highest sequence number sent
	SeqHi      uint32 // highest acknowledged plus window
	SeqDiff    uint32 // sequence modulator, 0: none
	MaxWin     uint16 // largest window before scaling
	MSS        uint16 // maximum segment size option
	State      uint8  // see TCPClosed, OtherNoTraffic
	WScale     uint8  // low 4 bits: shift; WScaleSeen
	Pad        [6]byte
}

// appendPeer appends the 32 bytes of m to b.
func appendPeer(b []byte, m *Peer) []byte {
	b = binary.BigEndian.AppendUint16(b, m.ScrubFlags)
	b = append(b, m.ScrubTTL, m.ScrubValid)
	b = binary.BigEndian.AppendUint32(b, m.ScrubTSMod)
	b = binary.BigEndian.AppendUint32(b, m.SeqLo)
	b = binary.BigEndian.AppendUint32(b, m.SeqHi)
	b = binary.BigEndian.AppendUint32(b, m.SeqDiff)
	b = binary.BigEndian.AppendUint16(b, m.MaxWin)
	b = binary.BigEndian.AppendUint16(b, m.MSS)
	b = append(b, m.State, m.WScale)
	return append(b, m.Pad[:]...)
}

// parsePeer reads m from b, which the caller knows to be long enough.
func parsePeer(b []byte, m *Peer) {
	b = b[:PeerLen]
	m.ScrubFlags = binary.BigEndian.Uint16(b[0:])
	m.ScrubTTL, m.ScrubValid = b[2], b[3]
	m.ScrubTSMod = binary.BigEndian.Uint32(b[4:])
	m.SeqLo = binary.BigEndian.Uint32(b[8:])
	m.SeqHi = binary.BigEndian.Uint32(b[12:])
	m.SeqDiff = binary.BigEndian.Uint32(b[16:])
	m.MaxWin = binary.BigEndian.Uint16(b[20:])
	m.MSS = binary.BigEndian.Uint16(b[22:])
	m.State, m.WScale = b[24], b[25]
	m.Pad = [6]byte(b[26:])
}
