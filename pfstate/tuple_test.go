package pfstate

import (
	"net/netip"
	"testing"
)

// TestInverseICMP: what the kernel's invmap says; types without an answer are
// their own.
func TestInverseICMP(t *testing.T) {
	four := map[uint8]uint8{0: 8, 8: 0, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
	six := map[uint8]uint8{128: 129, 129: 128, 139: 140, 140: 139}
	for _, tc := range []struct {
		name  string
		proto uint8
		pairs map[uint8]uint8
	}{
		{"icmp", ProtoICMP, four},
		{"icmpv6", ProtoICMPv6, six},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for typ := range 256 {
				want, ok := tc.pairs[uint8(typ)]
				if !ok {
					want = uint8(typ)
				}
				const id, code = 0x1234, 7
				tu := Tuple{Src: Addr{1}, Dst: Addr{2}, SrcPort: id, DstPort: uint16(typ)<<8 | code}
				inv := tu.Inverse(tc.proto)
				if (inv != Tuple{Src: Addr{2}, Dst: Addr{1}, SrcPort: id, DstPort: uint16(want)<<8 | code}) {
					t.Errorf("type %d: inverse %+v, want type %d", typ, inv, want)
				}
				if inv.Inverse(tc.proto) != tu {
					t.Errorf("type %d: twice is not back", typ)
				}
			}
		})
	}
}

func TestInversePorts(t *testing.T) {
	tu := Tuple{Src: Addr{1}, Dst: Addr{2}, SrcPort: 3, DstPort: 4}
	want := Tuple{Src: Addr{2}, Dst: Addr{1}, SrcPort: 4, DstPort: 3}
	for _, proto := range []uint8{ProtoTCP, ProtoUDP, ProtoUDPLite, ProtoSCTP, ProtoDCCP, ProtoGRE, ProtoESP, 99} {
		if got := tu.Inverse(proto); got != want || got.Inverse(proto) != tu {
			t.Errorf("protocol %d: %+v", proto, got)
		}
	}
}

func TestAddr(t *testing.T) {
	for _, tc := range []struct {
		name, in, out string
		af            uint8
		first         byte
	}{
		{"v4", "192.0.2.7", "192.0.2.7", AFInet, 192},
		{"v4 in v6", "::ffff:192.0.2.7", "192.0.2.7", AFInet, 192},
		{"v6", "2001:db8::7", "2001:db8::7", AFInet6, 0x20},
		{"v6 with zeros in front", "::1", "::1", AFInet6, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, af := AddrFrom(netip.MustParseAddr(tc.in))
			if af != tc.af || a[0] != tc.first || a.IP(af).String() != tc.out {
				t.Errorf("AddrFrom(%s) = %v, %d, back %s", tc.in, a, af, a.IP(af))
			}
		})
	}
}

func TestID(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b ID
		less bool
	}{
		{"lower creator", ID{9, 1}, ID{1, 2}, true},
		{"higher creator", ID{1, 2}, ID{9, 1}, false},
		{"same creator", ID{1, 2}, ID{2, 2}, true},
		{"equal", ID{1, 2}, ID{1, 2}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.a.Less(tc.b); got != tc.less {
				t.Errorf("Less = %v", got)
			}
		})
	}
	id := ID{0x5f00000001, 0xabc}
	if got, want := id.String(), "0000005f00000001/00000abc"; got != want || id.LogValue().String() != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}
