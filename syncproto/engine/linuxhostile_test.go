package engine

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestLinuxLies: a Linux peer whose epoch, frame numbers or table size make no
// sense, or that asks for ever, gets a bounded number of bytes, for ever less
// than would be one answer for each of its frames, and takes nothing away.
func TestLinuxLies(t *testing.T) {
	all := func(l *liar) []byte { return wantFrames(l.r.e.cfg.Epoch, 0, math.MaxUint32) }
	for _, tc := range []struct {
		name   string
		change func(l *liar, n uint32)
		tlvs   func(l *liar) []byte
		most   int // bytes a second that it may be worth
	}{
		{"as it should be", func(*liar, uint32) {}, nil, 200},
		{"another epoch with every frame", func(l *liar, _ uint32) { l.epoch++ }, nil, 400},
		{"two epochs by turns", func(l *liar, n uint32) { l.epoch = 5 + n%2 }, nil, 400},
		{"numbers that jump", func(l *liar, _ uint32) { l.frame += 1000 }, nil, 400},
		{"numbers that go back", func(l *liar, _ uint32) { l.frame -= 50 }, nil, 400},
		{"the same number for ever", func(l *liar, _ uint32) { l.frame = 7 }, nil, 400},
		{"numbers from anywhere", func(l *liar, n uint32) { l.frame = n * 2654435761 }, nil, 400},
		{"a table of four billion states", func(l *liar, _ uint32) { l.size = math.MaxUint32 }, nil, 400},
		{"a table that is another each time", func(l *liar, n uint32) { l.size = n * 2654435761 }, nil, 400},
		{"all frames, for ever", func(*liar, uint32) {}, all, 12_000},
		{"frames of another run", func(*liar, uint32) {}, func(l *liar) []byte { return wantFrames(l.r.e.cfg.Epoch+1, 1, 9) }, 400},
		{"frames from last to first", func(*liar, uint32) {}, func(l *liar) []byte { return wantFrames(l.r.e.cfg.Epoch, 9, 1) }, 400},
		{"everything was forgotten", func(l *liar, _ uint32) { l.frame += 3 },
			func(l *liar) []byte { return framesAgain(l.epoch, 0, math.MaxUint32, true) }, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLiar(t, 20)
			said := uint32(0)
			lie := func(beats int) {
				for range beats {
					tc.change(l, said)
					said++
					if tc.tlvs != nil {
						l.frameOf(syncproto.InfoInSync|syncproto.InfoDigests, []item{control(hostA, tc.tlvs(l))})
					}
					l.live(second / 2)
				}
			}
			lie(240)
			l.bytes = 0
			lie(480)
			t.Logf("%d bytes a second", l.bytes/240)
			if got := l.bytes / 240; got > tc.most {
				t.Errorf("%d bytes a second", got)
			}
			if n := l.r.e.tab.Len(); n != 20 {
				t.Errorf("%d states of 20", n)
			}
			l.r.expectOps()
		})
	}
}

// TestLinuxLengths: a Linux region whose lengths lie is read as far as it goes;
// what stands before it in the frame is taken, and nothing of another state's.
func TestLinuxLengths(t *testing.T) {
	name, other := theirs(5), theirs(6)
	good := func(r *desk) []byte {
		return r.b.bytes(r.b.frame+1, syncproto.InfoCarried, []item{ins(name, udp(1, fresh)), control(hostA, nil), {name: other, tlvs: markTLV(9)}, {name: name, tlvs: markTLV(7)}})
	}
	// at gives where the Linux region's subheader begins.
	at := func(frame []byte) int {
		var rd syncproto.Reader
		if rd.Reset(frame) != nil {
			t.Fatal("a frame that cannot be read")
		}
		for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
			if reg.Action == syncproto.ActLinux {
				return reg.Offset
			}
		}
		t.Fatal("no Linux region")
		return 0
	}
	for _, tc := range []struct {
		name string
		lie  func(frame []byte, region int)
		mark uint32
	}{
		{"nothing", func([]byte, int) {}, 7},
		{"no messages", func(f []byte, at int) { binary.BigEndian.PutUint16(f[at+2:], 0) }, 0},
		{"more messages than there are", func(f []byte, at int) { binary.BigEndian.PutUint16(f[at+2:], 60000) }, 0},
		{"messages of no length", func(f []byte, at int) { f[at+1] = 0 }, 0},
		{"messages of another length", func(f []byte, at int) { f[at+1]-- }, 0},
		{"messages that run over", func(f []byte, at int) { f[at+1] = 255 }, 0},
		{"no magic", func(f []byte, at int) { f[at+4]++ }, 0},
		{"a mark that runs over its message", func(f []byte, at int) { f[tlvOf(f, 7)+1] = 200 }, 0},
		{"a mark of three bytes", func(f []byte, at int) { f[tlvOf(f, 7)+1] = 3 }, 0},
		{"a mark of no bytes", func(f []byte, at int) { f[tlvOf(f, 7)+1] = 0 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			frame := good(r)
			tc.lie(frame, at(frame))
			r.e.Remote(r.now, r.b.addr, frame)
			r.e.Remote(r.now, r.b.addr, frame)
			s, _, ok := r.e.tab.ByName(name)
			if !ok || r.e.tab.At(s).Mark != tc.mark || r.e.tab.Len() != 1 {
				t.Fatalf("%d states, there %v, mark %d, want %d", r.e.tab.Len(), ok, r.e.tab.At(max(s, 1)).Mark, tc.mark)
			}
		})
	}
}

// tlvOf finds the mark of that value.
func tlvOf(frame []byte, mark uint32) int {
	want := markTLV(mark)
	for i := range frame[:len(frame)-len(want)] {
		if string(frame[i:i+len(want)]) == string(want) {
			return i
		}
	}
	panic("no such mark")
}

// TestKeptFromAnyone: what is kept of one BSD another may update and end, as in
// the table; a Linux peer's records of it make it a state.
func TestKeptFromAnyone(t *testing.T) {
	g := newRig(t, nil)
	st := keptState(keptKinds[3].change)
	g.hear(rigBSD, insert(syncproto.ActIns, st))
	done, _ := strictPair(nil, 4, 4)
	g.hear(rigSelf.Next(), pfFrame(func(w *syncproto.Builder) {
		w.AddState(syncproto.ActUpd, syncproto.Format6, &done)
		w.AddFrameInfo(64, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Epoch: 9, CreatorID: 5})
	}))
	if g.e.KeptLen() != 0 || g.find(pfstate.ID(st.StateID())) == nil {
		t.Errorf("%d kept, %d states", g.e.KeptLen(), g.e.tab.Len())
	}
}
