package syncdev

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// MaxPacket is the size of a Buf that every frame fits in: the largest IP
// packet.
const MaxPacket = 1<<16 - 1

// Packet is a received frame. Buf is the caller's and stays as it is; the rest
// is filled by ReadBatch and holds until Buf is used again.
type Packet struct {
	Buf     []byte     // memory to read into, IPv4 header included
	Data    []byte     // the frame from the pfsync header on, within Buf; empty if there was none
	Src     netip.Addr // sender, without zone
	Dst     netip.Addr // destination address: ours or the group, without zone
	TTL     int        // TTL or hop limit as it arrived; senders on the link have 255
	IfIndex int        // interface it came by
	Cut     bool       // the frame did not fit Buf
}

// minHeader4 is the length of an IPv4 header without options.
const minHeader4 = 20

// parse4 fills the packet from the n bytes in Buf, which a raw IPv4 socket
// begins with the IP header, options included.
func (p *Packet) parse4(n int, oob []byte) {
	p.Data, p.Src, p.Dst, p.TTL = nil, netip.Addr{}, netip.Addr{}, 0
	p.IfIndex = ifindex4(oob)
	b := p.Buf[:n]
	if n < minHeader4 {
		return
	}
	hlen := int(b[0]&0xf) * 4
	if b[0]>>4 != 4 || hlen < minHeader4 || hlen > n {
		return
	}
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.TTL = int(b[8])
	p.Data = b[hlen:]
}

// parse6 fills the packet from the n bytes in Buf: a raw IPv6 socket leaves the
// header away and tells its fields beside.
func (p *Packet) parse6(n int, from *unix.RawSockaddrInet6, oob []byte) {
	p.Data, p.Src = p.Buf[:n], netip.AddrFrom16(from.Addr)
	p.Dst, p.TTL, p.IfIndex = netip.Addr{}, 0, 0
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			p.Dst = netip.AddrFrom16([16]byte(data[:16]))
			p.IfIndex = int(binary.NativeEndian.Uint32(data[16:]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			p.TTL = int(binary.NativeEndian.Uint32(data))
		}
	}
}

// ifindex4 finds the interface in struct in_pktinfo, 0 if it is not there.
func ifindex4(oob []byte) int {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo {
			return int(binary.NativeEndian.Uint32(data))
		}
		oob = rest
	}
	return 0
}
