package cli

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/golden"
	"github.com/pfsync/pfsync/syncproto/text"
)

// TestPacketOf puts IP headers in front of frames and reads them back.
func TestPacketOf(t *testing.T) {
	for _, tc := range []struct {
		name     string
		src, dst string
	}{{"IPv4", "192.168.254.254", "224.0.0.240"}, {"IPv6", "fe80::1", "ff12::f0"}} {
		t.Run(tc.name, func(t *testing.T) {
			r := control.Record{Time: time.Unix(1, 0), Src: netip.MustParseAddr(tc.src), Dst: netip.MustParseAddr(tc.dst), TTL: 255, Data: []byte("frame")}
			if r.Src.Is4() {
				r.TOS, r.IPID, r.DF = 16, 0x1234, true
			}
			packet := packetOf(&r)
			var ip text.IP
			frame, err := text.ParseIP(packet, &ip)
			if err != nil || !bytes.Equal(frame, r.Data) {
				t.Fatalf("%q, %v", frame, err)
			}
			want := ipOf(&r)
			want.Checksum = ip.Checksum
			if diff := cmp.Diff(want, ip, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestChecksum compares with the headers that were recorded.
func TestChecksum(t *testing.T) {
	for _, c := range golden.Cases(t, "openbsd6") {
		for _, p := range c.Packets {
			if p.Data[0]>>4 == 4 {
				n := int(p.Data[0]&15) * 4
				if got := checksum(p.Data[:n]); got != 0 {
					t.Fatalf("%s: checksum over a whole header is %#x", c.Name, got)
				}
			}
		}
	}
}

// TestReduce takes frames apart: all chosen is the frame itself, and what is
// chosen of a frame can be read.
func TestReduce(t *testing.T) {
	for _, c := range golden.Cases(t, "openbsd6") {
		for _, p := range c.Packets {
			frame := p.Frame()
			if got := (&frameFilter{}).reduce(frame, netip.Addr{}); !bytes.Equal(got, frame) {
				t.Fatalf("%s: nothing asked changes the frame", c.Name)
			}
			o := frameFilter{actions: []string{"INS", "UPD"}}
			small := o.reduce(frame, netip.Addr{})
			if small == nil {
				continue
			}
			if again := o.reduce(small, netip.Addr{}); !bytes.Equal(again, small) {
				t.Errorf("%s: reduced twice is another frame", c.Name)
			}
		}
	}
}
