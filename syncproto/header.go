package syncproto

import "encoding/binary"

// HeaderLen is the length of the frame header in bytes.
const HeaderLen = 20

// Header opens a frame (if_pfsync.h struct pfsync_header).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|    version    |      pad      |              len              |
//	+---------------+---------------+-------------------------------+
//	|                      pfcksum (16 bytes)                       |
//	+---------------------------------------------------------------+
type Header struct {
	Version  uint8
	Pad      uint8    // sent 0, ignored
	Len      uint16   // bytes of the frame, this header included
	Checksum [16]byte // digest of the sender's ruleset, not of the frame; version 6 sends zeros
}

// AppendHeader appends the 20 bytes of m to b.
func AppendHeader(b []byte, m *Header) []byte {
	b = append(b, m.Version, m.Pad)
	b = binary.BigEndian.AppendUint16(b, m.Len)
	return append(b, m.Checksum[:]...)
}

// ParseHeader reads m from the first 20 bytes of b. It checks no value.
func ParseHeader(b []byte, m *Header) error {
	if len(b) < HeaderLen {
		return ErrShort
	}
	m.Version, m.Pad = b[0], b[1]
	m.Len = binary.BigEndian.Uint16(b[2:])
	m.Checksum = [16]byte(b[4:20])
	return nil
}
