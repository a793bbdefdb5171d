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

// The input of FuzzRemote is a list of steps: who speaks and how much time
// passes before (a byte), length of the frame (two), the frame.

func fuzzStep(b []byte, who byte, frame []byte) []byte {
	b = append(b, who)
	b = binary.BigEndian.AppendUint16(b, uint16(len(frame)))
	return append(b, frame...)
}

// fuzzSeeds are golden frames, alone and one after the other, and a
// conversation between two Linux.
func fuzzSeeds(f *testing.F) {
	for _, d := range golden.Dialects {
		var all []byte
		for i, c := range golden.Cases(f, d) {
			var seed []byte
			for _, p := range c.Packets {
				seed = fuzzStep(seed, byte(i), p.Frame())
			}
			f.Add(seed)
			if len(all) < 1<<14 {
				all = append(all, seed...)
			}
		}
		f.Add(all)
	}
	g := newRig(f, func(c *Config) { c.HostID = 0x77 })
	var talk []byte
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

// FuzzRemote lets up to three peers say anything to an engine with states of
// its own, and a kernel that refuses now and then.
func FuzzRemote(f *testing.F) {
	fuzzSeeds(f)
	peers := [4]netip.Addr{rigBSD, netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("fe80::3"), rigSelf}
	f.Fuzz(func(t *testing.T, in []byte) {
		g := newRig(t, nil)
		asked := 0
		g.fit = func(op *pfstate.Op) pfstate.ResultCode {
			asked++
			if asked%5 == 0 {
				return pfstate.ResultCode(len(in)+asked) % pfstate.ResultError
			}
			return pfstate.ResultOK
		}
		mine := tcpFlow(pfstate.TCPEstablished, both)
		g.local(pfstate.EventNew, mine)
		g.sent()
		name := g.e.tab.At(1).MainName()
		got, said := 0, 0
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
			if touches(frame, name, &mine) {
				return
			}
			if s := g.find(name); s == nil || s.Src.State != 4 || s.Dst.State != 4 {
				t.Fatalf("a frame that does not name it has changed %s", name)
			}
		}
		const table, heartbeats = 1 << 14, 1 << 16
		if said > 100*got+table+heartbeats {
			t.Fatalf("said %d bytes for %d", said, got)
		}
	})
}

// touches reports whether a frame has the name of a state, or its addresses:
// who tells of the same connection may change it.
func touches(frame []byte, id pfstate.ID, f *pfstate.Flow) bool {
	b := syncproto.AppendID(nil, (*syncproto.ID)(&id))
	return bytes.Contains(frame, b[:8]) || bytes.Contains(frame, f.Orig.Src[:4])
}
