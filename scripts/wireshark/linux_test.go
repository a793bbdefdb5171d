package wireshark

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
)

// stateTLVs and controlTLVs are lists with one of each, in two halves for what
// does not fit into one message.
func stateTLVs() [][]byte {
	a := syncproto.AppendMark(nil, 0xdeadbeef)
	a = syncproto.AppendZone(a, &syncproto.Zone{Orig: 1, Reply: 2})
	a = syncproto.AppendLabels(a, &[16]byte{1, 15: 16})
	a = syncproto.AppendTLV(a, syncproto.TLVHelper, []byte("ftp"))
	a = syncproto.AppendSCTP(a, &syncproto.SCTP{State: 4, VTag: [2]uint32{5, 6}})
	a = syncproto.AppendGRE(a, &syncproto.GRE{Orig: [2]uint16{1, 2}, Reply: [2]uint16{3, 4}})
	a = syncproto.AppendICMPCode(a, 3)
	a = syncproto.AppendTCP(a, &syncproto.TCP{State: 3, Flags: [2]uint8{0x23, 0x42}})
	b := syncproto.AppendSeqAdj(nil, &[2]syncproto.SeqAdj{{Pos: 7, Before: -1, After: 2}, {Pos: 8, Before: 3, After: -4}})
	b = syncproto.AppendStatus(b, 0x18e)
	b = syncproto.AppendTLV(b, syncproto.TLVKilled, nil)
	b = syncproto.AppendTLV(b, syncproto.TLVCarried, nil)
	b = syncproto.AppendTimeout(b, 86400)
	b = syncproto.AppendDCCP(b, &syncproto.DCCP{State: 1, Role: 2, HandshakeSeq: 1 << 47})
	b = syncproto.AppendTLV(b, syncproto.TLVExpect, []byte{0xab, 0xcd})
	b = syncproto.AppendTLV(b, 16, []byte{7: 5, 11: 6, 12: 192, 13: 168, 29: 80}) // the other half of a pair
	b = syncproto.AppendTLV(b, syncproto.TLVUnsure, nil)
	b = syncproto.AppendSynproxy(b, &syncproto.Synproxy{ISN: 11, ITS: 12, TSOff: 13})
	b = syncproto.AppendTLV(b, 200, []byte{7})
	return [][]byte{a, b}
}

func controlTLVs() [][]byte {
	a := syncproto.AppendWantFrames(nil, []syncproto.Frames{{Epoch: 1, First: 2, Last: 3}, {Epoch: 4, First: 5, Last: 6}})
	a = syncproto.AppendDigest(a, 1024, 17, []uint64{1 << 63, 2})
	b := syncproto.AppendWantBuckets(nil, 2048, []uint16{3, 9, 1023})
	b = syncproto.AppendFramesAgain(b, &syncproto.FramesAgain{Frames: syncproto.Frames{Epoch: 7, First: 8, Last: 9}, Forgotten: true})
	b = syncproto.AppendWantDigests(b, &syncproto.WantDigests{Buckets: 64, First: 31, Count: 33})
	b = syncproto.AppendLook(b, 5)
	c := syncproto.AppendBucket(nil, &syncproto.Bucket{Buckets: 128, Number: 65, Total: 2, First: 1},
		[]syncproto.Item{{ID: syncproto.ID{ID: 0x51, CreatorID: 0x52}, Digest: 0x53, Flags: syncproto.ItemRefused}})
	c = syncproto.AppendLooked(c, &syncproto.Looked{Number: 6, Total: 7}, []syncproto.Found{{ID: syncproto.ID{ID: 0x61, CreatorID: 0x62}, How: syncproto.FoundGone}})
	c = syncproto.AppendLack(c, []syncproto.ID{{ID: 0x71, CreatorID: 0x72}})
	return [][]byte{a, b, c}
}

// linuxFrame builds a frame with a delete and the region with those lists.
func linuxFrame(t *testing.T) []byte {
	t.Helper()
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	ok := w.AddID(syncproto.ActDelC, &syncproto.ID{ID: 1, CreatorID: 2})
	ok = ok && w.AddFrameInfo(syncproto.Stride(120), &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout,
		Flags: syncproto.InfoCarried | syncproto.InfoSending, Demotion: 32, Epoch: 0x01020304, Frame: 77, TableSize: 1 << 20,
		CreatorID: 0xa1b2c3d4})
	for _, l := range stateTLVs() {
		ok = ok && w.AddExtra(&syncproto.Extra{ID: 3, CreatorID: 2, TLVs: l})
	}
	for _, l := range controlTLVs() {
		ok = ok && w.AddExtra(&syncproto.Extra{CreatorID: 9, TLVs: l})
	}
	if !ok {
		t.Fatal("no room")
	}
	return w.End()
}

