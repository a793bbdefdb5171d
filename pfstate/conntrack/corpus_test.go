package conntrack

import (
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
)

// flowCase is an entry that the encoder writes, the kernel takes and the
// decoder reads back.
type flowCase struct {
	name string
	flow pfstate.Flow
	nat  bool // the reply tuple is translated
}

// tuple makes a tuple of "address port" on both sides.
func tuple(src string, sport uint16, dst string, dport uint16) pfstate.Tuple {
	s, _ := pfstate.AddrFrom(netip.MustParseAddr(src))
	d, _ := pfstate.AddrFrom(netip.MustParseAddr(dst))
	return pfstate.Tuple{Src: s, Dst: d, SrcPort: sport, DstPort: dport}
}

// plainFlow is an answered entry without NAT that lives ten minutes.
func plainFlow(proto uint8, orig pfstate.Tuple) pfstate.Flow {
	f := pfstate.Flow{
		AF: pfstate.AFInet, Proto: proto, Orig: orig, Reply: orig.Inverse(proto),
		Has: pfstate.HasTimeout | pfstate.HasStatus, Timeout: 600,
		Status: pfstate.StatusConfirmed | pfstate.StatusSeenReply | pfstate.StatusAssured,
	}
	for _, c := range orig.Src[4:] {
		if c != 0 {
			f.AF = pfstate.AFInet6
		}
	}
	return f
}

// established adds what an established TCP connection has.
func established(f pfstate.Flow) pfstate.Flow {
	const flags = pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm | pfstate.TCPFlagLiberal
	f.Has |= pfstate.HasProto
	f.ProtoState = pfstate.TCPEstablished
	f.WScale = [2]uint8{7, 11}
	f.TCPFlags = [2]uint8{flags, flags}
	return f
}

// with returns f as changed by fn.
func with(f pfstate.Flow, fn func(*pfstate.Flow)) pfstate.Flow {
	fn(&f)
	return f
}

const (
	cli4, srv4 = "10.1.0.2", "10.2.0.2"
	cli6, srv6 = "2001:db8:1::2", "2001:db8:2::2"
	pub4, pub6 = "192.0.2.1", "2001:db8:ff::1"
	echo4      = 8 << 8   // ICMP echo request, code 0
	echo6      = 128 << 8 // ICMPv6 echo request, code 0
)

