package cli

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// linuxFrame is a frame with two states, of which the Linux region tells mark
// and zone of the second.
func linuxFrame() []byte {
	frame := make([]byte, syncproto.HeaderLen)
	frame = syncproto.AppendSubheader(frame, &syncproto.Subheader{Action: uint8(syncproto.ActIns), Len: syncproto.StateLen6 / 4, Count: 2})
	for id := range uint64(2) {
		frame = syncproto.AppendState(frame, syncproto.Format6, &syncproto.State{ID: id + 1, CreatorID: 7, Direction: syncproto.DirIn,
			Key: [2]syncproto.Key{{AF: syncproto.FamilyIPv4}, {AF: syncproto.FamilyIPv4}}, AF: syncproto.FamilyIPv4})
	}
	tlvs := syncproto.AppendMark(nil, 5)
	tlvs = syncproto.AppendZone(tlvs, &syncproto.Zone{Orig: 3, Reply: 3})
	x := syncproto.Extra{ID: 2, CreatorID: 7, TLVs: tlvs}
	stride := syncproto.Stride(max(x.Len(), syncproto.FrameInfoLen))
	frame = syncproto.AppendSubheader(frame, &syncproto.Subheader{Action: uint8(syncproto.ActLinux), Len: uint8(stride / 4), Count: 2})
	for _, m := range [][]byte{
		syncproto.AppendFrameInfo(nil, &syncproto.FrameInfo{CreatorID: 7}),
		syncproto.AppendExtra(nil, &x),
	} {
		frame = append(frame, append(m, make([]byte, stride-len(m))...)...)
	}
	head := syncproto.AppendHeader(nil, &syncproto.Header{Version: 6, Len: uint16(len(frame))})
	copy(frame, head)
	return frame
}

// TestExtras filters by what only the Linux region tells.
func TestExtras(t *testing.T) {
	for _, tc := range []struct {
		name, key, value string
		want             []uint64 // ids of the states left
	}{
		{"mark", "mark", "5", []uint64{2}},
		{"no mark", "mark", "0", []uint64{1}},
		{"mark under a mask", "mark", "4/4", []uint64{2}},
		{"zone", "zone", "3", []uint64{2}},
		{"no such zone", "zone", "4", nil},
		{"both", "proto", "0", []uint64{1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := frameFilter{states: true}
			if err := o.query.Set(tc.key, tc.value); err != nil {
				t.Fatal(err)
			}
			var got []uint64
			eachState(o.reduce(linuxFrame(), netip.Addr{}), func(s *syncproto.State) { got = append(got, s.ID) })
			if len(got) != len(tc.want) {
				t.Fatalf("states %v, want %v", got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Errorf("states %v, want %v", got, tc.want)
				}
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	from := netip.MustParseAddr("10.0.0.2")
	for _, tc := range []struct {
		name, origin string
		hostID       uint32
		want         bool
	}{
		{"address of the sender", "10.0.0.2", 0, true},
		{"another address", "10.0.0.3", 0, false},
		{"creatorid", "00000007", 0, true},
		{"another creatorid", "00000008", 0, false},
		{"local", control.OriginLocal, 7, true},
		{"not local", control.OriginLocal, 8, false},
		{"peer", control.OriginPeer, 8, true},
		{"not a peer", control.OriginPeer, 7, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := frameFilter{origin: tc.origin, hostID: tc.hostID}
			if got := o.reduce(linuxFrame(), from) != nil; got != tc.want {
				t.Errorf("shown: %v, want %v", got, tc.want)
			}
		})
	}
}

// FuzzReduce: whatever a frame is, a filter leaves one that can be read, and the
// states in it print without a byte that a terminal obeys.
func FuzzReduce(f *testing.F) {
	f.Add(linuxFrame(), "mark", "5")
	for _, d := range golden.Dialects {
		for i, c := range golden.Cases(f, d) {
			if i%8 == 0 {
				f.Add(c.Packets[0].Frame(), "proto", "6")
			}
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, key, value string) {
		o := frameFilter{states: true}
		if o.query.Set(key, value) != nil {
			o.origin = "local"
		}
		out := o.reduce(frame, netip.Addr{})
		if len(out) > len(frame) {
			t.Fatalf("%d bytes of %d", len(out), len(frame))
		}
		for _, b := range [][]byte{frame, out} {
			eachState(b, func(w *syncproto.State) {
				var text bytes.Buffer
				s := fromWire(w)
				if pfText(&text, &s, 2) != nil || ctText(&text, &s) != nil {
					t.Fatal("not printed")
				}
				for _, c := range text.Bytes() {
					if c != '\n' && (c < ' ' || c >= 0x7f) {
						t.Fatalf("byte %#x in %q", c, text.String())
					}
				}
			})
		}
	})
}
