package pfstate

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// natCase is one kind of translation, as the kernel makes it.
type natCase struct {
	name       string
	snat, dnat bool // addresses
	sport      bool // the source port, or the query id, is changed
	dport      bool
}

var natCases = []natCase{
	{name: "none"},
	{name: "snat", snat: true},
	{name: "snat with port", snat: true, sport: true},
	{name: "source port alone", sport: true},
	{name: "dnat", dnat: true},
	{name: "dnat with port", dnat: true, dport: true},
	{name: "destination port alone", dport: true},
	{name: "both", snat: true, dnat: true},
	{name: "both with ports", snat: true, dnat: true, sport: true, dport: true},
	{name: "both, source port", snat: true, dnat: true, sport: true},
}

func addr(s string) Addr {
	a, _ := AddrFrom(netip.MustParseAddr(s))
	return a
}

// translated is an entry of the family and protocol with the translation.
func (c *natCase) translated(af, proto uint8) Flow {
	ends := [...]string{"10.0.0.1", "198.51.100.2", "203.0.113.9", "10.9.9.9"}
	if af == AFInet6 {
		ends = [...]string{"fd00::1", "2001:db8::2", "2001:db8:1::9", "fd09::9"}
	}
	f := Flow{AF: af, Proto: proto, Orig: Tuple{Src: addr(ends[0]), Dst: addr(ends[1])}}
	switch proto {
	case ProtoICMP:
		f.Orig.SrcPort, f.Orig.DstPort = 77, 8<<8
	case ProtoICMPv6:
		f.Orig.SrcPort, f.Orig.DstPort = 77, 128<<8
	case ProtoTCP, ProtoUDP:
		f.Orig.SrcPort, f.Orig.DstPort = 40000, 443
	}
	f.Reply = f.Orig.Inverse(proto)
	if c.snat {
		f.Reply.Dst = addr(ends[2])
	}
	if c.dnat {
		f.Reply.Src = addr(ends[3])
	}
	icmp := proto == ProtoICMP || proto == ProtoICMPv6
	if c.sport && icmp {
		f.Reply.SrcPort = 99 // the id
	} else if c.sport {
		f.Reply.DstPort = 50000
	}
	if c.dport {
		f.Reply.SrcPort = 8443
	}
	return f
}

func TestTranslated(t *testing.T) {
	for _, pr := range []struct {
		name      string
		af, proto uint8
		ports     bool // of both ends
		source    bool // something of the source can be changed beside its address
	}{
		{"tcp4", AFInet, ProtoTCP, true, true},
		{"tcp6", AFInet6, ProtoTCP, true, true},
		{"udp4", AFInet, ProtoUDP, true, true},
		{"udp6", AFInet6, ProtoUDP, true, true},
		{"icmp", AFInet, ProtoICMP, false, true},
		{"icmpv6", AFInet6, ProtoICMPv6, false, true},
		{"esp", AFInet, ProtoESP, false, false},
		{"esp6", AFInet6, ProtoESP, false, false},
	} {
		for _, c := range natCases {
			if c.sport && !pr.source || c.dport && !pr.ports {
				continue // that protocol has none
			}
			t.Run(pr.name+"/"+c.name, func(t *testing.T) {
				f := c.translated(pr.af, pr.proto)
				wantSrc, wantDst := c.snat || c.sport, c.dnat || c.dport
				if src, dst := f.Translated(); src != wantSrc || dst != wantDst {
					t.Errorf("Translated = %v, %v, want %v, %v", src, dst, wantSrc, wantDst)
				}
				want := DirIn
				if wantSrc && !wantDst {
					want = DirOut
				}
				s := State{Orig: f.Orig, Reply: f.Reply, Proto: pr.proto}
				if got := s.Direction(); got != want {
					t.Errorf("Direction = %d, want %d", got, want)
				}
			})
		}
	}
}

func TestReversed(t *testing.T) {
	f := Flow{
		Orig: Tuple{Src: Addr{1}, SrcPort: 1}, Reply: Tuple{Src: Addr{2}, SrcPort: 2},
		AF: AFInet, Proto: ProtoTCP, Has: HasProto, Zone: [2]uint16{1, 2}, Status: 8, Timeout: 9, Mark: 10, CtID: 11,
		ProtoState: 3, WScale: [2]uint8{1, 2}, TCPFlags: [2]uint8{3, 4}, VTag: [2]uint32{5, 6}, DCCPRole: 1, DCCPSeq: 7,
		Labels: [16]byte{1}, Helper: [16]byte{2}, SeqAdj: [2]SeqAdj{{1, 2, 3}, {4, 5, 6}},
	}
	want := f
	want.Orig, want.Reply = f.Reply, f.Orig
	want.Zone = [2]uint16{2, 1}
	want.WScale, want.TCPFlags, want.VTag = [2]uint8{2, 1}, [2]uint8{4, 3}, [2]uint32{6, 5}
	want.SeqAdj = [2]SeqAdj{{4, 5, 6}, {1, 2, 3}}
	r := f.Reversed()
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("Reversed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(f, r.Reversed()); diff != "" {
		t.Errorf("twice (-want +got):\n%s", diff)
	}
}

func TestMainSide(t *testing.T) {
	in, out := ID{1, 7}, ID{2, 7}
	for _, tc := range []struct {
		name  string
		sides map[Side]ID
		snat  bool
		side  Side
		want  ID
	}{
		{"no name", nil, false, SideIn, ID{}},
		{"in", map[Side]ID{SideIn: in}, false, SideIn, in},
		{"in with source nat", map[Side]ID{SideIn: in}, true, SideIn, in},
		{"out", map[Side]ID{SideOut: out}, false, SideOut, out},
		{"pair", map[Side]ID{SideIn: in, SideOut: out}, false, SideIn, in},
		{"pair with source nat", map[Side]ID{SideIn: in, SideOut: out}, true, SideOut, out},
		{"alias alone", map[Side]ID{SideAlias: out}, false, SideIn, ID{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := natCase{snat: tc.snat}
			f := c.translated(AFInet, ProtoTCP)
			tab := NewTable(1)
			r, s := tab.Alloc(AFInet, ProtoTCP)
			s.Orig, s.Reply = f.Orig, f.Reply
			for side, id := range tc.sides {
				tab.SetName(r, side, id)
			}
			if s.MainSide() != tc.side || s.MainName() != tc.want {
				t.Errorf("MainSide %d, MainName %v", s.MainSide(), s.MainName())
			}
		})
	}
	if SideIn.Other() != SideOut || SideOut.Other() != SideIn {
		t.Error("Other")
	}
}

func TestCarried(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flags Flag
		want  bool
	}{
		{"no", 0, false},
		{"yes", FlagCarried, true},
		{"for want of anybody else", FlagCarried | FlagUnsure, false},
		{"unsure alone", FlagUnsure, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := State{Flags: tc.flags}
			if s.Carried() != tc.want {
				t.Errorf("Carried = %v", s.Carried())
			}
		})
	}
}

func TestResultNames(t *testing.T) {
	for c := range ResultCodes {
		if c.String() == "" || c.String() == "unknown" {
			t.Errorf("code %d has no name", c)
		}
	}
	if ResultCodes.String() != "unknown" {
		t.Error("a code there is not")
	}
}
