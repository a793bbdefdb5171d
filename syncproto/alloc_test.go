package syncproto_test

import (
	"testing"

	. "github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// frameOf returns the first frame of a recorded case.
func frameOf(tb testing.TB, dialect, name string) []byte {
	tb.Helper()
	for _, c := range golden.Cases(tb, dialect) {
		if c.Name == name {
			return c.Packets[0].Frame()
		}
	}
	tb.Fatalf("no case %s of %s", name, dialect)
	return nil
}

// readAll parses every state and update of a frame and returns how many.
func readAll(r *Reader, frame []byte, s *State, u *UpdC) (n int) {
	if r.Reset(frame) != nil {
		return 0
	}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		for i := range reg.Whole() {
			switch reg.Action {
			case ActIns, ActUpd:
				_ = ParseState(reg.Message(i), reg.Format, s)
			case ActUpdC:
				_ = ParseUpdC(reg.Message(i), u)
			}
			n++
		}
	}
	return n
}

func TestNoAllocation(t *testing.T) {
	var (
		r     Reader
		w     Builder
		s     State
		u     UpdC
		buf   = make([]byte, 0, 2048)
		tlvs  = make([]byte, 0, 64)
		frame = frameOf(t, "openbsd6", "max-size")
		five  = frameOf(t, "freebsd-1500", "multi-region")
	)
	bad := State{Timeout: 99}
	tests := map[string]func(){
		"read 6":     func() { readAll(&r, frame, &s, &u) },
		"read 5":     func() { readAll(&r, five, &s, &u) },
		"bad values": func() { _ = bad.CheckIns(Format6) },
		"append": func() {
			for f := range Formats {
				buf = AppendState(buf[:0], f, &s)
			}
			buf = AppendUpdC(buf, &u)
		},
		"build": func() {
			w.Begin(buf[:0], Version6, 1480, nil)
			w.AddState(ActIns, Format6, &s)
			w.AddUpdC(&u)
			tlvs = AppendMark(tlvs[:0], 7)
			w.AddFrameInfo(Stride(len(tlvs)), &FrameInfo{Magic: LinuxMagic})
			w.AddExtra(&Extra{ID: 1, TLVs: tlvs})
			w.End()
		},
	}
	for name, f := range tests {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	for _, c := range []struct{ dialect, name string }{
		{"openbsd6", "max-size"}, {"openbsd6", "max-count-updc"}, {"freebsd-1500", "max-size"}, {"freebsd-1301", "max-size"},
	} {
		b.Run(c.dialect+"/"+c.name, func(b *testing.B) {
			var (
				r Reader
				s State
				u UpdC
				n int
			)
			frame := frameOf(b, c.dialect, c.name)
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				n += readAll(&r, frame, &s, &u)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "states/s")
		})
	}
}

func BenchmarkBuilder(b *testing.B) {
	var (
		w   Builder
		s   State
		buf = make([]byte, 0, 2048)
	)
	for f := range Formats {
		b.Run(f.String(), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for w.Begin(buf, f.Version(), 1480, nil); w.AddState(ActIns, f, &s); n++ {
				}
				w.End()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "states/s")
		})
	}
}
