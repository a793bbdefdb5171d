package engine

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// The input of FuzzRemote is what we are (a byte, see fuzzRig), then a list of
// steps: who speaks and how much time passes before (a byte), length of the
// frame (two), the frame.

func fuzzStep(b []byte, who byte, frame []byte) []byte {
	b = append(b, who)
	b = binary.BigEndian.AppendUint16(b, uint16(len(frame)))
	return append(b, frame...)
}

// fuzzSeeds are golden frames, one of every so many alone, and one after the
// other, and a conversation between two Linux.
func fuzzSeeds(f *testing.F, every int) {
	for we, d := range golden.Dialects {
		all := []byte{byte(we)}
		for i, c := range golden.Cases(f, d) {
			seed := []byte{byte(we)}
			for _, p := range c.Packets {
				seed = fuzzStep(seed, byte(i), p.Frame())
			}
			if i%every == 0 {
				f.Add(seed)
			}
			if len(all) < 1<<12 {
				all = append(all, seed...)
			}
		}
		f.Add(all)
	}
	f.Add(fuzzChecks())
	g := newRig(f, func(c *Config) { c.HostID = 0x77 })
	talk := []byte{0}
	g.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, snat))
	for i := range 4 {
		g.now += second
		g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPEstablished+uint8(i), snat))
		for _, b := range g.sent() {
			talk = fuzzStep(talk, byte(i), b)
		}
	}
	f.Add(talk)
}

// fuzzChecks is a peer that asks all that can be asked of a table, and answers
// what nobody asked.
func fuzzChecks() []byte {
	talk := []byte{0}
	id := syncproto.ID{ID: 1 << 32, CreatorID: rigHost}
	for i, tlvs := range [][]byte{
		syncproto.AppendWantDigests(nil, &syncproto.WantDigests{Buckets: 16, Count: 16}),
		syncproto.AppendWantBuckets(nil, 16, []uint16{0, 3, 15}),
		syncproto.AppendLook(nil, 1),
		syncproto.AppendLack(nil, []syncproto.ID{id}),
		syncproto.AppendDigest(nil, 16, 0, make([]uint64, 16)),
		syncproto.AppendBucket(nil, &syncproto.Bucket{Buckets: 16, Total: 1}, []syncproto.Item{{ID: id, Digest: 1}}),
		syncproto.AppendLooked(nil, &syncproto.Looked{Number: 1, Total: 1}, []syncproto.Found{{ID: id, How: syncproto.FoundGone}}),
	} {
		var w syncproto.Builder
		w.Begin(nil, syncproto.Version6, 1480, nil)
		w.AddFrameInfo(syncproto.Stride(len(tlvs)), &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout,
			Flags: syncproto.InfoInSync | syncproto.InfoDigests, Epoch: 1, Frame: uint32(i + 1), CreatorID: 0x77})
		w.AddExtra(&syncproto.Extra{CreatorID: rigHost, TLVs: tlvs})
		talk = fuzzStep(talk, 8, w.End())
	}
	return talk
}

// fuzzRig is an engine that sends one of the formats, with room for few states
// or many, and a kernel that refuses now and then. It has a state of its own
// and one of a peer that says nothing more.
func fuzzRig(tb testing.TB, we byte) (g *rig, own, other fuzzState) {
	g = newRig(tb, func(c *Config) {
		c.Format = syncproto.Format(we) % syncproto.Formats
		c.MaxStates = []int{0, 3, 40}[int(we>>2)%3]
	})
	own.flow = tcpFlow(pfstate.TCPEstablished, both)
	g.local(pfstate.EventNew, own.flow)
	g.sent()
	own.id = g.e.tab.At(1).MainName()
	st, _ := strictPair(nil, 4, 4)
	st.ID, st.CreatorID = 0xb0b1b2b3b4b5b6b7, 0xb8b9babb
	for i := range st.Key {
		st.Key[i].Addr = [2][16]byte{{10, 77, 78, 79}, {10, 80, 81, 82}}
	}
	g.hear(rigBSD.Next().Next(), insert(syncproto.ActIns, st))
	other.id = pfstate.ID(st.StateID())
	other.flow.Orig.Src = pfstate.Addr{10, 77, 78, 79}
	g.sent()
	asked := 0
	g.fit = func(op *pfstate.Op) pfstate.ResultCode {
		asked++
		if asked%5 == 0 {
			return pfstate.ResultCode(int(we)+asked) % pfstate.ResultError
		}
		return pfstate.ResultOK
	}
	return g, own, other
}

