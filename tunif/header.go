package tunif

import (
	"encoding/binary"
	"net/netip"
)

// Fields of the IPv4 header of a frame (pfsync-protocol.md §2).
const (
	HeaderLen = 20   // bytes of headroom PutHeader fills
	Protocol  = 240  // IPPROTO_PFSYNC
	ttl       = 255  // PFSYNC_DFLTTL
	tos       = 0x10 // IPTOS_LOWDELAY
	flagDF    = 0x4000
)

// Group is the IPv4 multicast group of pfsync, INADDR_PFSYNC_GROUP.
var Group = netip.AddrFrom4([4]byte{224, 0, 0, 240})

// PutHeader fills the first HeaderLen bytes of pkt with the IPv4 header of the
// frame that follows them:
//
//	 0                   1                   2                   3
//	|  0x45  |  0x10 (TOS)  |        total length = len(pkt)       |
//	|             id        | DF, offset 0                         |
//	|TTL 255 | protocol 240 |        checksum (RFC 1071)           |
//	|                     src, or 0.0.0.0                          |
//	|                     224.0.0.240                              |
//
// A src that is not IPv4 becomes 0.0.0.0. pkt must have 20 to 65535 bytes. The
// destination is always the group; package doc says why.
func PutHeader(pkt []byte, src netip.Addr, id uint16) {
	h := pkt[:HeaderLen]
	h[0], h[1] = 0x45, tos
	binary.BigEndian.PutUint16(h[2:], uint16(len(pkt)))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], flagDF)
	h[8], h[9] = ttl, Protocol
	h[10], h[11] = 0, 0
	var from [4]byte
	if src = src.Unmap(); src.Is4() {
		from = src.As4()
	}
	to := Group.As4()
	copy(h[12:], from[:])
	copy(h[16:], to[:])
	binary.BigEndian.PutUint16(h[10:], checksum(h))
}

// checksum is the Internet checksum of RFC 1071 of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
