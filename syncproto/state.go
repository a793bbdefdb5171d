package syncproto

import "encoding/binary"

// State is the state record of INS, UPD and DEL. It has the fields of all
// formats; those that a format has not are zero after ParseState and are left
// out by AppendState.
//
// All formats begin alike, but for the length of the keys:
//
//	offset 6  5
//	      0   0  id (8)
//	      8   8  ifname (16)
//	     24  24  key[0], wire, see Key
//	     64  60  key[1], stack
//	    104  96  src, see Peer
//	    136 128  dst
//	    168 160  rt_addr (16)
//	    184 176  rule (4)
//	    188 180  anchor (4)
//	    192 184  nat_rule (4)
//	    196 188  creation (4)
//	    200 192  expire (4)
//	    204 196  packets[0], packets[1] (8 each)
//	    220 212  bytes[0], bytes[1] (8 each)
//	    236 228  creatorid (4)
//	    240 232  tail, see the files state6.go to state1500.go
type State struct {
	ID        uint64
	CreatorID uint32 // never 0 in a valid record
	IfName    Name   // "all" for a floating state
	Key       [2]Key // KeyWire, KeyStack
	Src, Dst  Peer   // Src: the sender of the first packet, whatever the direction
	RtAddr    [16]byte
	Rule      uint32    // NoRule: none
	Anchor    uint32    // NoRule: none
	NATRule   uint32    // NoRule, ignored
	Creation  uint32    // age, seconds
	Expire    uint32    // seconds left
	Packets   [2]uint64 // from the initiator, back; pf ignores them on import
	Bytes     [2]uint64

	AF         uint8 // of the wire key
	Proto      uint8 // of the wire key
	Direction  uint8 // DirIn, DirOut
	Log        uint8
	Timeout    uint8  // index, see TimeoutTCPFirst
	StateFlags uint16 // FlagAck and others; 1301 carries the low 8 bits
	SyncFlags  uint8  // 0x04, 0x08: source nodes; not 1500
	Updates    uint8  // sent 0; not 1500

	// Not in Format1301.
	RTableID [2]int32 // -1: default; version 5 has the first only
	MaxMSS   uint16
	MinTTL   uint8
	SetTOS   uint8
	SetPrio  [2]uint8
	Rt       uint8 // route option; numbers differ between the systems

	// Format1400 and Format1500.
	QID, PQID       uint16
	DNPipe, DNRPipe uint16
	RtIfName        Name

	// Format1500.
	Tag        Tag
	OrigIfName Name // the state was created on; also for floating states
	StackAF    uint8
	StackProto uint8
	RtAF       uint8 // family of RtAddr

	Spare [3]byte // unused bytes, in order: 1301 two, 1400 one, 1500 three
}

// Families returns the address families of the wire and the stack key as the
// format tells them.
func (m *State) Families(f Format) (wire, stack uint8) {
	switch {
	case f == Format1500:
		return m.AF, m.StackAF
	case f == Format6 && (m.Key[KeyWire].AF != 0 || m.Key[KeyStack].AF != 0):
		return m.Key[KeyWire].AF, m.Key[KeyStack].AF
	}
	return m.AF, m.AF
}

// StateID returns the ID of the state.
func (m *State) StateID() ID { return ID{ID: m.ID, CreatorID: m.CreatorID} }

// AppendState appends the f.StateLen() bytes of m to b; nothing for an
// unknown format.
func AppendState(b []byte, f Format, m *State) []byte {
	if f >= Formats {
		return b
	}
	b = appendHead(b, f, m)
	switch f {
	case Format6:
		return appendTail6(b, m)
	case Format1301:
		return appendTail1301(b, m)
	case Format1400:
		return appendTail1400(b, m)
	}
	return appendTail1500(b, m)
}

// ParseState reads m from the first f.StateLen() bytes of b. An unknown format
// is ErrVersion.
func ParseState(b []byte, f Format, m *State) error {
	if f >= Formats {
		return ErrVersion
	}
	if len(b) < formats[f].length {
		return ErrShort
	}
	*m = State{}
	tail := parseHead(b, f, m)
	switch f {
	case Format6:
		parseTail6(tail, m)
	case Format1301:
		parseTail1301(tail, m)
	case Format1400:
		parseTail1400(tail, m)
	case Format1500:
		parseTail1500(tail, m)
	}
	return nil
}

func appendHead(b []byte, f Format, m *State) []byte {
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = append(b, m.IfName[:]...)
	b = appendKey(b, f, &m.Key[0])
	b = appendKey(b, f, &m.Key[1])
	b = appendPeer(b, &m.Src)
	b = appendPeer(b, &m.Dst)
	b = append(b, m.RtAddr[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Rule)
	b = binary.BigEndian.AppendUint32(b, m.Anchor)
	b = binary.BigEndian.AppendUint32(b, m.NATRule)
	b = binary.BigEndian.AppendUint32(b, m.Creation)
	b = binary.BigEndian.AppendUint32(b, m.Expire)
	b = binary.BigEndian.AppendUint64(b, m.Packets[0])
	b = binary.BigEndian.AppendUint64(b, m.Packets[1])
	b = binary.BigEndian.AppendUint64(b, m.Bytes[0])
	b = binary.BigEndian.AppendUint64(b, m.Bytes[1])
	return binary.BigEndian.AppendUint32(b, m.CreatorID)
}

// parseHead reads what all formats have and returns the tail.
func parseHead(b []byte, f Format, m *State) []byte {
	m.ID = binary.BigEndian.Uint64(b[0:])
	m.IfName = Name(b[8:24])
	b = parseKey(b[24:], f, &m.Key[0])
	b = parseKey(b, f, &m.Key[1])
	parsePeer(b[0:], &m.Src)
	parsePeer(b[32:], &m.Dst)
	m.RtAddr = [16]byte(b[64:80])
	m.Rule = binary.BigEndian.Uint32(b[80:])
	m.Anchor = binary.BigEndian.Uint32(b[84:])
	m.NATRule = binary.BigEndian.Uint32(b[88:])
	m.Creation = binary.BigEndian.Uint32(b[92:])
	m.Expire = binary.BigEndian.Uint32(b[96:])
	m.Packets[0] = binary.BigEndian.Uint64(b[100:])
	m.Packets[1] = binary.BigEndian.Uint64(b[108:])
	m.Bytes[0] = binary.BigEndian.Uint64(b[116:])
	m.Bytes[1] = binary.BigEndian.Uint64(b[124:])
	m.CreatorID = binary.BigEndian.Uint32(b[132:])
	return b[136:]
}
