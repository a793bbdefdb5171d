package engine

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// crowd makes frames that are right in form and senseless in content: few
// names and few tuples, so that everything meets everything.
type crowd struct {
	*rand.Rand
	frame uint32
}

func (c *crowd) id() syncproto.ID {
	creators := [...]uint32{pfHost, pfHost + 1, rigHost, 5, 0}
	return syncproto.ID{ID: 1<<33 + uint64(c.IntN(6)), CreatorID: creators[c.IntN(len(creators))]}
}

func (c *crowd) flow() pfstate.Flow {
	states := [...]uint8{pfstate.TCPSynSent, pfstate.TCPSynRecv, pfstate.TCPEstablished, pfstate.TCPFinWait, pfstate.TCPTimeWait, pfstate.TCPClose}
	f := tcpFlow(states[c.IntN(len(states))], [...]func(*pfstate.Flow){nil, nil, snat, dnat, both}[c.IntN(5)])
	port := uint16(4000 + c.IntN(3))
	f.Orig.SrcPort = port
	if f.Reply.Dst == client {
		f.Reply.DstPort = port
	}
	f.Timeout = uint32(c.IntN(100))
	if c.IntN(6) == 0 {
		f = f.Reversed()
	}
	if c.IntN(2) == 0 {
		f.Has &^= pfstate.HasTimeout
	}
	return f
}

func (c *crowd) record() syncproto.State {
	halves := [...]uint8{0, 2, 4, 7, 9, 10, 11}
	in, out := strictPair([...]func(*pfstate.Flow){nil, nil, snat, dnat, both}[c.IntN(5)], halves[c.IntN(7)], halves[c.IntN(7)])
	if c.IntN(2) == 0 {
		in = out
	}
	id := c.id()
	in.ID, in.CreatorID = id.ID, id.CreatorID
	for i, src := range [2]int{int(in.Direction - 1), int(in.Direction - 1)} {
		if in.Key[i].Addr[src] == client {
			in.Key[i].Port[src] = uint16(4000 + c.IntN(3))
		}
	}
	in.Src.SeqLo, in.Dst.SeqLo = c.Uint32(), c.Uint32()
	in.Expire = uint32(c.IntN(5) * 50)
	in.StateFlags = uint16(c.IntN(4) << 1 & 0x12)
	in.Timeout = uint8(c.IntN(14))
	return in
}

// message adds something.
func (c *crowd) message(w *syncproto.Builder) {
	id, st := c.id(), c.record()
	switch c.IntN(9) {
	case 0, 1:
		w.AddState(syncproto.ActIns, syncproto.Format6, &st)
	case 2, 3:
		w.AddState(syncproto.ActUpd, syncproto.Format6, &st)
	case 4:
		w.AddUpdC(&syncproto.UpdC{ID: id.ID, CreatorID: id.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: st.Timeout})
	case 5, 6:
		w.AddID(syncproto.ActDelC, &id)
	case 7:
		w.AddID([...]syncproto.Action{syncproto.ActUpdReq, syncproto.ActInsAck}[c.IntN(2)], &id)
	case 8:
		switch c.IntN(6) {
		case 0:
			w.AddClr(&syncproto.Clr{CreatorID: id.CreatorID})
		case 1:
			w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
		default:
			w.AddBus(&syncproto.Bus{CreatorID: id.CreatorID, Status: uint8(c.IntN(3))})
		}
	}
}

// speak makes a frame; a Linux peer adds its region.
func (c *crowd) speak(linux bool) []byte {
	return pfFrame(func(w *syncproto.Builder) {
		for range 1 + c.IntN(4) {
			c.message(w)
		}
		if !linux {
			return
		}
		c.frame += uint32(1 + c.IntN(3)/2)
		w.AddFrameInfo(64, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Epoch: 9,
			Frame: c.frame - uint32(c.IntN(8)/7*2), CreatorID: 5, Flags: uint8(c.IntN(8))})
		if c.IntN(3) == 0 {
			id := c.id()
			w.AddExtra(&syncproto.Extra{ID: id.ID, CreatorID: id.CreatorID, TLVs: c.tlvs()})
		}
	})
}

func (c *crowd) tlvs() (b []byte) {
	other := c.id()
	switch c.IntN(4) {
	case 0:
		b = syncproto.AppendTLV(b, syncproto.TLVKilled, nil)
	case 1:
		b = syncproto.AppendTLV(b, syncproto.TLVCarried, nil)
	case 2:
		b = syncproto.AppendMark(b, c.Uint32())
	case 3:
		b = syncproto.AppendPair(b, &syncproto.Pair{Other: other, Addr: public, Port: 61000})
	}
	return b
}

// TestCrowd: whatever peers and kernel say, in whatever order, the inside stays
// whole, frames stay readable, and a connection that nobody names lives on.
func TestCrowd(t *testing.T) {
	peers := [...]netip.Addr{rigBSD, netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")}
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		c := &crowd{Rand: rand.New(rand.NewPCG(seed, 2))}
		g := newRig(t, func(cfg *Config) {
			cfg.Format = syncproto.Format(c.IntN(int(syncproto.Formats)))
			cfg.MaxStates = c.IntN(2) * 3
		})
		g.fit = func(*pfstate.Op) pfstate.ResultCode {
			if c.IntN(4) == 0 {
				return pfstate.ResultCode(c.IntN(int(pfstate.ResultCodes)))
			}
			return pfstate.ResultOK
		}
		quiet := tcpFlow(pfstate.TCPEstablished, nil)
		quiet.Orig.Src, quiet.Reply.Dst = inner, inner
		g.local(pfstate.EventNew, quiet)
		r, _, _ := g.e.tab.ByTuple(&quiet.Orig, quiet.AF, quiet.Proto, 0)
		name := g.e.tab.At(r).MainName()
		for step := range 1500 {
			g.now += int64(c.IntN(4)) * int64(c.IntN(400)) * milli
			who := c.IntN(3)
			switch c.IntN(6) {
			case 0:
				kinds := [...]pfstate.EventKind{pfstate.EventNew, pfstate.EventUpdate, pfstate.EventDestroy, pfstate.EventDump}
				g.local(kinds[c.IntN(4)], c.flow())
			case 1:
				kinds := [...]pfstate.EventKind{pfstate.EventDumpBegin, pfstate.EventDump, pfstate.EventDumpEnd, pfstate.EventOverrun}
				g.local(pfstate.EventDump, quiet)
				g.local(kinds[c.IntN(4)], quiet)
			default:
				g.e.Remote(g.now, peers[who], c.speak(who == 2))
			}
			if c.IntN(3) > 0 {
				g.settle()
			}
			g.e.Tick(g.now)
			if what := broken(g.e); what != "" {
				t.Fatalf("seed %d step %d: %s", seed, step, what)
			}
			if c.IntN(2) == 0 {
				for _, b := range g.sent() {
					readFrame(t, b)
				}
			}
			if s := g.find(name); s == nil || s.Orig != quiet.Orig || s.Dst.State != 4 {
				t.Fatalf("seed %d step %d: %s is gone or changed", seed, step, name)
			}
		}
	}
}
