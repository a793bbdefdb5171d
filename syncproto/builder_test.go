package syncproto_test

import (
	"bytes"
	"testing"

	. "github.com/pfsync/pfsync/syncproto"
)

// TestBuilderFills checks how many messages a frame of MTU 1500 takes
// (pfsync-protocol.md section 3.4) and that it is not one byte too long.
func TestBuilderFills(t *testing.T) {
	tests := []struct {
		name    string
		version uint8
		limit   int
		add     func(w *Builder) bool
		count   int
		length  int
	}{
		{"full states", Version6, 1480, func(w *Builder) bool { return w.AddState(ActIns, Format6, &State{}) }, 5, 1344},
		{"compressed updates", Version6, 1480, func(w *Builder) bool { return w.AddUpdC(&UpdC{}) }, 17, 1452},
		{"compressed deletes", Version6, 1480, func(w *Builder) bool { return w.AddID(ActDelC, &ID{}) }, 121, 1476},
		{"1500", Version5, 1480, func(w *Builder) bool { return w.AddState(ActIns, Format1500, &State{}) }, 4, 1468},
		{"exact", Version5, 20 + 4 + 242 + 4, func(w *Builder) bool { return w.AddState(ActUpd, Format1301, &State{}) }, 1, 270},
		{"one less", Version5, 20 + 4 + 242 + 3, func(w *Builder) bool { return w.AddState(ActUpd, Format1301, &State{}) }, 0, 24},
		{"bus", Version6, 60, func(w *Builder) bool { return w.AddBus(&Bus{}) }, 3, 60},
		{"clr", Version5, 52, func(w *Builder) bool { return w.AddClr(&Clr{}) }, 1, 48},
		{"tdb", Version6, 80, func(w *Builder) bool { return w.AddTDB(&TDB{}) }, 1, 76},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w Builder
			w.Begin(make([]byte, 20), tt.version, tt.limit, nil)
			n := 0
			for tt.add(&w) {
				n++
			}
			if n != tt.count || w.Len() != tt.length || w.Room() != tt.limit-tt.length || w.Empty() != (n == 0) {
				t.Errorf("%d messages, %d bytes, room %d, empty %v", n, w.Len(), w.Room(), w.Empty())
			}
			b := w.End()
			if len(b) != 20+tt.length || !bytes.Equal(b[:20], make([]byte, 20)) {
				t.Errorf("frame of %d bytes", len(b)-20)
			}
			var r Reader
			if err := r.Reset(b[20:]); err != nil || int(r.Header().Len) != tt.length {
				t.Errorf("header %+v: %v", r.Header(), err)
			}
		})
	}
}

// TestBuilderRegions: version 5 receivers refuse large regions, so the
// subheader is repeated; a reader gets every message.
func TestBuilderRegions(t *testing.T) {
	for _, f := range []Format{Format1301, Format1400, Format1500} {
		var w Builder
		w.Begin(nil, Version5, 8940, nil)
		n := 0
		for w.AddState(ActIns, f, &State{ID: uint64(n)}) {
			n++
		}
		var r Reader
		if err := r.Reset(w.End()); err != nil {
			t.Fatal(err)
		}
		got, regions := 0, 0
		for reg, ok := r.Next(); ok; reg, ok = r.Next() {
			if reg.Action == ActEOF {
				continue
			}
			regions++
			for i := range reg.Count {
				var m State
				if err := ParseState(reg.Message(i), reg.Format, &m); err != nil || m.ID != uint64(got) {
					t.Fatalf("state %d: id %d, %v", got, m.ID, err)
				}
				got++
			}
		}
		if r.Err() != nil || got != n || regions < 2 {
			t.Errorf("%v: %d of %d states in %d regions: %v", f, got, n, regions, r.Err())
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	tests := []struct {
		name    string
		version uint8
		add     func(w *Builder) bool
	}{
		{"format of another version", Version6, func(w *Builder) bool { return w.AddState(ActIns, Format1500, &State{}) }},
		{"format of another version", Version5, func(w *Builder) bool { return w.AddState(ActIns, Format6, &State{}) }},
		{"unknown format", Version5, func(w *Builder) bool { return w.AddState(ActIns, Formats, &State{}) }},
		{"full delete", Version5, func(w *Builder) bool { return w.AddState(ActDel, Format1301, &State{}) }},
		{"retired", Version6, func(w *Builder) bool { return w.AddState(ActOIns, Format6, &State{}) }},
		{"eof", Version6, func(w *Builder) bool { return w.AddID(ActEOF, &ID{}) }},
		{"linux region", Version5, func(w *Builder) bool { return w.AddFrameInfo(24, &FrameInfo{}) }},
		{"odd stride", Version6, func(w *Builder) bool { return w.AddFrameInfo(25, &FrameInfo{}) }},
		{"short stride", Version6, func(w *Builder) bool { return w.AddFrameInfo(20, &FrameInfo{}) }},
		{"long stride", Version6, func(w *Builder) bool { return w.AddFrameInfo(1024, &FrameInfo{}) }},
		{"extra without region", Version6, func(w *Builder) bool { return w.AddExtra(&Extra{}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w Builder
			w.Begin(nil, tt.version, 9000, nil)
			if tt.add(&w) || !w.Empty() {
				t.Error("accepted")
			}
		})
	}
}

// TestBuilderReserve: room kept by a lower limit is there when it is raised.
func TestBuilderReserve(t *testing.T) {
	const limit, reserve = 1480, SubheaderLen + FrameInfoLen
	var w Builder
	w.Begin(nil, Version6, limit-reserve, nil)
	for w.AddID(ActInsAck, &ID{}) {
	}
	w.SetLimit(limit)
	if !w.AddFrameInfo(FrameInfoLen, &FrameInfo{Magic: LinuxMagic}) {
		t.Fatal("no room for what it was kept for")
	}
	if b := w.End(); len(b) > limit {
		t.Errorf("%d bytes", len(b))
	}
}

func TestBuilderChecksum(t *testing.T) {
	sum := [16]byte{1, 15: 2}
	var w Builder
	w.Begin(nil, Version5, 100, &sum)
	var h Header
	if err := ParseHeader(w.End(), &h); err != nil || h.Checksum != sum || h.Len != 24 {
		t.Errorf("header %+v, %v", h, err)
	}
}
