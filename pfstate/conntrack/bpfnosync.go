package conntrack

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// What a nosync filter matches for the whole life of an entry, the kernel drops
// before it takes room in the event buffer: protocol, zone, addresses, ports,
// and what is never synchronised. So nothing is lost that was ever told. A mark
// and labels change: the event that brings the change has to be heard, for it
// is what withdraws a state, and none tells whether it is that one.
//
// A dump cannot leave anything out: what CTA_MARK, CTA_ZONE, CTA_STATUS and
// CTA_FILTER name is what is told (ctnetlink_filter_match), not what is not.
//
// The tests only ever drop; those for which there is no room are left to
// [pfstate.Filter.Match], which judges all that gets through.

// maxProgram bounds the instructions. The kernel takes 4096, but charges what it
// makes of them, up to ten times as many, to net.core.optmem_max: 128 KB, and 20 KB
// before 6.7. A program of leastProgram tests nothing but what it has to.
const (
	maxProgram   = 800
	leastProgram = 100
)

// maxLocal is up to how many addresses of the host are tested: each is, for every
// connection that is none of the host's.
const maxLocal = 64

// portProtocols have ports where GRE has keys.
var portProtocols = [...]uint8{pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoUDPLite, pfstate.ProtoSCTP, pfstate.ProtoDCCP}

// Where the ends of a tuple stand, by family.
var endTypes = map[uint8][2]uint32{
	pfstate.AFInet:  {ctaIPv4Src, ctaIPv4Dst},
	pfstate.AFInet6: {ctaIPv6Src, ctaIPv6Dst},
}

// neverNets are the networks of what has no one other end, by end of the original
// direction, as [pfstate.Filter.Match] has them.
var neverNets = [2][]netip.Prefix{
	prefixes("127.0.0.0/8", "::1/128"), prefixes("224.0.0.0/3", "127.0.0.0/8", "ff00::/8", "::1/128"),
}

func prefixes(list ...string) (nets []netip.Prefix) {
	for _, s := range list {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}

// nosync appends the tests of a filter. The protocol is in A.
func (p *program) nosync(f *pfstate.Filter) {
	for _, proto := range f.Protos {
		if p.room(2) {
			p.dropEqual(uint32(proto))
		}
	}
	reply := p.find(ctaTupleReply)
	p.op(unix.BPF_ST, memReply)
	p.zones(f.Zones)
	p.ports(f.Ports)
	for _, af := range [...]uint8{pfstate.AFInet, pfstate.AFInet6} {
		p.ends(f, af)
	}
	p.here(reply)
}

// room reports whether so many instructions fit, and what may follow them to end
// a test.
func (p *program) room(n int) bool { return len(p.ins)+n+64 <= p.most }

// zones tests the zone of both directions or of either. Zone 0 is not told.
func (p *program) zones(zones []uint16) {
	for _, where := range [...]func() int{
		func() int { return p.find(ctaZone) },
		func() int { return p.findIn(memOrig, ctaTupleZone) },
		func() int { return p.findIn(memReply, ctaTupleZone) },
	} {
		p.halves(zones, where)
	}
}

// ports tests those of both directions.
func (p *program) ports(ports []uint16) {
	if len(ports) == 0 {
		return
	}
	p.op(unix.BPF_LD|unix.BPF_MEM, memProto)
	for i, proto := range portProtocols {
		p.jump(uint32(proto), uint8(len(portProtocols)-i), 0)
	}
	portless := p.away()
	for _, tuple := range [...]uint32{memOrig, memReply} {
		missing := p.findIn(tuple, ctaTupleProto)
		p.op(unix.BPF_ST, memNest)
		for _, typ := range [...]uint32{ctaProtoSrcPort, ctaProtoDstPort} {
			p.halves(ports, func() int { return p.findIn(memNest, typ) })
		}
		p.here(missing)
	}
	p.here(portless)
}

// halves tests an attribute of 16 bits.
func (p *program) halves(values []uint16, where func() (missing int)) {
	if len(values) == 0 || !p.room(8) {
		return
	}
	missing := where()
	p.op(unix.BPF_MISC|unix.BPF_TAX, 0)
	p.op(unix.BPF_LD|unix.BPF_H|unix.BPF_IND, attrHdr)
	for _, v := range values {
		if v != 0 && p.room(2) {
			p.dropEqual(uint32(v))
		}
	}
	p.here(missing)
}

// ends tests the addresses of both tuples, of one family.
func (p *program) ends(f *pfstate.Filter, af uint8) {
	p.op(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, nlHdrLen)
	p.jump(uint32(af), 1, 0)
	other := p.away()
	for dir, tuple := range [...]uint32{memOrig, memReply} {
		if len(endNets(f, af, dir, 0))+len(endNets(f, af, dir, 1)) == 0 {
			continue
		}
		missing := p.findIn(tuple, ctaTupleIP)
		p.op(unix.BPF_ST, memNest)
		for end, typ := range endTypes[af] {
			p.networks(endNets(f, af, dir, end), typ)
		}
		p.here(missing)
	}
	p.here(other)
}

// endNets are the networks that an end must not be in: source 0, destination 1,
// of the original direction 0 or the reply 1. They say what
// [pfstate.Filter.Match] does.
func endNets(f *pfstate.Filter, af uint8, dir, end int) (nets []netip.Prefix) {
	list := f.Nets
	if dir == 0 {
		list = slices.Concat(list, neverNets[end])
	}
	for _, n := range list {
		if n.Addr().Is4() == (af == pfstate.AFInet) {
			nets = append(nets, n)
		}
	}
	if end != 0 || len(f.Local) > maxLocal {
		return nets
	}
	for a := range f.Local {
		if ip := a.IP(af); short(a) == (af == pfstate.AFInet) {
			nets = append(nets, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return nets
}

// short reports whether an address of this host is one of IPv4: none of IPv6
// ends so.
func short(a pfstate.Addr) bool { return [12]byte(a[4:]) == [12]byte{} }

// networks tests one address of the nest in memNest.
func (p *program) networks(nets []netip.Prefix, typ uint32) {
	if len(nets) == 0 || !p.room(8) {
		return
	}
	missing := p.findIn(memNest, typ)
	p.op(unix.BPF_MISC|unix.BPF_TAX, 0)
	for _, n := range nets {
		if !p.room(netLen(n)) {
			break
		}
		p.network(n)
	}
	p.here(missing)
}

// netLen is how many instructions network appends.
func netLen(n netip.Prefix) int {
	words, rest := n.Bits()/32, n.Bits()%32
	total := 2*words + 1
	if rest != 0 {
		total += 3
	}
	return total
}

// network drops if the address of the attribute at X is in n: words that differ
// jump behind the test.
func (p *program) network(n netip.Prefix) {
	b := n.Masked().Addr().AsSlice()
	end := len(p.ins) + netLen(n)
	for i := 0; 32*i < n.Bits(); i++ {
		p.op(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, uint32(attrHdr+4*i))
		if left := n.Bits() - 32*i; left < 32 {
			p.op(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, ^uint32(0)<<(32-left))
		}
		p.jump(binary.BigEndian.Uint32(b[4*i:]), 0, uint8(end-len(p.ins)-1))
	}
	p.drop()
}
