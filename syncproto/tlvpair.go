package syncproto

import "encoding/binary"

// Pair is the value of TLVPair. Towards a pf a connection is sent as two
// states, and the keys of each tell one translation only; with this a Linux
// receiver needs but one of the two.
type Pair struct {
	Other ID       // name of the other state
	Addr  [16]byte // endpoint that this record's keys do not tell: of the in state the
	Port  uint16   // translated source, of the out state the untranslated destination
}

// AppendPair appends a TLVPair.
func AppendPair(b []byte, m *Pair) []byte {
	b = append(b, uint8(TLVPair), 30)
	b = AppendID(b, &m.Other)
	b = append(b, m.Addr[:]...)
	return binary.BigEndian.AppendUint16(b, m.Port)
}

// ParsePair reads a TLVPair.
func ParsePair(v []byte, m *Pair) error {
	if len(v) < 30 {
		return ErrShort
	}
	_ = ParseID(v, &m.Other) // there are 12 bytes
	m.Addr = [16]byte(v[12:])
	m.Port = binary.BigEndian.Uint16(v[28:])
	return nil
}
