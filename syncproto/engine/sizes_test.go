package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// sizeRows are the limits of pfsync-protocol.md section 3.4: how long a frame
// may be, and how many messages of a kind a full one and its largest region
// have. A pf gets both states of a connection in one frame, and version 6 has
// the Linux region at its end, so some are fewer than a pf would write.
var sizeRows = []struct {
	name                 string
	format               syncproto.Format
	mtu                  int
	self                 netip.Addr
	longest              int // bytes behind the IP header
	states, updc, delc   int // in a frame
	rStates, rUpdC, rDel int // in a region
}{
	{"OpenBSD", syncproto.Format6, 1500, rigSelf, 1480, 5, 17, 119, 5, 17, 119},
	{"OpenBSD, jumbo", syncproto.Format6, 9000, rigSelf, 8980, 33, 106, 744, 33, 106, 744},
	{"OpenBSD's records over IPv6", syncproto.Format6, 1500, netip.MustParseAddr("fe80::9"), 1460, 5, 16, 117, 5, 16, 117},
	{"FreeBSD 13", syncproto.Format1301, 1500, rigSelf, 1460, 4, 16, 118, 4, 16, 118},
	{"FreeBSD 14", syncproto.Format1400, 1500, rigSelf, 1460, 4, 16, 118, 4, 16, 118},
	{"FreeBSD 15", syncproto.Format1500, 1500, rigSelf, 1460, 2, 16, 118, 2, 16, 118},
	{"FreeBSD 15, IPv6", syncproto.Format1500, 1500, netip.MustParseAddr("fe80::9"), 1460, 2, 16, 118, 2, 16, 118},
	{"FreeBSD 13, jumbo", syncproto.Format1301, 9000, rigSelf, 8960, 36, 106, 742, 8, 24, 170},
	{"FreeBSD 14, jumbo", syncproto.Format1400, 9000, rigSelf, 8960, 32, 106, 742, 7, 24, 170},
	{"FreeBSD 15, jumbo", syncproto.Format1500, 9000, rigSelf, 8960, 24, 106, 742, 5, 24, 170},
	{"the smallest", syncproto.Format1500, 576, rigSelf, 536, 1, 6, 42, 1, 6, 42},
}

// TestFrameSizes fills frames of one kind of message.
func TestFrameSizes(t *testing.T) {
	const flows = 800
	for _, tt := range sizeRows {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.Format, c.MTU = tt.format, tt.mtu })
			g.e.Link(g.now, Link{Up: true, Self: tt.self, MTU: 9000})
			g.sent()
			step := func(kind pfstate.EventKind, state uint8, ifState, ifRegion int) {
				for n := range flows {
					f := localFlow(n, state)
					if kind == pfstate.EventDestroy {
						f.Has &^= pfstate.HasTimeout
					} else {
						f.Timeout = g.e.cfg.Timeouts.For(f.Proto, state, f.Status)
					}
					g.local(kind, f)
				}
				g.now += 20 * milli
				frame, region, longest := fullest(g.sent())
				if frame != ifState || region != ifRegion || longest > tt.longest {
					t.Errorf("event %d: %d messages in a frame of %d bytes, %d in a region; want %d, %d", kind, frame, longest, region, ifState, ifRegion)
				}
			}
			step(pfstate.EventNew, pfstate.TCPEstablished, tt.states, tt.rStates)
			step(pfstate.EventUpdate, pfstate.TCPFinWait, tt.updc, tt.rUpdC)
			step(pfstate.EventDestroy, pfstate.TCPFinWait, tt.delc, tt.rDel)
			if g.e.tab.Len() != 0 {
				t.Errorf("%d states left", g.e.tab.Len())
			}
		})
	}
}

// fullest finds the most messages of a frame and of a region, and the longest
// frame.
func fullest(frames [][]byte) (frame, region, longest int) {
	for _, b := range frames {
		longest = max(longest, len(b))
		n := 0
		var rd syncproto.Reader
		if err := rd.Reset(b); err != nil {
			return 0, 0, 0
		}
		for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
			if reg.Skip || reg.Action == syncproto.ActLinux {
				continue
			}
			n += reg.Whole()
			region = max(region, reg.Whole())
		}
		frame = max(frame, n)
	}
	return frame, region, longest
}

// TestBuilderSizes: what fits without a Linux region and pairs is what pf
// packs.
func TestBuilderSizes(t *testing.T) {
	tests := []struct {
		format syncproto.Format
		mtu    int // payload
		want   [3]int
	}{
		{syncproto.Format6, 1480, [3]int{5, 17, 121}},
		{syncproto.Format1301, 1500 - 40, [3]int{5, 17, 119}},
		{syncproto.Format1400, 1500 - 40, [3]int{5, 17, 119}},
		{syncproto.Format1500, 1500 - 40, [3]int{3, 17, 119}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.format), func(t *testing.T) {
			for i, add := range []func(*syncproto.Builder) bool{
				func(w *syncproto.Builder) bool {
					return w.AddState(syncproto.ActIns, tt.format, &syncproto.State{})
				},
				func(w *syncproto.Builder) bool { return w.AddUpdC(&syncproto.UpdC{}) },
				func(w *syncproto.Builder) bool { return w.AddID(syncproto.ActDelC, &syncproto.ID{}) },
			} {
				var w syncproto.Builder
				w.Begin(nil, tt.format.Version(), tt.mtu, nil)
				n := 0
				for add(&w) {
					n++
				}
				if b := w.End(); n != tt.want[i] || len(b) > tt.mtu {
					t.Errorf("%d messages of kind %d in %d bytes, want %d", n, i, len(b), tt.want[i])
				}
			}
		})
	}
}
