package syncproto_test

import (
	"bytes"
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/pfsync/pfsync/syncproto"
)

var (
	anExpect = Expect{
		Proto: 6, What: ExpectNAT | ExpectReplyDir, Flags: 1, Class: 2, Left: 300,
		SrcPort: 1, MaskPort: 2, DstPort: 3, NATPort: 4,
		Src: [16]byte{5, 6}, MaskSrc: [16]byte{255, 3: 255}, Dst: [16]byte{3: 7}, NATSrc: [16]byte{8},
		Helper: "ftp", Fn: "nat-follow-master",
	}
	aMaster = Master{Proto: 6, SrcPort: 1, DstPort: 21, Src: [16]byte{1, 15: 2}, Dst: [16]byte{3, 15: 4}}
)

// everyTLV is a list with one of each.
func everyTLV() []byte {
	b := AppendMark(nil, 0xdeadbeef)
	b = AppendZone(b, &Zone{1, 2})
	b = AppendLabels(b, &[16]byte{1, 15: 16})
	b = AppendTLV(b, TLVHelper, []byte("ftp"))
	b = AppendSCTP(b, &SCTP{State: 4, VTag: [2]uint32{5, 6}})
	b = AppendGRE(b, &GRE{Orig: [2]uint16{1, 2}, Reply: [2]uint16{3, 4}})
	b = AppendICMPCode(b, 3)
	b = AppendTCP(b, &TCP{State: 3, Flags: [2]uint8{0x23, 0x42}})
	b = AppendSeqAdj(b, &[2]SeqAdj{{7, -1, 2}, {8, 3, -4}})
	b = AppendStatus(b, 0x18e)
	b = AppendTLV(b, TLVKilled, nil)
	b = AppendTLV(b, TLVCarried, nil)
	b = AppendTLV(b, TLVUnsure, nil)
	b = AppendTimeout(b, 86400)
	b = AppendSynproxy(b, &Synproxy{11, 12, 1 << 31})
	b = AppendDCCP(b, &DCCP{State: 1, Role: 2, HandshakeSeq: 1 << 47})
	b = AppendExpect(b, &anExpect, 4)
	b = AppendMaster(b, &aMaster, 16)
	b = AppendPair(b, &Pair{Other: ID{ID: 9, CreatorID: 10}, Addr: [16]byte{11, 15: 12}, Port: 13})
	b = AppendWantFrames(b, []Frames{{1, 2, 3}, {4, 5, 6}})
	b = AppendDigest(b, 1024, 17, []uint64{1 << 63, 2})
	b = AppendWantBuckets(b, 1024, []uint16{3, 9, 1023})
	return append(b, digestTLVs()...)
}

// parseEvery reads a value by every parser, whatever its type, and returns
// what each made of it.
func parseEvery(v []byte) map[TLV]any {
	var (
		u       uint32
		zone    Zone
		labels  [16]byte
		sctp    SCTP
		gre     GRE
		code    uint8
		tcp     TCP
		adj     [2]SeqAdj
		dccp    DCCP
		proxy   Synproxy
		pair    Pair
		expect  Expect
		master  Master
		digest  Digest
		want    WantBuckets
		frames  []Frames
		digests []uint64
		buckets []uint16
		got     = make(map[TLV]any)
	)
	note := func(err error, v any, ts ...TLV) {
		for _, t := range ts {
			if err == nil {
				got[t] = v
			}
		}
	}
	note(ParseUint32(v, &u), u, TLVMark, TLVStatus, TLVTimeout)
	note(ParseZone(v, &zone), zone, TLVZone)
	note(ParseLabels(v, &labels), labels, TLVLabels)
	note(ParseSCTP(v, &sctp), sctp, TLVSCTP)
	note(ParseGRE(v, &gre), gre, TLVGRE)
	note(ParseICMPCode(v, &code), code, TLVICMPCode)
	note(ParseTCP(v, &tcp), tcp, TLVTCP)
	note(ParseSeqAdj(v, &adj), adj, TLVSeqAdj)
	note(ParseDCCP(v, &dccp), dccp, TLVDCCP)
	note(ParseSynproxy(v, &proxy), proxy, TLVSynproxy)
	note(ParsePair(v, &pair), pair, TLVPair)
	note(ParseExpect(v, &expect, 4), expect, TLVExpect)
	note(ParseMaster(v, &master, 16), master, TLVMaster)
	for f, rest, ok := NextFrames(v); ok; f, rest, ok = NextFrames(rest) {
		frames = append(frames, f)
	}
	note(nil, frames, TLVWantFrames)
	if ParseDigest(v, &digest) == nil {
		for i := range digest.Len() {
			digests = append(digests, digest.At(i))
		}
		note(nil, [3]any{digest.Buckets, digest.First, digests}, TLVDigest)
	}
	if ParseWantBuckets(v, &want) == nil {
		for i := range want.Len() {
			buckets = append(buckets, want.At(i))
		}
		note(nil, [2]any{want.Buckets, buckets}, TLVWantBuckets)
	}
	parseDigests(v, got)
	return got
}

