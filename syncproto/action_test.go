package syncproto_test

import (
	"errors"
	"testing"

	. "github.com/pfsync/pfsync/syncproto"
)

// TestWire: numbers collide between the versions (pfsync-protocol.md section
// 4), so each pair is spelled out.
func TestWire(t *testing.T) {
	tests := []struct {
		action Action
		format Format
		raw    uint8
		ok     bool
	}{
		{ActClr, Format6, 0, true}, {ActClr, Format1500, 0, true},
		{ActIns, Format6, 13, true}, {ActUpd, Format6, 14, true}, {ActTDB, Format6, 15, true},
		{ActIns, Format1301, 1, true}, {ActUpd, Format1301, 3, true},
		{ActIns, Format1400, 13, true}, {ActUpd, Format1400, 14, true},
		{ActIns, Format1500, 15, true}, {ActUpd, Format1500, 16, true},
		{ActTDB, Format1301, 11, true}, {ActEOF, Format1400, 12, true},
		{ActDel, Format6, 6, true}, {ActDel, Format1301, 0, false},
		{ActEOF, Format6, 12, false}, {ActOIns, Format6, 1, false},
		{ActLinux, Format6, 0xf0, true}, {ActLinux, Format1301, 0, false},
	}
	for _, tt := range tests {
		raw, ok := tt.action.Wire(tt.format)
		if ok != tt.ok || (ok && raw != tt.raw) {
			t.Errorf("%v of %v: %d, %v", tt.action, tt.format, raw, ok)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		ActUpdC.String(): "UPD_C", Action(77).String(): "UNKNOWN_77", ActLinux.String(): "LINUX",
		WireName(Version5, 15): "INS_1500", WireName(Version6, 15): "TDB", WireName(Version5, 17): "UNKNOWN_17",
		WireName(Version5, 0xf0): "UNKNOWN_240", Format1400.String(): "1400", Format(9).String(): "unknown",
		MakeName("a-name-of-more-than-15").String(): "a-name-of-more-", ID{1, 2}.String(): "id: 0000000000000001 creatorid: 00000002",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	six := State{AF: 2, Key: [2]Key{{AF: 24}, {AF: 2}}}
	five := State{AF: 28, StackAF: 2}
	tests := []struct {
		name        string
		m           State
		format      Format
		wire, stack uint8
	}{
		{"keys", six, Format6, 24, 2},
		{"older sender", State{AF: 24}, Format6, 24, 24},
		{"1400", five, Format1400, 28, 28},
		{"1500", five, Format1500, 28, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if w, s := tt.m.Families(tt.format); w != tt.wire || s != tt.stack {
				t.Errorf("%d, %d", w, s)
			}
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	var m State
	if err := ParseState(make([]byte, 400), Formats, &m); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	if b := AppendState(nil, Formats, &m); len(b) != 0 || Formats.StateLen() != 0 || Formats.Version() != 0 {
		t.Errorf("%d bytes", len(b))
	}
}

// TestBulkAsked: FreeBSD looks at a BUS region only while it waits for one.
func TestBulkAsked(t *testing.T) {
	frame := AppendHeader(nil, &Header{Version: Version5, Len: 28})
	frame = append(frame, uint8(ActBus), 0, 0, 9, 1, 2, 3, 4) // nine told, none there
	for _, asked := range []bool{false, true} {
		r := Reader{BulkAsked: asked}
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		reg, ok := r.Next()
		if ok == asked || (ok && (!reg.Skip || reg.Whole() != 0)) {
			t.Errorf("asked %v: %+v, %v", asked, reg, ok)
		}
		r.Next()
		if errors.Is(r.Err(), ErrLength) != asked {
			t.Errorf("asked %v: %v", asked, r.Err())
		}
	}
}