// flowCases is every kind of entry there is.
func flowCases() []flowCase {
	tcp4 := established(plainFlow(pfstate.ProtoTCP, tuple(cli4, 40001, srv4, 80)))
	tcp6 := established(plainFlow(pfstate.ProtoTCP, tuple(cli6, 40001, srv6, 80)))
	udp4 := plainFlow(pfstate.ProtoUDP, tuple(cli4, 40002, srv4, 53))
	udp6 := plainFlow(pfstate.ProtoUDP, tuple(cli6, 40002, srv6, 53))
	icmp4 := plainFlow(pfstate.ProtoICMP, tuple(cli4, 77, srv4, echo4))
	icmp6 := plainFlow(pfstate.ProtoICMPv6, tuple(cli6, 77, srv6, echo6))
	from := func(f pfstate.Flow, port uint16, fn func(*pfstate.Flow)) pfstate.Flow {
		f.Orig.SrcPort = port
		f.Reply = f.Orig.Inverse(f.Proto)
		fn(&f)
		return f
	}
	cases := []flowCase{
		{name: "tcp4", flow: tcp4},
		{name: "tcp6", flow: tcp6},
		{name: "tcp4 syn sent", flow: from(tcp4, 40020, func(f *pfstate.Flow) {
			f.ProtoState, f.Status, f.WScale, f.TCPFlags = pfstate.TCPSynSent, pfstate.StatusConfirmed, [2]uint8{}, [2]uint8{}
		})},
		{name: "tcp4 fin wait", flow: from(tcp4, 40021, func(f *pfstate.Flow) {
			f.ProtoState = pfstate.TCPFinWait
			f.TCPFlags[1] |= pfstate.TCPFlagCloseInit
		})},
		{name: "udp4", flow: udp4},
		{name: "udp6", flow: udp6},
		{name: "udplite4", flow: plainFlow(pfstate.ProtoUDPLite, tuple(cli4, 40003, srv4, 54))},
		{name: "udplite6", flow: plainFlow(pfstate.ProtoUDPLite, tuple(cli6, 40003, srv6, 54))},
		{name: "icmp4", flow: icmp4},
		{name: "icmp6", flow: icmp6},
		{name: "icmp4 timestamp", flow: plainFlow(pfstate.ProtoICMP, tuple(cli4, 78, srv4, 13<<8))},
		{name: "sctp4", flow: with(plainFlow(pfstate.ProtoSCTP, tuple(cli4, 5000, srv4, 5001)), func(f *pfstate.Flow) {
			f.Has |= pfstate.HasProto
			f.ProtoState, f.VTag = 4, [2]uint32{0x01020304, 0xfffefdfc}
		})},
		{name: "sctp6 without protoinfo", flow: plainFlow(pfstate.ProtoSCTP, tuple(cli6, 5000, srv6, 5001))},
		{name: "gre4", flow: with(plainFlow(pfstate.ProtoGRE, tuple(cli4, 0x1234, srv4, 0x5678)), fixed)},
		{name: "gre6", flow: with(plainFlow(pfstate.ProtoGRE, tuple(cli6, 0, srv6, 0)), fixed)},
		{name: "esp4", flow: plainFlow(pfstate.ProtoESP, tuple(cli4, 0, srv4, 0))},
		{name: "ah6", flow: plainFlow(pfstate.ProtoAH, tuple(cli6, 0, srv6, 0))},
		{name: "protocol 200", flow: plainFlow(200, tuple(cli4, 0, srv4, 0))},
		{name: "zone both", flow: with(udp4, func(f *pfstate.Flow) { f.Zone = [2]uint16{7, 7} })},
		{name: "zone original", flow: from(udp6, 40023, func(f *pfstate.Flow) { f.Zone = [2]uint16{8, 0} })},
		{name: "zone reply", flow: from(tcp4, 40022, func(f *pfstate.Flow) { f.Zone = [2]uint16{0, 9} })},
		{name: "mark", flow: from(udp4, 40010, func(f *pfstate.Flow) {
			f.Has |= pfstate.HasMark
			f.Mark = 0xdeadbeef
		})},
		{name: "helper", flow: with(established(plainFlow(pfstate.ProtoTCP, tuple(cli4, 40011, srv4, 21))), func(f *pfstate.Flow) {
			f.Has |= pfstate.HasHelper
			f.Status |= pfstate.StatusHelper
			copy(f.Helper[:], "ftp")
		})},
	}
	return append(cases, natCases(tcp4, tcp6, udp4, udp6, icmp4, icmp6)...)
}

// fixed is what every GRE entry made by ctnetlink needs.
func fixed(f *pfstate.Flow) { f.Status |= pfstate.StatusFixedTimeout }