func TestTLVs(t *testing.T) {
	want := map[TLV]any{
		TLVMark: uint32(0xdeadbeef), TLVZone: Zone{1, 2}, TLVLabels: [16]byte{1, 15: 16}, TLVHelper: "ftp",
		TLVSCTP: SCTP{4, [2]uint32{5, 6}}, TLVGRE: GRE{[2]uint16{1, 2}, [2]uint16{3, 4}}, TLVICMPCode: uint8(3),
		TLVTCP: TCP{3, [2]uint8{0x23, 0x42}}, TLVSeqAdj: [2]SeqAdj{{7, -1, 2}, {8, 3, -4}},
		TLVStatus: uint32(0x18e), TLVKilled: "", TLVCarried: "", TLVUnsure: "", TLVTimeout: uint32(86400),
		TLVSynproxy: Synproxy{11, 12, 1 << 31},
		TLVDCCP:     DCCP{1, 2, 1 << 47}, TLVExpect: anExpect, TLVMaster: aMaster,
		TLVPair:        Pair{ID{ID: 9, CreatorID: 10}, [16]byte{11, 15: 12}, 13},
		TLVWantFrames:  []Frames{{1, 2, 3}, {4, 5, 6}},
		TLVDigest:      [3]any{uint16(1024), uint16(17), []uint64{1 << 63, 2}},
		TLVWantBuckets: [2]any{uint16(1024), []uint16{3, 9, 1023}},
	}
	maps.Copy(want, wantDigestTLVs())
	got := make(map[TLV]any)
	list := append(everyTLV(), 0, 0, 0)
	for typ, v, rest, ok := NextTLV(list); ok; typ, v, rest, ok = NextTLV(rest) {
		switch typ {
		case TLVHelper, TLVKilled, TLVCarried, TLVUnsure:
			got[typ] = string(v)
		default:
			got[typ] = parseEvery(v)[typ]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if v, ok := FindTLV(list, TLVHelper); !ok || string(v) != "ftp" {
		t.Errorf("FindTLV: %q, %v", v, ok)
	}
	if _, ok := FindTLV(list, 200); ok {
		t.Error("FindTLV found what is not there")
	}
}

func TestTLVShort(t *testing.T) {
	tests := []struct {
		name string
		list []byte
		n    int
	}{
		{"empty", nil, 0},
		{"end", []byte{0, 0}, 0},
		{"end without length", []byte{0}, 0},
		{"type only", []byte{1}, 0},
		{"runs over", []byte{11, 0, 1, 4, 0, 0, 0}, 1},
		{"unknown is passed", []byte{200, 1, 7, 11, 0}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			for _, _, rest, ok := NextTLV(tt.list); ok; _, _, rest, ok = NextTLV(rest) {
				n++
			}
			if n != tt.n {
				t.Errorf("%d TLVs, want %d", n, tt.n)
			}
		})
	}
	if got := parseEvery([]byte{}); len(got) != 2 { // an empty list of frames, or of names, is a list
		t.Errorf("read from nothing: %v", got)
	}
}

func TestTLVLimits(t *testing.T) {
	long := AppendTLV(nil, TLVExpect, make([]byte, 300))
	if len(long) != 2+MaxTLV || long[1] != MaxTLV {
		t.Errorf("long value: %d bytes, length %d", len(long), long[1])
	}
	for name, b := range map[string][]byte{
		"frames":  AppendWantFrames(nil, make([]Frames, 100)),
		"digest":  AppendDigest(nil, 1, 0, make([]uint64, 100)),
		"buckets": AppendWantBuckets(nil, 1, make([]uint16, 300)),
		"bucket":  AppendBucket(nil, &Bucket{}, make([]Item, 100)),
		"looked":  AppendLooked(nil, &Looked{}, make([]Found, 100)),
		"lack":    AppendLack(nil, make([]ID, 100)),
	} {
		if len(b) != 2+int(b[1]) {
			t.Errorf("%s: %d bytes, length %d", name, len(b), b[1])
		}
	}
}

func TestFrameInfo(t *testing.T) {
	want := FrameInfo{Magic: LinuxMagic, Layout: LinuxLayout, Flags: InfoCarried | InfoInSync, Demotion: 32, Pad: 0,
		Epoch: 0x01020304, Frame: 0x05060708, TableSize: 1 << 20, CreatorID: 0xa1b2c3d4}
	b := AppendFrameInfo(nil, &want)
	if wire := "Lpfs\x01\x03\x20\x00\x01\x02\x03\x04\x05\x06\x07\x08\x00\x10\x00\x00\xa1\xb2\xc3\xd4"; string(b) != wire {
		t.Errorf("wire %x, want %x", b, wire)
	}
	var got FrameInfo
	if err := ParseFrameInfo(b, &got); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	b[0] = 'l'
	if err := ParseFrameInfo(b, &got); !errors.Is(err, ErrVersion) || got != want {
		t.Errorf("other magic: %v", err)
	}
	if err := ParseFrameInfo(b[:23], &got); !errors.Is(err, ErrShort) {
		t.Errorf("short: %v", err)
	}
}

func TestStride(t *testing.T) {
	for n, want := range map[int]int{0: 24, 12: 24, 13: 28, 16: 28, 17: 32, 1008: 1020} {
		if got := Stride(n); got != want {
			t.Errorf("Stride(%d) = %d, want %d", n, got, want)
		}
	}
}

// TestLinuxRegion builds a frame with the region and reads it back.
func TestLinuxRegion(t *testing.T) {
	info := FrameInfo{Magic: LinuxMagic, Layout: LinuxLayout, Frame: 9}
	extras := []Extra{{ID: 1, CreatorID: 2, TLVs: AppendMark(nil, 7)}, {ID: 3, CreatorID: 2, TLVs: everyTLV()[:40]}}
	var w Builder
	w.Begin(nil, Version6, 1480, nil)
	ok := w.AddID(ActDelC, &ID{ID: 1, CreatorID: 2}) && w.AddFrameInfo(Stride(40), &info)
	for i := range extras {
		ok = ok && w.AddExtra(&extras[i])
	}
	if !ok {
		t.Fatal("no room")
	}
	if w.AddExtra(&Extra{TLVs: make([]byte, 41)}) {
		t.Error("took an Extra longer than the stride")
	}
	frame := w.End()

	var r Reader
	if err := r.Reset(frame); err != nil {
		t.Fatal(err)
	}
	r.Next()
	reg, ok := r.Next()
	if !ok || reg.Action != ActLinux || reg.Skip || reg.Count != 3 || reg.Stride != 52 {
		t.Fatalf("region %+v", reg)
	}
	var got FrameInfo
	if err := ParseFrameInfo(reg.Message(0), &got); err != nil || got != info {
		t.Errorf("info %+v, %v", got, err)
	}
	for i, want := range extras {
		var x Extra
		if err := ParseExtra(reg.Message(i+1), &x); err != nil {
			t.Fatal(err)
		}
		if x.ID != want.ID || !bytes.HasPrefix(x.TLVs, want.TLVs) || len(bytes.Trim(x.TLVs[len(want.TLVs):], "\x00")) != 0 {
			t.Errorf("extra %d: %+v, want %+v", i, x, want)
		}
	}
	if _, ok := r.Next(); ok || r.Err() != nil {
		t.Errorf("after the region: %v, %v", ok, r.Err())
	}
}
