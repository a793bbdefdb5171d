package syncproto

import (
	"encoding/binary"
	"net/netip"
)

// Lengths of a TDB message in bytes.
const (
	TDBLen6 = 52 // version 6
	TDBLen5 = 48 // version 5
)

// TDB carries the replay counters of an IPsec security association
// (if_pfsync.h struct pfsync_tdb). The layout is that of version 6; in
// version 5 rpl has 4 bytes, and what follows moves up by 4.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                              spi                              |
//	+---------------------------------------------------------------+
//	|                  dst, socket address (28 bytes)               |
//	+---------------------------------------------------------------+
//	|                    rpl (8 bytes; 4 bytes)                     |
//	+---------------------------------------------------------------+
//	|                      cur bytes (8 bytes)                      |
//	+---------------+---------------+-------------------------------+
//	|    sproto     |    updates    |         rdomain (pad)         |
//	+---------------+---------------+-------------------------------+
type TDB struct {
	SPI      uint32
	Dst      [28]byte // BSD socket address: length, family, port, address; see DstAddr
	RPL      uint64   // replay counter; 32 bits in version 5
	CurBytes uint64
	SProto   uint8  // 50 ESP, 51 AH
	Updates  uint8  // sent 0, ignored
	RDomain  uint16 // version 5: pad
}

// DstAddr returns the address in Dst and its family as it is on the wire. The
// address is invalid if the family is neither 2 nor 24 nor 28.
func (m *TDB) DstAddr() (family uint8, a netip.Addr) {
	family = m.Dst[1]
	switch family {
	case FamilyIPv4:
		a = netip.AddrFrom4([4]byte(m.Dst[4:8]))
	case FamilyIPv6OpenBSD, FamilyIPv6FreeBSD:
		a = netip.AddrFrom16([16]byte(m.Dst[8:24]))
	}
	return family, a
}

// AppendTDB appends m to b, 52 bytes for Format6, else 48.
func AppendTDB(b []byte, f Format, m *TDB) []byte {
	b = binary.BigEndian.AppendUint32(b, m.SPI)
	b = append(b, m.Dst[:]...)
	if f == Format6 {
		b = binary.BigEndian.AppendUint64(b, m.RPL)
	} else {
		b = binary.BigEndian.AppendUint32(b, uint32(m.RPL))
	}
	b = binary.BigEndian.AppendUint64(b, m.CurBytes)
	b = append(b, m.SProto, m.Updates)
	return binary.BigEndian.AppendUint16(b, m.RDomain)
}

// ParseTDB reads m from the first 52 bytes of b for Format6, else 48.
func ParseTDB(b []byte, f Format, m *TDB) error {
	if len(b) < ActTDB.Length(f) {
		return ErrShort
	}
	m.SPI = binary.BigEndian.Uint32(b[0:])
	m.Dst = [28]byte(b[4:32])
	tail := b[36:]
	if f == Format6 {
		m.RPL = binary.BigEndian.Uint64(b[32:])
		tail = b[40:]
	} else {
		m.RPL = uint64(binary.BigEndian.Uint32(b[32:]))
	}
	m.CurBytes = binary.BigEndian.Uint64(tail[0:])
	m.SProto, m.Updates = tail[8], tail[9]
	m.RDomain = binary.BigEndian.Uint16(tail[10:])
	return nil
}
