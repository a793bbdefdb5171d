package nfqueue

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/pfstate"
)

// Packets as they are on the wire, IP header first.
const (
	// 10.0.1.10:40000 > 10.0.2.10:443 SYN, mss 1460 sackOK nop wscale 7
	syn4 = "4500003000014000400600000a00010a0a00020a" + "9c4001bb000000010000000080" + "02ffff00000000" + "020405b4" + "0402" + "01" + "030307" + "0000"
	// fd00:1::10 > fd00:2::10, hop-by-hop options, UDP 5353 > 53
	udp6 = "6000000000180040fd000001000000000000000000000010fd000002000000000000000000000010" + "1100010400000000" + "14e900350010000068656c6c6f0000"
	// 10.0.1.10 > 10.0.2.10 echo request, id 0x1234
	echo4 = "4500001c00000000400100000a00010a0a00020a" + "0800000012340001"
	// the same, protocol 47
	gre4 = "4500001800000000402f00000a00010a0a00020a" + "00000800"
	// the same, protocol 50
	esp4 = "4500001800000000403200000a00010a0a00020a" + "00000800"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// message is what the kernel sends for a packet.
func message(id uint32, hook uint8, payload []byte, more ...byte) []byte {
	b := []byte{2, 0, 0, 240}
	b = putAttr(b, attrPacketHdr, append(be32(id), 0x08, 0, hook)...)
	b = append(b, more...)
	return putAttr(b, attrPayload, payload...)
}

func TestParseFlow(t *testing.T) {
	a4, b4 := pfstate.Addr{10, 0, 1, 10}, pfstate.Addr{10, 0, 2, 10}
	a6, b6 := pfstate.Addr{0: 0xfd, 3: 1, 15: 0x10}, pfstate.Addr{0: 0xfd, 3: 2, 15: 0x10}
	base := pfstate.Flow{AF: pfstate.AFInet, Has: pfstate.HasStatus, Status: pfstate.StatusConfirmed, Orig: pfstate.Tuple{Src: a4, Dst: b4}}
	with := func(set func(*pfstate.Flow)) pfstate.Flow {
		f := base
		set(&f)
		f.Reply = f.Orig.Inverse(f.Proto)
		return f
	}
	for _, tc := range []struct {
		name, pkt string
		want      pfstate.Flow
	}{
		{"tcp syn", syn4, with(func(f *pfstate.Flow) {
			f.Proto, f.Orig.SrcPort, f.Orig.DstPort = pfstate.ProtoTCP, 40000, 443
			f.Has |= pfstate.HasProto
			f.ProtoState, f.WScale[0] = pfstate.TCPSynSent, 7
			f.TCPFlags[0] = pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm
		})},
		{"udp behind options", udp6, with(func(f *pfstate.Flow) {
			f.AF, f.Proto, f.Orig = pfstate.AFInet6, pfstate.ProtoUDP, pfstate.Tuple{Src: a6, Dst: b6, SrcPort: 5353, DstPort: 53}
		})},
		{"echo", echo4, with(func(f *pfstate.Flow) {
			f.Proto, f.Orig.SrcPort, f.Orig.DstPort = pfstate.ProtoICMP, 0x1234, 8<<8
		})},
		{"without ports", esp4, with(func(f *pfstate.Flow) { f.Proto = pfstate.ProtoESP })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f pfstate.Flow
			if err := ParseFlow(unhex(t, tc.pkt), &f); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, f); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestParseFlowErrors(t *testing.T) {
	edit := func(s string, at int, v byte) []byte { b := unhex(t, s); b[at] = v; return b }
	for name, pkt := range map[string][]byte{
		"empty":            {},
		"other version":    edit(syn4, 0, 0x55),
		"header too short": edit(syn4, 0, 0x44),
		"later fragment":   edit(echo4, 7, 1),
		"cut":              unhex(t, syn4)[:30],
		"later segment":    edit(syn4, 33, 0x10),
		"offset too long":  edit(syn4, 32, 0xf0),
		"icmp error":       edit(echo4, 20, 3),
		"gre":              unhex(t, gre4),
		"options cut":      unhex(t, udp6)[:44],
	} {
		f := pfstate.Flow{Mark: 7}
		if err := ParseFlow(pkt, &f); !errors.Is(err, ErrPacket) {
			t.Errorf("%s: %v", name, err)
		}
		if f != (pfstate.Flow{Mark: 7}) {
			t.Errorf("%s: changed", name)
		}
	}
}

func TestParsePacket(t *testing.T) {
	var p Packet
	if err := ParsePacket(message(9, HookPostrouting, unhex(t, syn4)), &p); err != nil || p.ID != 9 || p.Hook != HookPostrouting || p.CT {
		t.Fatalf("%+v, %v", p, err)
	}
	// An entry that cannot be read leaves the packet to tell.
	if err := ParsePacket(message(9, HookPostrouting, unhex(t, syn4), putAttr(nil, attrCT, 1, 2, 3)...), &p); err != nil || p.CT {
		t.Errorf("broken entry: %+v, %v", p, err)
	}
	if err := ParsePacket(message(10, 0, unhex(t, gre4)), &p); err != ErrPacket || p.ID != 10 {
		t.Errorf("unknown packet: %+v, %v", p, err)
	}
	whole := message(11, 0, unhex(t, syn4))
	for n := range len(whole) - len(unhex(t, syn4)) - attrHdr {
		q := p
		err := ParsePacket(whole[:n], &q)
		if err == ErrPacket && q.ID == 11 {
			continue // the number is whole
		}
		if err == nil || q != p {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestOnlyChains(t *testing.T) {
	const base = "\tchain PREROUTING {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n\t}\n"
	for _, tc := range []struct {
		name, listed string
		want         bool
	}{
		{"chains of iptables", "# Warning: table ip mangle is managed by iptables-nft, do not touch!\ntable ip mangle {\n" + base + "\n" + base + "}\n", true},
		{"nothing", "table ip mangle {\n}\n", true},
		{"a rule", "table ip mangle {\n\tchain PREROUTING {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n\t\tcounter packets 0 bytes 0\n\t}\n}\n", false},
		{"another policy", "table ip mangle {\n\tchain PREROUTING {\n\t\ttype filter hook prerouting priority mangle; policy drop;\n\t}\n}\n", false},
		{"a set", "table ip mangle {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n}\n", false},
	} {
		if got := onlyChains(tc.listed); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestAllocations(t *testing.T) {
	msg := message(9, HookPostrouting, unhex(t, syn4))
	var p Packet
	out := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		if ParsePacket(msg, &p) != nil {
			t.Fatal("not parsed")
		}
		out = appendVerdict(out[:0], 240, p.ID)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(out) != verdictMsgLen {
		t.Errorf("verdict of %d bytes", len(out))
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, s := range []string{syn4, udp6, echo4, gre4, esp4} {
		f.Add(message(1, HookPostrouting, unhex(f, s)))
		f.Add(message(1, 0, unhex(f, s), putAttr(nil, attrCT, unhex(f, s)...)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		was := Packet{ID: 77}
		p := was
		switch err := ParsePacket(b, &p); err {
		case nil:
			if p.Flow.Proto == pfstate.ProtoTCP && p.Flow.ProtoState >= pfstate.TCPMax && !p.CT {
				t.Errorf("TCP state %d", p.Flow.ProtoState)
			}
		case ErrPacket:
		default:
			if p != was {
				t.Errorf("%v, and changed", err)
			}
		}
	})
}
