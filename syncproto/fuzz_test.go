package syncproto_test

import (
	"bytes"
	"testing"

	. "github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// fuzzMessage checks a pair of functions: no panic; an error leaves the value
// alone; what was parsed is appended as the same bytes.
func fuzzMessage[T comparable](f *testing.F, length int, parse func([]byte, *T) error, app func([]byte, *T) []byte) {
	f.Add([]byte{})
	f.Add(make([]byte, length))
	f.Add(bytes.Repeat([]byte{0xa5}, length-1))
	f.Add(bytes.Repeat([]byte{0x5a}, length+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var was, m T
		if length <= len(b) {
			if err := parse(bytes.Repeat([]byte{0x11}, length), &m); err != nil {
				t.Fatal(err)
			}
		}
		was = m
		err := parse(b, &m)
		if (err != nil) != (len(b) < length) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			if m != was {
				t.Fatal("changed by a failed parse")
			}
			return
		}
		if got := app([]byte("x"), &m); !bytes.Equal(got[1:], b[:length]) {
			t.Fatalf("got %x, want %x", got[1:], b[:length])
		}
	})
}

func FuzzHeader(f *testing.F)    { fuzzMessage(f, HeaderLen, ParseHeader, AppendHeader) }
func FuzzSubheader(f *testing.F) { fuzzMessage(f, SubheaderLen, ParseSubheader, AppendSubheader) }
func FuzzClr(f *testing.F)       { fuzzMessage(f, ClrLen, ParseClr, AppendClr) }
func FuzzID(f *testing.F)        { fuzzMessage(f, IDLen, ParseID, AppendID) }
func FuzzUpdC(f *testing.F)      { fuzzMessage(f, UpdCLen, ParseUpdC, AppendUpdC) }
func FuzzBus(f *testing.F)       { fuzzMessage(f, BusLen, ParseBus, AppendBus) }
func FuzzTDB6(f *testing.F)      { fuzzTDB(f, Format6) }
func FuzzTDB5(f *testing.F)      { fuzzTDB(f, Format1301) }
func FuzzState6(f *testing.F)    { fuzzState(f, Format6) }
func FuzzState1301(f *testing.F) { fuzzState(f, Format1301) }
func FuzzState1400(f *testing.F) { fuzzState(f, Format1400) }
func FuzzState1500(f *testing.F) { fuzzState(f, Format1500) }

func fuzzTDB(f *testing.F, format Format) {
	fuzzMessage(f, ActTDB.Length(format),
		func(b []byte, m *TDB) error { return ParseTDB(b, format, m) },
		func(b []byte, m *TDB) []byte { return AppendTDB(b, format, m) })
}

func fuzzState(f *testing.F, format Format) {
	fuzzMessage(f, format.StateLen(),
		func(b []byte, m *State) error { return ParseState(b, format, m) },
		func(b []byte, m *State) []byte { return AppendState(b, format, m) })
}

// FuzzFrameInfo: the magic is checked, all else is kept.
func FuzzFrameInfo(f *testing.F) {
	f.Add(AppendFrameInfo(nil, &FrameInfo{Magic: LinuxMagic, Layout: LinuxLayout, Epoch: 7, Frame: 1}))
	f.Add(make([]byte, FrameInfoLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := FrameInfo{Frame: 42}
		m := was
		if err := ParseFrameInfo(b, &m); err != nil {
			if m != was {
				t.Fatal("changed by a failed parse")
			}
			return
		}
		if got := AppendFrameInfo(nil, &m); !bytes.Equal(got, b[:FrameInfoLen]) {
			t.Fatalf("got %x, want %x", got, b[:FrameInfoLen])
		}
	})
}

// FuzzExtra reads a message, its TLVs and every value by every parser.
func FuzzExtra(f *testing.F) {
	f.Add(AppendExtra(nil, &Extra{ID: 1, CreatorID: 2, TLVs: everyTLV()}))
	f.Add(AppendExtra(nil, &Extra{TLVs: []byte{9, 255, 0}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Extra
		if err := ParseExtra(b, &m); err != nil {
			return
		}
		if got := AppendExtra(nil, &m); !bytes.Equal(got, b) {
			t.Fatalf("got %x, want %x", got, b)
		}
		var again []byte
		for typ, v, rest, ok := NextTLV(m.TLVs); ok; typ, v, rest, ok = NextTLV(rest) {
			again = AppendTLV(again, typ, v)
			parseEvery(v)
		}
		if !bytes.HasPrefix(m.TLVs, again) {
			t.Fatalf("TLVs %x read as %x", m.TLVs, again)
		}
	})
}

// FuzzReader: every frame can be walked, see walk; what the Reader returned
// written back is the frame.
func FuzzReader(f *testing.F) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(f, d) {
			f.Add(c.Packets[0].Frame())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		walk(t, frame)
		rewrite(t, frame)
	})
}

// rewrite writes header and regions of a frame again, messages through Parse
// and Append, compares, and returns how many bytes that were. A frame that is
// refused has none.
func rewrite(t *testing.T, frame []byte) int {
	t.Helper()
	var r Reader
	if r.Reset(frame) != nil {
		return 0
	}
	out := AppendHeader(nil, r.Header())
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		out = AppendSubheader(out, &Subheader{Action: reg.Raw, Len: reg.Len, Count: uint16(reg.Count)})
		if reg.Skip {
			out = append(out, reg.Data...)
			continue
		}
		for i := range reg.Count {
			b := reg.Message(i)
			n := len(out)
			out = rewriteMessage(t, out, &reg, b)
			out = append(out, b[len(out)-n:]...) // bytes behind our layout
		}
	}
	if !bytes.HasPrefix(frame, out) {
		t.Fatalf("written back:\n%x, read\n%x", out, frame)
	}
	return len(out)
}

func rewriteMessage(t *testing.T, out []byte, reg *Region, b []byte) []byte {
	t.Helper()
	var err error
	switch reg.Action {
	case ActClr:
		var m Clr
		err = ParseClr(b, &m)
		out = AppendClr(out, &m)
	case ActInsAck, ActUpdReq, ActDelC:
		var m ID
		err = ParseID(b, &m)
		out = AppendID(out, &m)
	case ActUpdC:
		var m UpdC
		err = ParseUpdC(b, &m)
		out = AppendUpdC(out, &m)
	case ActBus:
		var m Bus
		err = ParseBus(b, &m)
		out = AppendBus(out, &m)
	case ActTDB:
		var m TDB
		err = ParseTDB(b, reg.Format, &m)
		out = AppendTDB(out, reg.Format, &m)
	case ActLinux:
		var m Extra
		err = ParseExtra(b, &m)
		out = AppendExtra(out, &m)
	default:
		var m State
		err = ParseState(b, reg.Format, &m)
		out = AppendState(out, reg.Format, &m)
	}
	if err != nil {
		t.Fatalf("%v region at %d: %v", reg.Action, reg.Offset, err)
	}
	return out
}

// TestGoldenRewrite writes all frames back byte for byte: valid ones whole,
// malformed ones up to where a receiver stops.
func TestGoldenRewrite(t *testing.T) {
	eachPacket(t, func(t *testing.T, c *golden.Case, p *golden.Packet) {
		n := rewrite(t, p.Frame())
		counters, _, _ := receive(versionOf(c.Dialect), p.Frame())
		if c.Valid() && len(counters) == 0 && n != p.Header.Len {
			t.Errorf("%d of %d bytes written back", n, p.Header.Len)
		}
	})
}
