package pfstate

import (
	"net/netip"
	"testing"
)

func entry(af, proto uint8, src, dst string) Flow {
	f := Flow{AF: af, Proto: proto, Orig: Tuple{Src: addr(src), Dst: addr(dst), SrcPort: 40000, DstPort: 443}}
	f.Reply = f.Orig.Inverse(proto)
	return f
}

// TestFilterNever: what has no other end or is ours stays here without any
// filter.
func TestFilterNever(t *testing.T) {
	for _, tc := range []struct {
		name     string
		af       uint8
		proto    uint8
		src, dst string
		want     bool
	}{
		{"tcp4", AFInet, ProtoTCP, "10.0.0.1", "192.0.2.1", false},
		{"tcp6", AFInet6, ProtoTCP, "fd00::1", "2001:db8::1", false},
		{"pfsync", AFInet, ProtoPfsync, "10.0.0.1", "10.0.0.2", true},
		{"pfsync over ipv6", AFInet6, ProtoPfsync, "fd00::1", "fd00::2", true},
		{"vrrp", AFInet, ProtoVRRP, "10.0.0.1", "10.0.0.2", true},
		{"loopback destination", AFInet, ProtoTCP, "10.0.0.1", "127.0.0.53", true},
		{"loopback source", AFInet, ProtoTCP, "127.0.0.1", "10.0.0.1", true},
		{"loopback ipv6", AFInet6, ProtoTCP, "::1", "::1", true},
		{"loopback ipv6 source", AFInet6, ProtoTCP, "::1", "fd00::1", true},
		{"multicast", AFInet, ProtoUDP, "10.0.0.1", "224.0.0.251", true},
		{"multicast upper end", AFInet, ProtoUDP, "10.0.0.1", "239.255.255.255", true},
		{"last unicast", AFInet, ProtoUDP, "10.0.0.1", "223.255.255.255", false},
		{"broadcast", AFInet, ProtoUDP, "10.0.0.1", "255.255.255.255", true},
		{"multicast ipv6", AFInet6, ProtoUDP, "fe80::1", "ff02::fb", true},
		{"link local ipv6", AFInet6, ProtoUDP, "fe80::1", "fe80::2", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := entry(tc.af, tc.proto, tc.src, tc.dst)
			if got := (&Filter{}).Match(&f); got != tc.want {
				t.Errorf("Match = %v", got)
			}
		})
	}
	t.Run("redirected to loopback", func(t *testing.T) {
		f := entry(AFInet, ProtoTCP, "10.0.0.1", "192.0.2.1")
		f.Reply.Src = addr("127.0.0.1")
		if !(&Filter{}).Match(&f) {
			t.Error("passes")
		}
	})
}

