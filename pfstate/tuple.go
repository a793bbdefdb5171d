package pfstate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Address families, Linux numbers. The BSDs' 24 and 28 exist on the wire only.
const (
	AFInet  uint8 = 2
	AFInet6 uint8 = 10
)

// IP protocol numbers that the state table treats specially.
const (
	ProtoICMP    uint8 = 1
	ProtoTCP     uint8 = 6
	ProtoUDP     uint8 = 17
	ProtoDCCP    uint8 = 33
	ProtoGRE     uint8 = 47
	ProtoESP     uint8 = 50
	ProtoAH      uint8 = 51
	ProtoICMPv6  uint8 = 58
	ProtoVRRP    uint8 = 112
	ProtoSCTP    uint8 = 132
	ProtoUDPLite uint8 = 136
	ProtoPfsync  uint8 = 240
)

// Addr is an address in network order. IPv4 fills the first four bytes, the
// rest is zero. The family stands beside it.
type Addr [16]byte

// AddrFrom returns the Addr of ip and its family.
func AddrFrom(ip netip.Addr) (a Addr, af uint8) {
	ip = ip.Unmap()
	if ip.Is4() {
		b := ip.As4()
		copy(a[:], b[:])
		return a, AFInet
	}
	return ip.As16(), AFInet6
}

// IP returns the address as a netip.Addr of family af.
func (a Addr) IP(af uint8) netip.Addr {
	if af == AFInet {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(a)
}

// Tuple is one direction of a kernel entry (struct nf_conntrack_tuple).
//
// Ports are in host order. ICMP and ICMPv6: SrcPort is the query id, DstPort
// is type<<8 | code. GRE: the keys. Protocols without ports: 0.
type Tuple struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
}

// icmpReply gives the answering type of a query, or the type itself.
// nf_conntrack_proto_icmp.c invmap, nf_conntrack_proto_icmpv6.c invmap.
func icmpReply(proto, typ uint8) uint8 {
	if proto == ProtoICMPv6 {
		switch typ {
		case 128, 129: // echo
			return typ ^ 1
		case 139, 140: // node information
			return typ ^ 7
		}
		return typ
	}
	switch typ {
	case 0, 8: // echo
		return typ ^ 8
	case 13, 14: // timestamp
		return typ ^ 3
	case 15, 16: // information
		return typ ^ 31
	case 17, 18: // address mask
		return typ ^ 3
	}
	return typ
}

// Inverse returns the tuple of the answer to t: what the kernel makes the
// reply tuple of an entry without NAT.
func (t *Tuple) Inverse(proto uint8) Tuple {
	r := Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort}
	if proto == ProtoICMP || proto == ProtoICMPv6 {
		r.SrcPort = t.SrcPort
		r.DstPort = uint16(icmpReply(proto, uint8(t.DstPort>>8)))<<8 | t.DstPort&0xff
	}
	return r
}

// hash mixes t, the protocol and the zone. seed comes from outside, so that
// nobody can aim at one bucket.
func (t *Tuple) hash(seed uint64, proto uint8, zone uint16) uint32 {
	const k = 0x9e3779b97f4a7c15
	le := binary.LittleEndian
	h := seed ^ uint64(t.SrcPort)<<48 ^ uint64(t.DstPort)<<32 ^ uint64(zone)<<8 ^ uint64(proto)
	for _, w := range [4]uint64{le.Uint64(t.Src[0:]), le.Uint64(t.Src[8:]), le.Uint64(t.Dst[0:]), le.Uint64(t.Dst[8:])} {
		hi, lo := bits.Mul64(h^w, k)
		h = hi ^ lo ^ k
	}
	hi, lo := bits.Mul64(h, seed|1)
	return uint32(hi ^ lo ^ lo>>32)
}
