package text

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
)

// TestLinuxRegion: a frame of ours without IP header.
func TestLinuxRegion(t *testing.T) {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	w.AddID(syncproto.ActDelC, &syncproto.ID{ID: 1, CreatorID: 0xab})
	tlvs := syncproto.AppendMark(nil, 7)
	tlvs = syncproto.AppendTLV(tlvs, syncproto.TLVKilled, nil)
	tlvs = syncproto.AppendTLV(tlvs, 200, []byte{1})
	w.AddFrameInfo(syncproto.Stride(len(tlvs)), &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Epoch: 5, Frame: 9,
		TableSize: 3, CreatorID: 0xcd, Demotion: 1, Flags: syncproto.InfoInSync})
	w.AddExtra(&syncproto.Extra{ID: 1, CreatorID: 0xab, TLVs: tlvs})
	frame := w.End()
	want := `PFSYNCv6 len 88
    act DEL ST COMP count 1
	id: 0000000000000001 creatorid: 000000ab
    act LINUX count 2
	epoch: 00000005 frame: 9 states: 3 creatorid: 000000cd demotion: 1 flags: 0x02
	id: 0000000000000001 creatorid: 000000ab mark: 00000007 killed type 200: 01
`
	if diff := cmp.Diff(want, string(Append(nil, nil, frame, 0))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	frame[20+4+12+4] = 'x'
	if got := string(Append(nil, nil, frame, 0)); !strings.Contains(got, "act LINUX count 2\n\tunknown magic\n") {
		t.Errorf("other magic: %q", got)
	}
}

func TestVis(t *testing.T) {
	for in, want := range map[string]string{
		"em0": "em0", `a\b`: `a\\b`, "a b": `a\040b`, "\t\n": `\^I\^J`, "\x7f": `\^?`, "\x1b[2J": `\^[[2J`,
		"\xff": `\M^?`, "\xe9": `\M-i`, "\xa0": `\240`, "\x80": `\M^@`,
	} {
		if got := string(appendVis(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if got := Vis(in); got != want {
			t.Errorf("Vis of %q: %q, want %q", in, got, want)
		}
	}
}

// TestTLVNames: every type that is sent has a word.
func TestTLVNames(t *testing.T) {
	for typ := syncproto.TLVMark; typ <= syncproto.TLVUnsure; typ++ {
		if tlvNames[typ] == "" {
			t.Errorf("type %d has none", typ)
		}
	}
	for typ := syncproto.TLVWantFrames; typ <= syncproto.TLVLack; typ++ {
		if tlvNames[typ] == "" {
			t.Errorf("type %d has none", typ)
		}
	}
}

func TestLevels(t *testing.T) {
	tests := []struct {
		s, t, proto uint8
		want        string
	}{
		{4, 10, 6, "ESTABLISHED:TIME_WAIT"}, {11, 0, 6, "PROXY:SRC"}, {4, 12, 6, "PROXY:DST"},
		{12, 11, 6, "PROXY:SRC"}, {13, 0, 6, "<BAD STATE LEVELS 13:0>"},
		{2, 1, 17, "MULTIPLE:SINGLE"}, {3, 0, 17, "3:0"}, {0, 0, 1, "0:0"}, {8, 8, 132, "8:8"},
	}
	for _, tt := range tests {
		v := view{first: &syncproto.Peer{State: tt.s}, second: &syncproto.Peer{State: tt.t}}
		if got := string(v.appendLevels(nil, tt.proto)); got != tt.want {
			t.Errorf("%d:%d of %d: %q, want %q", tt.s, tt.t, tt.proto, got, tt.want)
		}
	}
}

func TestParseIPErrors(t *testing.T) {
	ip4 := func(change func([]byte)) []byte {
		b := make([]byte, 20)
		b[0], b[3], b[9] = 0x45, 20, 240
		change(b)
		return b
	}
	tests := []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"other version", []byte{0x55}},
		{"cut", ip4(func([]byte) {})[:19]},
		{"header of 16 bytes", ip4(func(b []byte) { b[0] = 0x44 })},
		{"options cut", ip4(func(b []byte) { b[0] = 0x46 })},
		{"other protocol", ip4(func(b []byte) { b[9] = 6 })},
		{"length below header", ip4(func(b []byte) { b[3] = 19 })},
		{"IPv6 cut", append([]byte{0x60}, make([]byte, 38)...)},
		{"IPv6 other protocol", append([]byte{0x60}, make([]byte, 39)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ip := IP{TTL: 9}
			if _, err := ParseIP(tt.b, &ip); !errors.Is(err, ErrIP) || ip != (IP{TTL: 9}) {
				t.Errorf("%v, %+v", err, ip)
			}
		})
	}
	var ip IP
	b := ip4(func(b []byte) { b[3] = 24 })
	if frame, err := ParseIP(append(b, 1, 2, 3, 4, 5, 6), &ip); err != nil || len(frame) != 4 {
		t.Errorf("padded: %v, %v", frame, err)
	}
	if frame, err := ParseIP(append(b, 1, 2), &ip); err != nil || len(frame) != 2 || ip.PayloadLen() != 4 {
		t.Errorf("cut: %v, %v", frame, err)
	}
}

// FuzzText: no frame, whatever is in it, makes a printer fail.
func FuzzText(f *testing.F) {
	f.Add([]byte{6, 0, 0, 28, 27: 1}, 1)
	f.Add([]byte{5, 0, 0, 28, 27: 1}, 3)
	f.Fuzz(func(t *testing.T, frame []byte, verbose int) {
		for _, ip := range []*IP{nil, {Version: 4, TotalLen: 20 + len(frame), HeaderLen: 20}} {
			for _, b := range [][]byte{AppendOpenBSD(nil, ip, frame, verbose), AppendFreeBSD(nil, ip, frame, verbose)} {
				if len(b) == 0 || b[len(b)-1] != '\n' {
					t.Fatalf("%q", b)
				}
			}
		}
	})
}
