package tunif_test

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/tunif"
)

func TestPutHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  netip.Addr
		id   uint16
		len  int
		want string
	}{
		{"source", netip.MustParseAddr("10.0.3.2"), 0x1234, 44, "4510002c12344000fff07aab0a000302e00000f0"},
		{"mapped source", netip.MustParseAddr("::ffff:10.0.3.2"), 0x1234, 44, "4510002c12344000fff07aab0a000302e00000f0"},
		{"no source", netip.Addr{}, 0, 20, "451000140000" + "4000fff0" + "99f9" + "00000000e00000f0"},
		{"ipv6 source", netip.MustParseAddr("fe80::1"), 0, 20, "451000140000" + "4000fff0" + "99f9" + "00000000e00000f0"},
		{"largest", netip.MustParseAddr("255.255.255.255"), 0xffff, 65535, "4510ffffffff4000fff0" + "9a0d" + "ffffffffe00000f0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pkt := make([]byte, tt.len)
			for i := range pkt {
				pkt[i] = 0xaa // old contents
			}
			tunif.PutHeader(pkt, tt.src, tt.id)
			got := hex.EncodeToString(pkt[:tunif.HeaderLen])
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if sum := sum16(pkt[:tunif.HeaderLen]); sum != 0xffff {
				t.Errorf("words add up to %#04x, not ffff", sum)
			}
			for i, b := range pkt[tunif.HeaderLen:] {
				if b != 0xaa {
					t.Fatalf("byte %d behind the header was changed", i)
				}
			}
		})
	}
}

// sum16 is the one's complement sum of RFC 1071, the long way.
func sum16(b []byte) uint32 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return sum
}

func TestPutHeaderAllocs(t *testing.T) {
	pkt := make([]byte, 1500)
	src := netip.MustParseAddr("10.0.3.2")
	if n := testing.AllocsPerRun(100, func() { tunif.PutHeader(pkt, src, 7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"pfsync0": true, "pfsync12": true, "pfsync": false, "pfsyncx": false, "tun0": false,
		"pfsync0 ": false, "pfsync1234567890": false, "": false, "../pfsync0": false,
	} {
		if got := tunif.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}
