package nfqueue

import (
	"encoding/binary"

	"github.com/pfsync/pfsync/pfstate"
)

// ParseFlow reads the connection of an IPv4 or IPv6 packet, of which the
// beginning is enough, as conntrack would enter it without translation. Known
// are TCP, UDP, UDP-Lite, ICMP and ICMPv6 queries with their answers, and protocols without
// ports; everything else is ErrPacket, and *f is as before. The status is that
// of a new entry, the timeout is not known.
func ParseFlow(pkt []byte, f *pfstate.Flow) error {
	var v pfstate.Flow
	var body []byte
	var ok bool
	switch {
	case len(pkt) == 0:
	case pkt[0]>>4 == 4:
		body, ok = parseIPv4(pkt, &v)
	case pkt[0]>>4 == 6:
		body, ok = parseIPv6(pkt, &v)
	}
	if !ok || !parseTransport(body, &v) {
		return ErrPacket
	}
	v.Reply = v.Orig.Inverse(v.Proto)
	v.Has |= pfstate.HasStatus
	v.Status = pfstate.StatusConfirmed
	*f = v
	return nil
}

// parseIPv4 reads the addresses; conntrack has put fragments together.
func parseIPv4(b []byte, f *pfstate.Flow) (body []byte, ok bool) {
	const fixed, offsetMask = 20, 0x1fff
	if len(b) < fixed {
		return nil, false
	}
	n := int(b[0]&0x0f) * 4
	if n < fixed || n > len(b) || binary.BigEndian.Uint16(b[6:])&offsetMask != 0 {
		return nil, false
	}
	f.AF, f.Proto = pfstate.AFInet, b[9]
	copy(f.Orig.Src[:], b[12:16])
	copy(f.Orig.Dst[:], b[16:20])
	return b[n:], true
}

// IPv6 extension headers that conntrack steps over (ipv6_ext_hdr).
const (
	extHopByHop = 0
	extRouting  = 43
	extDest     = 60
	maxExts     = 8
)

func parseIPv6(b []byte, f *pfstate.Flow) (body []byte, ok bool) {
	const fixed = 40
	if len(b) < fixed {
		return nil, false
	}
	f.AF = pfstate.AFInet6
	copy(f.Orig.Src[:], b[8:24])
	copy(f.Orig.Dst[:], b[24:40])
	next := b[6]
	b = b[fixed:]
	for range maxExts {
		if next != extHopByHop && next != extRouting && next != extDest {
			f.Proto = next
			return b, true
		}
		if len(b) < 8 {
			return nil, false
		}
		n := 8 + int(b[1])*8
		if n > len(b) {
			return nil, false
		}
		next, b = b[0], b[n:]
	}
	return nil, false
}

// parseTransport reads ports and what stands for them.
func parseTransport(b []byte, f *pfstate.Flow) bool {
	const (
		fragment, auth, none = 44, 51, 59 // of IPv6: not a transport
	)
	switch f.Proto {
	case pfstate.ProtoTCP:
		return parseTCP(b, f)
	case pfstate.ProtoUDP, pfstate.ProtoUDPLite:
		return parsePorts(b, 8, f)
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		return parseICMP(b, f)
	case pfstate.ProtoSCTP, pfstate.ProtoDCCP, pfstate.ProtoGRE: // have more than a packet tells
		return false
	case fragment, auth, none:
		return f.AF == pfstate.AFInet
	}
	return true
}

func parsePorts(b []byte, header int, f *pfstate.Flow) bool {
	if len(b) < header {
		return false
	}
	f.Orig.SrcPort = binary.BigEndian.Uint16(b)
	f.Orig.DstPort = binary.BigEndian.Uint16(b[2:])
	return true
}

// parseTCP takes a SYN and what answers it; of later segments conntrack knows
// more than they tell.
func parseTCP(b []byte, f *pfstate.Flow) bool {
	const fixed, fin, syn, rst, ack = 20, 0x01, 0x02, 0x04, 0x10
	if !parsePorts(b, fixed, f) {
		return false
	}
	n := int(b[12]>>4) * 4
	if n < fixed || n > len(b) {
		return false
	}
	f.Has |= pfstate.HasProto
	switch b[13] & (fin | syn | rst | ack) {
	case syn:
		f.ProtoState = pfstate.TCPSynSent
	case syn | ack:
		f.ProtoState = pfstate.TCPSynRecv
	default:
		return false
	}
	parseOptions(b[fixed:n], f)
	return true
}

// parseOptions reads window scale and SACK of the sender
// (nf_conntrack_proto_tcp.c tcp_options).
func parseOptions(b []byte, f *pfstate.Flow) {
	const (
		end, nop, wscale, sackPerm = 0, 1, 3, 4
		maxScale                   = 14
	)
	for len(b) > 0 && b[0] != end {
		if b[0] == nop {
			b = b[1:]
			continue
		}
		if len(b) < 2 || int(b[1]) < 2 || int(b[1]) > len(b) {
			return
		}
		switch {
		case b[0] == wscale && b[1] == 3:
			f.WScale[0] = min(b[2], maxScale)
			f.TCPFlags[0] |= pfstate.TCPFlagWScale
		case b[0] == sackPerm && b[1] == 2:
			f.TCPFlags[0] |= pfstate.TCPFlagSackPerm
		}
		b = b[b[1]:]
	}
}

// parseICMP takes queries and answers; errors belong to other connections.
func parseICMP(b []byte, f *pfstate.Flow) bool {
	if len(b) < 8 || (f.Proto == pfstate.ProtoICMP) != (f.AF == pfstate.AFInet) {
		return false
	}
	switch {
	case f.Proto == pfstate.ProtoICMPv6 && (b[0] == 128 || b[0] == 129):
	case f.Proto == pfstate.ProtoICMP && (b[0] == 0 || b[0] == 8 || b[0] >= 13 && b[0] <= 18):
	default:
		return false
	}
	f.Orig.SrcPort = binary.BigEndian.Uint16(b[4:])
	f.Orig.DstPort = uint16(b[0])<<8 | uint16(b[1])
	return true
}