// fuzzState is one that only who names it may touch.
type fuzzState struct {
	id   pfstate.ID
	flow pfstate.Flow
	open bool // has been named
}

// FuzzRemote lets up to three peers say anything to an engine.
func FuzzRemote(f *testing.F) {
	fuzzSeeds(f, 1)
	peers := [4]netip.Addr{rigBSD, rigBSD.Next(), netip.MustParseAddr("fe80::3"), rigSelf}
	const stateBytes = syncproto.StateLen1500 // the longest
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		g, own, other := fuzzRig(t, in[0])
		in = in[1:]
		begin, got, said := g.now, 0, 0
		for len(in) >= 3 {
			who, n := in[0], int(binary.BigEndian.Uint16(in[1:]))
			frame := in[3:min(len(in), 3+n)]
			in = in[3+len(frame):]
			g.now += int64(who>>2) * 40 * milli
			g.e.Tick(g.now)
			g.hear(peers[who&3], frame)
			got += len(frame)
			if what := broken(g.e); what != "" {
				t.Fatal(what)
			}
			for _, b := range g.sent() {
				readFrame(t, b)
				said += len(b)
			}
			if what := broken(g.e); what != "" {
				t.Fatal(what)
			}
			if most := g.e.cfg.MaxStates; most > 0 && g.e.tab.Len()-g.e.held > most+1 {
				t.Fatalf("%d states, at most %d of peers", g.e.tab.Len(), most)
			}
			own.check(t, g, frame)
			other.check(t, g, frame)
		}
		// Beside what limits.go allows: heartbeats, our own state, and for each
		// request the table.
		const perState, perSecond, base = 1024, 256, 1 << 14
		told := int(g.e.Stats.Reason[ReasonCheckTold])
		if most := int((g.now-begin)/tellPace) + 1; told > most {
			t.Fatalf("%d frames about tables, at most %d", told, most)
		}
		walks := int(g.e.Stats.Out[syncproto.ActBus]) + 1
		most := got*2*stateBytes/replyBytes + int((g.now-begin)/second)*perSecond + walks*g.e.tab.Len()*perState + told*1500 + base
		if said > most {
			t.Fatalf("said %d bytes for %d, at most %d", said, got, most)
		}
	})
}

// check: the state is as it was until a frame names it. Who tells of the same
// connection, or ends all that its creator made, may change it too.
func (s *fuzzState) check(t *testing.T, g *rig, frame []byte) {
	b := syncproto.AppendID(nil, (*syncproto.ID)(&s.id))
	s.open = s.open || bytes.Contains(frame, b[:8]) || bytes.Contains(frame, s.flow.Orig.Src[:4]) ||
		bytes.Contains(frame, b[8:]) && s.id.CreatorID != rigHost
	if st := g.find(s.id); !s.open && (st == nil || st.Src.State != 4 || st.Dst.State != 4) {
		t.Fatalf("a frame that does not name it has changed %s", s.id)
	}
}

// FuzzReplay: any capture can be replayed, and its states told.
func FuzzReplay(f *testing.F) {
	fuzzSeeds(f, 8)
	peers := [2]netip.Addr{rigBSD, netip.MustParseAddr("fe80::3")}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		in = in[1:]
		now := second
		rp := NewReplay(now)
		for len(in) >= 3 {
			who, n := in[0], int(binary.BigEndian.Uint16(in[1:]))
			frame := in[3:min(len(in), 3+n)]
			in = in[3+len(frame):]
			now += int64(who>>1) * 400 * milli
			rp.Frame(now, peers[who&1], frame)
			if what := broken(rp.e); what != "" {
				t.Fatal(what)
			}
		}
		for _, st := range rp.States(now, nil) {
			if b := syncproto.AppendState(nil, syncproto.Format6, &st); len(b) != syncproto.StateLen6 || st.CreatorID == 0 {
				t.Fatalf("%+v", st)
			}
		}
	})
}
