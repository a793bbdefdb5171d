package text

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pfsync/pfsync/syncproto"
)

// ErrIP is returned for what is not a whole IP header of protocol 240.
var ErrIP = errors.New("text: not an IP packet of pfsync")

// IP has the fields of the packet's IP header, of either version.
type IP struct {
	Version   uint8 // 4, 6
	Src, Dst  netip.Addr
	TTL       uint8 // hop limit
	TOS       uint8 // IPv4
	ID        uint16
	DF        bool
	Fragment  bool // IPv4: offset not 0 or more to come
	HeaderLen int  // bytes
	TotalLen  int  // of the packet as it was on the wire, bytes
	Checksum  uint16
}

// PayloadLen returns how many bytes the packet had behind its IP header.
func (ip *IP) PayloadLen() int { return ip.TotalLen - ip.HeaderLen }

const ipv6HeaderLen = 40

// ParseIP reads the IP header of a packet and returns what is behind it, as
// far as it is there: a capture may be shorter than the packet, and bytes
// behind the packet are cut. The checksum is not checked. Errors are ErrIP.
func ParseIP(b []byte, ip *IP) (frame []byte, err error) {
	var h IP
	switch {
	case len(b) > 0 && b[0]>>4 == 4:
		err = h.parse4(b)
	case len(b) > 0 && b[0]>>4 == 6:
		err = h.parse6(b)
	default:
		err = ErrIP
	}
	if err != nil {
		return nil, err
	}
	*ip = h
	return b[h.HeaderLen:min(len(b), h.TotalLen)], nil
}

func (ip *IP) parse4(b []byte) error {
	n := int(b[0]&15) * 4
	if n < 20 || len(b) < n {
		return fmt.Errorf("%w: IPv4 header cut", ErrIP)
	}
	if b[9] != syncproto.Protocol {
		return fmt.Errorf("%w: protocol %d", ErrIP, b[9])
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	*ip = IP{
		Version: 4, HeaderLen: n, TOS: b[1], TTL: b[8],
		TotalLen: int(binary.BigEndian.Uint16(b[2:])),
		ID:       binary.BigEndian.Uint16(b[4:]),
		Checksum: binary.BigEndian.Uint16(b[10:]),
		DF:       fragment&0x4000 != 0,
		Fragment: fragment&0x3fff != 0,
		Src:      netip.AddrFrom4([4]byte(b[12:])),
		Dst:      netip.AddrFrom4([4]byte(b[16:])),
	}
	if ip.TotalLen < n {
		return fmt.Errorf("%w: IPv4 length %d", ErrIP, ip.TotalLen)
	}
	return nil
}

// parse6 takes a pfsync header directly behind the IPv6 header only, as
// FreeBSD does.
func (ip *IP) parse6(b []byte) error {
	if len(b) < ipv6HeaderLen {
		return fmt.Errorf("%w: IPv6 header cut", ErrIP)
	}
	if b[6] != syncproto.Protocol {
		return fmt.Errorf("%w: next header %d", ErrIP, b[6])
	}
	*ip = IP{
		Version: 6, HeaderLen: ipv6HeaderLen, TTL: b[7],
		TotalLen: ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:])),
		Src:      netip.AddrFrom16([16]byte(b[8:])),
		Dst:      netip.AddrFrom16([16]byte(b[24:])),
	}
	return nil
}
