package conntrack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync/pfsync/pfstate"
)

// create is AppendCreate for flows that cannot be refused.
func create(t testing.TB, f *pfstate.Flow) []byte {
	t.Helper()
	b, err := AppendCreate(nil, 1, f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCreateParses reads back what the encoder writes: all but the reply tuple
// of an entry with NAT, which goes out as the plain inverse.
func TestCreateParses(t *testing.T) {
	for _, tc := range codecCases() {
		t.Run(tc.name, func(t *testing.T) {
			b := create(t, &tc.flow)
			h, body, rest, err := nextMessage(b)
			if err != nil || len(rest) != 0 || h.typ != msgNew {
				t.Fatalf("header %+v, %d bytes left, %v", h, len(rest), err)
			}
			var got pfstate.Flow
			if err := ParseFlow(body, &got); err != nil {
				t.Fatal(err)
			}
			want := tc.flow
			if tc.nat {
				want.Reply = want.Orig.Inverse(want.Proto)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if len(b) > maxMessage {
				t.Errorf("message of %d bytes, maxMessage is %d", len(b), maxMessage)
			}
		})
	}
}

// TestParseTruncated cuts a message at every length: what is left is refused
// and the flow is as before. A cut between attributes cannot be seen by the
// length, but then something necessary or optional is simply not there.
func TestParseTruncated(t *testing.T) {
	f := flowCases()[0].flow
	b := create(t, &f)[nlHdrLen:]
	for n := range len(b) {
		var got pfstate.Flow
		got.Mark = 42
		if err := ParseFlow(b[:n], &got); err != nil && got != (pfstate.Flow{Mark: 42}) {
			t.Fatalf("cut at %d: %v, but the flow changed", n, err)
		} else if err == nil && !atBoundary(b, n) {
			t.Fatalf("cut at %d: no error", n)
		}
	}
}

// atBoundary reports whether n is the end of an attribute of the top level of
// b, its padding left out or not.
func atBoundary(b []byte, n int) bool {
	a := attrs{rest: b[genLen:]}
	for a.next() {
		end := len(b) - len(a.rest)
		if n == end || n < end && n >= end-3 && align4(n) == end && len(a.data)%4 != 0 && n >= end-align4(len(a.data))+len(a.data) {
			return true
		}
	}
	return false
}

// TestParseLies gives attributes lengths that are not theirs.
func TestParseLies(t *testing.T) {
	f := flowCases()[0].flow
	good := create(t, &f)[nlHdrLen:]
	for off := genLen; off < len(good); {
		n := int(binary.NativeEndian.Uint16(good[off:]))
		for _, lie := range []uint16{0, 1, 3, uint16(n) - 1, uint16(n) + 1, 0xffff} {
			b := append([]byte(nil), good...)
			binary.NativeEndian.PutUint16(b[off:], lie)
			var got pfstate.Flow
			if err := ParseFlow(b, &got); err == nil {
				t.Errorf("attribute at %d with length %d for %d: no error", off, lie, n)
			}
		}
		off += align4(n)
	}
}

func TestParseErrors(t *testing.T) {
	f := flowCases()[0].flow
	body := create(t, &f)[nlHdrLen:]
	edit := func(fn func(b []byte) []byte) []byte { return fn(append([]byte(nil), body...)) }
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrShort},
		{"no family", edit(func(b []byte) []byte { b[0] = 0; return b }), ErrFamily},
		{"other family", edit(func(b []byte) []byte { b[0] = pfstate.AFInet6; return b }), ErrTuple},
		{"no tuples", body[:genLen], ErrTuple},
		{"trailing byte", edit(func(b []byte) []byte { return append(b, 0) }), ErrAttr},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got pfstate.Flow
			if err := ParseFlow(tc.in, &got); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// TestNoTupleNoRequest: a delete without a tuple would flush the table.
func TestNoTupleNoRequest(t *testing.T) {
	empty := pfstate.Flow{AF: pfstate.AFInet, Proto: pfstate.ProtoTCP, CtID: 7}
	nofam := flowCases()[0].flow
	nofam.AF = 0
	noreply := flowCases()[0].flow
	noreply.Reply = pfstate.Tuple{}
	encoders := map[string]func(f *pfstate.Flow) ([]byte, error){
		"create": func(f *pfstate.Flow) ([]byte, error) { return AppendCreate(nil, 1, f) },
		"update": func(f *pfstate.Flow) ([]byte, error) { return AppendUpdate(nil, 1, f, OneWay) },
		"delete": func(f *pfstate.Flow) ([]byte, error) { return AppendDelete(nil, 1, f, OneWay) },
		"get":    func(f *pfstate.Flow) ([]byte, error) { return AppendGet(nil, 1, f, EitherWay) },
	}
	for name, enc := range encoders {
		t.Run(name, func(t *testing.T) {
			if b, err := enc(&empty); err != ErrNoTuple || len(b) != 0 {
				t.Errorf("no tuple: %d bytes, %v", len(b), err)
			}
			if b, err := enc(&nofam); err != ErrFamily || len(b) != 0 {
				t.Errorf("no family: %d bytes, %v", len(b), err)
			}
		})
	}
	if b, err := AppendCreate(nil, 1, &noreply); err != ErrNoReply || len(b) != 0 {
		t.Errorf("create without reply tuple: %d bytes, %v", len(b), err)
	}
}

func TestCodecAllocs(t *testing.T) {
	cases := codecCases()
	buf := make([]byte, 0, maxMessage)
	var got pfstate.Flow
	if n := testing.AllocsPerRun(100, func() {
		for i := range cases {
			f := &cases[i].flow
			b, _ := AppendCreate(buf, 1, f)
			if err := ParseFlow(b[nlHdrLen:], &got); err != nil {
				t.Fatal(cases[i].name, err)
			}
			AppendUpdate(buf, 1, f, OneWay)
			AppendDelete(buf, 1, f, OneWay)
			AppendGet(buf, 1, f, EitherWay)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseFlow: no input makes the decoder panic, a failed parse leaves the
// flow alone, and what parses can be encoded and parses as the same again.
func FuzzParseFlow(f *testing.F) {
	for _, tc := range codecCases() {
		f.Add(create(f, &tc.flow)[nlHdrLen:])
	}
	for _, r := range readRecorded(f) {
		f.Add(r.msg[nlHdrLen:])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := pfstate.Flow{Mark: 1, CtID: 2}
		got := before
		if err := ParseFlow(in, &got); err != nil {
			if got != before {
				t.Fatalf("%v, but the flow changed", err)
			}
			return
		}
		b, err := AppendUpdate(nil, 1, &got, EitherWay)
		if err != nil {
			return // no addresses
		}
		if len(b) > maxMessage || len(b)%4 != 0 {
			t.Fatalf("message of %d bytes", len(b))
		}
	})
}

// FuzzMessages: whatever a datagram holds, walking it ends, and within it.
func FuzzMessages(f *testing.F) {
	tcp := flowCases()[0].flow
	one := create(f, &tcp)
	f.Add(append(append([]byte(nil), one...), one...))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		for len(in) > 0 {
			_, body, rest, err := nextMessage(in)
			if err != nil {
				return
			}
			if total = len(in) - len(rest); total < nlHdrLen+len(body) {
				t.Fatal("the rest overlaps the message")
			}
			in = rest
		}
	})
}

// TestDeadlyHelper: a translated connection does without the helper of PPTP,
// made or changed; others have theirs.
func TestDeadlyHelper(t *testing.T) {
	for _, tc := range []struct {
		helper     string
		translated bool
		want       bool
	}{{"pptp", false, true}, {"pptp", true, false}, {"ftp", true, true}, {"pptpx", true, true}} {
		f := flowCases()[0].flow
		f.Has |= pfstate.HasHelper
		f.Helper = [16]byte{}
		copy(f.Helper[:], tc.helper)
		if tc.translated {
			f.Reply.Dst = pfstate.Addr{192, 0, 2, 7}
		}
		update, err := AppendUpdate(nil, 1, &f, EitherWay)
		if err != nil {
			t.Fatal(err)
		}
		for what, b := range map[string][]byte{"create": create(t, &f), "update": update} {
			if has := bytes.Contains(b, []byte(tc.helper+"\x00")); has != tc.want {
				t.Errorf("%s, translated %v: %s has the helper: %v", tc.helper, tc.translated, what, has)
			}
		}
	}
}