func TestFilter(t *testing.T) {
	set := func(as ...string) map[Addr]struct{} {
		m := map[Addr]struct{}{}
		for _, a := range as {
			m[addr(a)] = struct{}{}
		}
		return m
	}
	nets := func(ps ...string) (out []netip.Prefix) {
		for _, p := range ps {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	v4 := entry(AFInet, ProtoTCP, "10.0.0.1", "192.0.2.1")
	v6 := entry(AFInet6, ProtoUDP, "fd00::1", "2001:db8::1")
	for _, tc := range []struct {
		name   string
		filter Filter
		flow   Flow
		change func(*Flow)
		want   bool
	}{
		{name: "empty", flow: v4},
		{name: "local off", flow: v4, filter: Filter{Local: nil}},
		{name: "local, another's", flow: v4, filter: Filter{Local: set("10.0.0.9")}},
		{name: "from local", flow: v4, filter: Filter{Local: set("10.0.0.1")}, want: true},
		{name: "to local", flow: v4, filter: Filter{Local: set("192.0.2.1")}, want: true},
		{name: "to local, translated away", flow: v4, filter: Filter{Local: set("192.0.2.1")}, change: func(f *Flow) { f.Reply.Src = addr("10.9.9.9") }},
		{name: "translated to local", flow: v4, filter: Filter{Local: set("10.9.9.9")}, change: func(f *Flow) { f.Reply.Src = addr("10.9.9.9") }, want: true},
		{name: "masqueraded behind a local address", flow: v4, filter: Filter{Local: set("203.0.113.1")}, change: func(f *Flow) { f.Reply.Dst = addr("203.0.113.1") }},
		{name: "from local ipv6", flow: v6, filter: Filter{Local: set("fd00::1")}, want: true},
		{name: "to local ipv6", flow: v6, filter: Filter{Local: set("2001:db8::1")}, want: true},

		{name: "mark", flow: v4, filter: Filter{Marks: []MarkMatch{{0x10, 0xff}}}, change: func(f *Flow) { f.Mark = 0xab10 }, want: true},
		{name: "mark, other value", flow: v4, filter: Filter{Marks: []MarkMatch{{0x10, 0xff}}}, change: func(f *Flow) { f.Mark = 0xab11 }},
		{name: "second mark", flow: v4, filter: Filter{Marks: []MarkMatch{{1, 1}, {2, 2}}}, change: func(f *Flow) { f.Mark = 2 }, want: true},
		{name: "zone", flow: v4, filter: Filter{Zones: []uint16{7}}, change: func(f *Flow) { f.Zone = [2]uint16{7, 7} }, want: true},
		{name: "zone of one direction", flow: v4, filter: Filter{Zones: []uint16{7}}, change: func(f *Flow) { f.Zone[1] = 7 }, want: true},
		{name: "another zone", flow: v4, filter: Filter{Zones: []uint16{7}}, change: func(f *Flow) { f.Zone = [2]uint16{6, 6} }},
		{name: "proto", flow: v6, filter: Filter{Protos: []uint8{ProtoTCP, ProtoUDP}}, want: true},
		{name: "another proto", flow: v6, filter: Filter{Protos: []uint8{ProtoTCP}}},
		{name: "source address", flow: v4, filter: Filter{Nets: nets("10.0.0.0/8")}, want: true},
		{name: "destination address", flow: v4, filter: Filter{Nets: nets("192.0.2.1/32")}, want: true},
		{name: "another address", flow: v4, filter: Filter{Nets: nets("10.1.0.0/16", "2001:db8::/32")}},
		{name: "translated source", flow: v4, filter: Filter{Nets: nets("203.0.113.0/24")}, change: func(f *Flow) { f.Reply.Dst = addr("203.0.113.5") }, want: true},
		{name: "translated destination", flow: v4, filter: Filter{Nets: nets("10.9.0.0/16")}, change: func(f *Flow) { f.Reply.Src = addr("10.9.9.9") }, want: true},
		{name: "address ipv6", flow: v6, filter: Filter{Nets: nets("2001:db8::/32")}, want: true},
		{name: "all of ipv4 does not mean ipv6", flow: v6, filter: Filter{Nets: nets("0.0.0.0/0")}},
		{name: "all of ipv6 does not mean ipv4", flow: v4, filter: Filter{Nets: nets("::/0")}},
		{name: "destination port", flow: v4, filter: Filter{Ports: []uint16{443}}, want: true},
		{name: "source port", flow: v4, filter: Filter{Ports: []uint16{40000}}, want: true},
		{name: "another port", flow: v4, filter: Filter{Ports: []uint16{22, 80}}},
		{name: "translated port", flow: v4, filter: Filter{Ports: []uint16{8443}}, change: func(f *Flow) { f.Reply.SrcPort = 8443 }, want: true},
		{name: "label", flow: v4, filter: Filter{Labels: []uint8{9}}, change: func(f *Flow) { f.Labels[1] = 2 }, want: true},
		{name: "another label", flow: v4, filter: Filter{Labels: []uint8{9}}, change: func(f *Flow) { f.Labels[1] = 1 }},
		{name: "last label", flow: v4, filter: Filter{Labels: []uint8{127}}, change: func(f *Flow) { f.Labels[15] = 0x80 }, want: true},
		{name: "no such label", flow: v4, filter: Filter{Labels: []uint8{128, 255}}, change: func(f *Flow) { f.Labels[15] = 0xff }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := tc.flow
			if tc.change != nil {
				tc.change(&f)
			}
			if got := tc.filter.Match(&f); got != tc.want {
				t.Errorf("Match = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestFilterICMP: what stands where ports stand is an id and a type.
func TestFilterICMP(t *testing.T) {
	f := entry(AFInet, ProtoICMP, "10.0.0.1", "192.0.2.1")
	f.Orig.SrcPort, f.Orig.DstPort = 22, 8<<8
	f.Reply = f.Orig.Inverse(ProtoICMP)
	filter := Filter{Ports: []uint16{22, 8 << 8}}
	if filter.Match(&f) {
		t.Error("port 22 matches a ping whose id is 22")
	}
}