func natCases(tcp4, tcp6, udp4, udp6, icmp4, icmp6 pfstate.Flow) []flowCase {
	// onPorts moves f to ports of its own, so that all cases fit in one table.
	onPorts := func(f pfstate.Flow, sport, dport uint16, fn func(*pfstate.Flow)) pfstate.Flow {
		f.Orig.SrcPort = sport
		if f.Proto != pfstate.ProtoICMP && f.Proto != pfstate.ProtoICMPv6 {
			f.Orig.DstPort = dport
		}
		f.Reply = f.Orig.Inverse(f.Proto)
		fn(&f)
		return f
	}
	addr := func(s string) pfstate.Addr { a, _ := pfstate.AddrFrom(netip.MustParseAddr(s)); return a }
	snat4 := func(f *pfstate.Flow) { f.Reply.Dst, f.Status = addr(pub4), f.Status|0x90 }
	snat6 := func(f *pfstate.Flow) { f.Reply.Dst, f.Status = addr(pub6), f.Status|0x90 }
	dnat4 := func(f *pfstate.Flow) { f.Reply.Src, f.Status = addr("10.2.0.9"), f.Status|0x120 }
	dnat6 := func(f *pfstate.Flow) { f.Reply.Src, f.Status = addr("2001:db8:2::9"), f.Status|0x120 }
	return []flowCase{
		{"snat tcp4", onPorts(tcp4, 41001, 80, snat4), true},
		{"snat tcp4 port", onPorts(tcp4, 41002, 80, func(f *pfstate.Flow) { snat4(f); f.Reply.DstPort = 61002 }), true},
		{"snat tcp4 port alone", onPorts(tcp4, 41003, 80, func(f *pfstate.Flow) { f.Reply.DstPort, f.Status = 61003, f.Status|0x90 }), true},
		{"dnat tcp4", onPorts(tcp4, 41004, 80, func(f *pfstate.Flow) { dnat4(f); f.Reply.SrcPort = 8080 }), true},
		{"both tcp4", onPorts(tcp4, 41005, 80, func(f *pfstate.Flow) { snat4(f); dnat4(f); f.Reply.SrcPort, f.Reply.DstPort = 8080, 61005 }), true},
		{"snat tcp6", onPorts(tcp6, 41006, 80, snat6), true},
		{"dnat tcp6", onPorts(tcp6, 41007, 80, func(f *pfstate.Flow) { dnat6(f); f.Reply.SrcPort = 8080 }), true},
		{"both tcp6", onPorts(tcp6, 41008, 80, func(f *pfstate.Flow) { snat6(f); dnat6(f); f.Reply.SrcPort, f.Reply.DstPort = 8080, 61008 }), true},
		{"snat udp4", onPorts(udp4, 41009, 53, func(f *pfstate.Flow) { snat4(f); f.Reply.DstPort = 61009 }), true},
		{"dnat udp4", onPorts(udp4, 41010, 53, dnat4), true},
		{"both udp6", onPorts(udp6, 41011, 53, func(f *pfstate.Flow) { snat6(f); dnat6(f) }), true},
		{"snat icmp4", onPorts(icmp4, 81, 0, snat4), true},
		{"snat icmp4 id", onPorts(icmp4, 82, 0, func(f *pfstate.Flow) { snat4(f); f.Reply.SrcPort = 8282 }), true},
		{"dnat icmp4", onPorts(icmp4, 83, 0, dnat4), true},
		{"snat icmp6 id", onPorts(icmp6, 84, 0, func(f *pfstate.Flow) { snat6(f); f.Reply.SrcPort = 8484 }), true},
		{"dnat icmp6", onPorts(icmp6, 85, 0, dnat6), true},
		{"snat esp4", onPorts(plainFlow(pfstate.ProtoESP, tuple("10.1.0.3", 0, srv4, 0)), 0, 0, snat4), true},
		{"seqadj", onPorts(tcp4, 41012, 21, func(f *pfstate.Flow) {
			snat4(f)
			f.Has |= pfstate.HasSeqAdj
			f.Status |= 1 << 6 // IPS_SEQ_ADJUST
			f.SeqAdj = [2]pfstate.SeqAdj{{Pos: 1000, Before: 3, After: -4}, {Pos: 77, After: 9}}
		}), true},
	}
}

// codecCases are what encoder and decoder do and not every kernel keeps.
func codecCases() []flowCase {
	return append(flowCases(),
		flowCase{name: "dccp4", flow: with(plainFlow(pfstate.ProtoDCCP, tuple(cli4, 6000, srv4, 6001)), func(f *pfstate.Flow) {
			f.Has |= pfstate.HasProto
			f.ProtoState, f.DCCPRole, f.DCCPSeq = 4, 1, 0x0102030405060708
		})},
		flowCase{name: "synproxy", flow: with(established(plainFlow(pfstate.ProtoTCP, tuple(cli4, 41013, srv4, 80))), func(f *pfstate.Flow) {
			f.Has |= pfstate.HasSeqAdj | pfstate.HasSynproxy
			f.SeqAdj[1] = pfstate.SeqAdj{Before: -5, After: -5}
			f.Proxy = pfstate.Synproxy{ISN: 0x01020304, ITS: 0x05060708, TSOff: 0xf9fafbfc}
		})},
		flowCase{name: "labels", flow: with(plainFlow(pfstate.ProtoUDP, tuple(cli4, 40012, srv4, 53)), func(f *pfstate.Flow) {
			f.Has |= pfstate.HasLabels
			f.Labels = [16]byte{1, 0, 0x80, 15: 0x40}
		})},
	)
}
