package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestCountsPerAction: what one side says it has sent is what the other says it
// has received, action by action, the Linux region and EOF too.
func TestCountsPerAction(t *testing.T) {
	const confirmed = 0x8
	for _, f := range []syncproto.Format{syncproto.Format6, syncproto.Format1301, syncproto.Format1400, syncproto.Format1500} {
		t.Run(f.String(), func(t *testing.T) {
			one := newRig(t, func(c *Config) { c.Format = f })
			two := newRig(t, func(c *Config) { c.HostID = 0xfeed0002; c.Format = f })
			before := one.e.Stats
			event := func(k pfstate.EventKind, f pfstate.Flow) { one.e.Local(one.now, []pfstate.Event{{Kind: k, Flow: f}}) }
			pass := func() {
				one.now += second
				one.e.Tick(one.now)
				for _, frame := range one.sent() {
					two.hear(rigBSD, frame)
				}
			}
			marked := udp(2, confirmed)
			marked.Mark, marked.Has = 7, marked.Has|pfstate.HasMark
			event(pfstate.EventNew, udp(1, confirmed))
			event(pfstate.EventNew, marked)
			pass()
			event(pfstate.EventUpdate, left(udp(1, confirmed|0x2), 60))
			pass()
			event(pfstate.EventDestroy, marked)
			one.e.Flush(one.now)
			pass()

			sent := one.e.Stats
			for a := range sent.Out {
				if n := sent.Out[a] - before.Out[a]; n != two.e.Stats.In[a] {
					t.Errorf("%v: %d sent, %d received", syncproto.Action(a), n, two.e.Stats.In[a])
				}
			}
			if n := sent.LinuxOut - before.LinuxOut; n != two.e.Stats.LinuxIn || f == syncproto.Format6 && n <= sent.FramesOut-before.FramesOut {
				t.Errorf("%d of the Linux region sent in %d frames, %d received", n, sent.FramesOut-before.FramesOut, two.e.Stats.LinuxIn)
			}
			for _, a := range []syncproto.Action{syncproto.ActIns, syncproto.ActDelC, syncproto.ActClr} {
				if two.e.Stats.In[a] == 0 {
					t.Errorf("no %v", a)
				}
			}
			if eof := two.e.Stats.In[syncproto.ActEOF]; (eof == 0) != (f == syncproto.Format6) {
				t.Errorf("%d EOF", eof)
			}
		})
	}
}