func TestLinuxRegion(t *testing.T) {
	want := map[string]string{
		"action.name": "DEL_C LINUX", "count": "1 6", "id": "0x0000000000000001 0x0000000000000003 0x0000000000000003",
		"creatorid": "0x00000002 0x00000002 0x00000002", "linux.peer": "0x00000009 0x00000009 0x00000009",
		"linux.magic": "0x4c706673", "linux.layout": "1", "linux.flags": "0x05", "linux.demotion": "32",
		"linux.epoch": "0x01020304", "linux.frame": "77", "linux.table_size": "1048576", "linux.creatorid": "0xa1b2c3d4",
		"linux.tlv.type": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 18 19 200 64 65 66 67 68 70 69 71 72",
		"linux.tlv.len":  "4 4 16 3 12 8 1 4 24 4 0 0 4 12 2 30 0 12 1 24 20 8 13 6 4 25 21 12",
		"linux.mark":     "0xdeadbeef", "linux.zone.orig": "1", "linux.zone.reply": "2",
		"linux.labels": "01000000000000000000000000000010", "linux.helper": "ftp",
		"linux.sctp.state": "4", "linux.sctp.vtag.orig": "0x00000005", "linux.sctp.vtag.reply": "0x00000006",
		"linux.gre.orig": "1 2", "linux.gre.reply": "3 4", "linux.icmp.code": "3",
		"linux.tcp.state": "3", "linux.tcp.flags.orig": "0x23", "linux.tcp.flags.reply": "0x42",
		"linux.seqadj.orig.pos": "7", "linux.seqadj.orig.before": "-1", "linux.seqadj.orig.after": "2",
		"linux.seqadj.reply.pos": "8", "linux.seqadj.reply.before": "3", "linux.seqadj.reply.after": "-4",
		"linux.status": "0x0000018e", "linux.timeout": "86400",
		"linux.dccp.state": "1", "linux.dccp.role": "2", "linux.dccp.seq": "140737488355328",
		"linux.synproxy.isn": "11", "linux.synproxy.its": "12", "linux.synproxy.tsoff": "13",
		"linux.expect": "abcd", "linux.value": "07",
		"linux.pair.id": "0x0000000000000005", "linux.pair.creatorid": "0x00000006",
		"linux.pair.addr": "c0a80000000000000000000000000000", "linux.pair.port": "80",
		"linux.want.epoch": "0x00000001 0x00000004", "linux.want.first": "2 5", "linux.want.last": "3 6",
		"linux.buckets": "1024 2048 64 128", "linux.digest.first": "17 31", "linux.want.count": "33",
		"linux.look": "5 6", "linux.bucket": "65", "linux.bucket.total": "2", "linux.bucket.first": "1",
		"linux.item.id": "0x0000000000000051", "linux.item.creatorid": "0x00000052", "linux.item.digest": "0x00000053", "linux.item.flags": "0x04",
		"linux.found.total": "7", "linux.found.id": "0x0000000000000061", "linux.found.creatorid": "0x00000062", "linux.found.how": "1",
		"linux.lack.id": "0x0000000000000071", "linux.lack.creatorid": "0x00000072",
		"linux.digest":      "0x8000000000000000 0x0000000000000002",
		"linux.want.bucket": "3 9 1023",
		"linux.again.epoch": "0x00000007", "linux.again.first": "8", "linux.again.last": "9", "linux.again.forgotten": "1",
		"badtlv": "", "badact": "", "badlen": "", "skipped": "",
	}
	var fields []string
	for f := range want {
		fields = append(fields, "pfsync."+f)
	}
	c := capture{link: linkRaw, packets: [][]byte{ipv4(linuxFrame(t))}}
	flags := []string{"linux.flags.carried", "linux.flags.insync", "linux.flags.sending", "linux.killed", "linux.carried", "linux.unsure"}
	v := dissect(t, &c, append(append(fields, "_ws.col.Info"), prefixed(flags)...))[0]
	got := make(map[string]string)
	for f := range want {
		got[f] = strings.ReplaceAll(v["pfsync."+f], valueSep, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if info := "v6, DEL_C 0000000000000001/00000002, LINUX frame 77"; v["_ws.col.Info"] != info {
		t.Errorf("info %q, want %q", v["_ws.col.Info"], info)
	}
	for i, f := range flags { // 0 and 1, or False and True in newer releases
		if got := v["pfsync."+f]; (got == "" || got == "0" || got == "False") != (i == 1) {
			t.Errorf("%s: %q", f, got)
		}
	}
}

// cut shortens a frame and says so in its header.
func cut(frame []byte, n int) []byte {
	binary.BigEndian.PutUint16(frame[2:], uint16(n))
	return frame[:n]
}

// TestLinuxMalformed changes one thing of a region.
func TestLinuxMalformed(t *testing.T) {
	frame := linuxFrame(t)
	region := 20 + 4 + 12
	first := region + 4
	extra := first + syncproto.Stride(120) + 12
	tests := []struct {
		name  string
		marks string // expert fields
		frame func(b []byte) []byte
	}{
		{"as it is", "", func(b []byte) []byte { return b }},
		{"magic", "skipped", func(b []byte) []byte { b[first]++; return b }},
		{"no messages", "badact", func(b []byte) []byte { b[region+3] = 0; return b }},
		{"no length", "badact", func(b []byte) []byte { b[region+1] = 0; return b }},
		{"short messages", "short", func(b []byte) []byte {
			b[region+1] = 5
			return cut(b, first+6*5*4)
		}},
		{"too many messages", "badlen", func(b []byte) []byte { b[region+3]++; return b }},
		{"TLV runs over", "badtlv", func(b []byte) []byte { b[extra+1] = 200; return b }},
		{"short value", "badtlv", func(b []byte) []byte { b[extra] = 5; return b }},
		{"cut", "badlen", func(b []byte) []byte { return b[:len(b)-1] }},
		{"cut, length right", "badlen", func(b []byte) []byte { return cut(b, len(b)-1) }},
		{"more behind", "trailing", func(b []byte) []byte { return append(b, 1, 2, 3) }},
	}
	c := capture{link: linkRaw}
	for _, tt := range tests {
		c.packets = append(c.packets, ipv4(tt.frame(append([]byte(nil), frame...))))
	}
	marks := append([]string{"badtlv", "short", "skipped", "trailing", "cut"}, verdicts...)
	for i, v := range dissect(t, &c, prefixed(marks)) {
		t.Run(tests[i].name, func(t *testing.T) {
			want := make(map[string]int)
			if m := tests[i].marks; m != "" {
				want[m] = 1
			}
			if diff := cmp.Diff(want, v.counts(marks)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
