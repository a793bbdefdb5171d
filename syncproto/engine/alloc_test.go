package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// cycle is the life of states at a receiver, frame by frame, without memory of
// its own: inserts, updates, deletes, and what the kernel and we answer.
type cycle struct {
	g      *rig
	frames [3][]byte // INS, UPD_C, DEL_C of the same states
	ops    []pfstate.Op
	res    []pfstate.Result
	buf    []byte
	states int
}

// newCycle makes frames of n connections, from a pf or from a Linux.
func newCycle(tb testing.TB, n int, linux bool) *cycle {
	c := &cycle{g: newRig(tb, nil), ops: make([]pfstate.Op, 64), res: make([]pfstate.Result, 64), buf: make([]byte, 0, 9000), states: n}
	for k := range c.frames {
		c.frames[k] = pfFrame(func(w *syncproto.Builder) {
			for i := range n {
				st, _ := strictPair(nil, 4, 4)
				st.ID += uint64(2 * i)
				st.Key[0].Port[0], st.Key[1].Port[0] = uint16(i), uint16(i)
				if linux {
					st.StateFlags = syncproto.FlagSloppy
				}
				switch k {
				case 0:
					w.AddState(syncproto.ActIns, syncproto.Format6, &st)
				case 1:
					w.AddUpdC(&syncproto.UpdC{ID: st.ID, CreatorID: st.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: 2})
				case 2:
					w.AddID(syncproto.ActDelC, &syncproto.ID{ID: st.ID, CreatorID: st.CreatorID})
				}
			}
			if linux {
				w.AddFrameInfo(syncproto.FrameInfoLen, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout,
					Epoch: 3, Frame: 1, CreatorID: pfHost, Flags: syncproto.InfoCarried})
			}
		})
	}
	return c
}

func (c *cycle) run() {
	g := c.g
	for _, b := range c.frames {
		g.now += milli
		g.e.Remote(g.now, rigBSD, b)
		for n := g.e.Ops(g.now, c.ops); n > 0; n = g.e.Ops(g.now, c.ops) {
			for i := range n {
				c.res[i] = pfstate.Result{Kind: c.ops[i].Kind, Ref: c.ops[i].Ref}
			}
			g.e.Done(g.now, c.res[:n])
		}
		c.drain()
	}
}

func (c *cycle) drain() {
	c.g.e.Tick(c.g.now)
	for _, ok := c.g.e.NextFrame(c.g.now, c.buf); ok; _, ok = c.g.e.NextFrame(c.g.now, c.buf) {
	}
}

// TestNoAllocation: nothing is allocated for a state on its way, in or out.
func TestNoAllocation(t *testing.T) {
	for name, linux := range map[string]bool{"pf": false, "linux": true} {
		t.Run("from "+name, func(t *testing.T) {
			c := newCycle(t, 20, linux)
			c.run()
			if n := testing.AllocsPerRun(100, c.run); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if c.g.e.tab.Len() != 0 {
				t.Errorf("%d states are left", c.g.e.tab.Len())
			}
		})
	}
	for name, pf := range map[string]bool{"linux": false, "pf": true} {
		t.Run("to "+name, func(t *testing.T) {
			c := newCycle(t, 20, false)
			if pf {
				c.g.pfSpeaks()
			}
			var evs [3][]pfstate.Event
			for k, kind := range []pfstate.EventKind{pfstate.EventNew, pfstate.EventUpdate, pfstate.EventDestroy} {
				for i := range 20 {
					f := tcpFlow([...]uint8{pfstate.TCPSynSent, pfstate.TCPEstablished, pfstate.TCPEstablished}[k], snat)
					f.Orig.SrcPort, f.Reply.DstPort = uint16(i), uint16(i)
					evs[k] = append(evs[k], pfstate.Event{Kind: kind, Flow: f})
				}
			}
			life := func() {
				for k := range evs {
					c.g.now += milli
					c.g.e.Local(c.g.now, evs[k])
					c.g.now += 10 * milli
					c.drain()
				}
			}
			life()
			if n := testing.AllocsPerRun(100, life); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// BenchmarkRemote: a state comes, is updated once and goes.
func BenchmarkRemote(b *testing.B) {
	for name, linux := range map[string]bool{"pf": false, "linux": true} {
		b.Run(name, func(b *testing.B) {
			c := newCycle(b, 30, linux)
			b.ReportAllocs()
			for b.Loop() {
				c.run()
			}
			b.ReportMetric(float64(3*c.states*b.N)/b.Elapsed().Seconds(), "states/s")
		})
	}
}

// BenchmarkBulk: the table goes out to who asks for it.
func BenchmarkBulk(b *testing.B) {
	g := newRig(b, nil)
	const n = 10000
	for i := range n {
		f := tcpFlow(pfstate.TCPEstablished, nil)
		f.Orig.SrcPort, f.Reply.DstPort = uint16(i), uint16(i)
		g.local(pfstate.EventNew, f)
	}
	g.pass(second)
	c := &cycle{g: g, buf: make([]byte, 0, 9000)}
	ask := pfFrame(func(w *syncproto.Builder) { w.AddID(syncproto.ActUpdReq, &syncproto.ID{}) })
	b.ReportAllocs()
	for b.Loop() {
		g.now += 2 * second
		g.e.Remote(g.now, rigBSD, ask)
		for c.drain(); g.e.serve.active; c.drain() {
			g.now += milli
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "states/s")
}
