package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/golden"
)

var exampleTime = time.Unix(1700000000, 250000000).UTC()

// read returns all packets of a file.
func read(t *testing.T, file []byte) (list []capture.Packet) {
	t.Helper()
	for p, err := range capture.Packets(bytes.NewReader(file)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// TestGoldenFiles reads all recorded files and writes them again.
func TestGoldenFiles(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			var file bytes.Buffer
			w, err := capture.NewWriter(&file)
			if err != nil {
				t.Fatal(err)
			}
			list := read(t, c.Pcap)
			if len(list) != len(c.Packets) {
				t.Errorf("%s/%s: %d packets, want %d", d, c.Name, len(list), len(c.Packets))
				continue
			}
			for i, p := range list {
				want := &c.Packets[i]
				if !bytes.Equal(p.Data, want.Data) || !bytes.Equal(p.Frame, want.Frame()) ||
					p.IP.Src.String() != want.IP.Src || p.Time.Unix() != 1700000000+int64(i) {
					t.Errorf("%s/%s: packet %d: %+v at %v", d, c.Name, i, p.IP, p.Time)
				}
				if err := w.Write(p.Time, p.Data); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(list, read(t, file.Bytes()), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s/%s: written and read again (-want +got):\n%s", d, c.Name, diff)
			}
		}
	}
}

// write makes a file of any link type.
func write(t *testing.T, link uint32, packets ...[]byte) []byte {
	t.Helper()
	b := make([]byte, 24)
	copy(b, "\xd4\xc3\xb2\xa1\x02\x00\x04\x00")
	binary.LittleEndian.PutUint32(b[16:], 65535)
	binary.LittleEndian.PutUint32(b[20:], link)
	for _, p := range packets {
		h := make([]byte, 16)
		binary.LittleEndian.PutUint32(h[0:], 1700000000)
		binary.LittleEndian.PutUint32(h[8:], uint32(len(p)))
		binary.LittleEndian.PutUint32(h[12:], uint32(len(p)))
		b = append(append(b, h...), p...)
	}
	return b
}

// packets returns an IPv4 and an IPv6 packet.
func packets(t *testing.T) (v4, v6 []byte) {
	t.Helper()
	for _, c := range golden.Cases(t, "freebsd-1400") {
		switch c.Name {
		case "del-c":
			v4 = c.Packets[0].Data
		case "ipv6-transport":
			v6 = c.Packets[0].Data
		}
	}
	return v4, v6
}

func TestLinkTypes(t *testing.T) {
	v4, v6 := packets(t)
	mac := make([]byte, 12)
	sll2 := func(proto uint16) []byte { return append([]byte{byte(proto >> 8), byte(proto)}, make([]byte, 18)...) }
	tests := []struct {
		name   string
		link   uint32
		header []byte
		packet []byte
	}{
		{"raw", 101, nil, v4}, {"raw", 101, nil, v6}, {"raw of BSD", 12, nil, v4}, {"raw of OpenBSD", 14, nil, v6},
		{"IPv4", 228, nil, v4}, {"IPv6", 229, nil, v6},
		{"null, little endian", 0, []byte{2, 0, 0, 0}, v4}, {"null, big endian", 0, []byte{0, 0, 0, 28}, v6},
		{"loop", 108, []byte{0, 0, 0, 24}, v6},
		{"ethernet", 1, append(slices.Clone(mac), 0x08, 0x00), v4}, {"ethernet", 1, append(slices.Clone(mac), 0x86, 0xdd), v6},
		{"vlan", 1, append(slices.Clone(mac), 0x81, 0, 0, 5, 0x08, 0x00), v4},
		{"two vlans", 1, append(slices.Clone(mac), 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd), v6},
		{"cooked", 113, append(make([]byte, 14), 0x08, 0x00), v4},
		{"cooked, version 2", 276, sll2(0x86dd), v6},
		{"pfsync with IP", 246, nil, v4}, {"pfsync with IP, OpenBSD", 18, nil, v4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := read(t, write(t, tt.link, append(slices.Clone(tt.header), tt.packet...)))
			if len(list) != 1 || !bytes.Equal(list[0].Data, tt.packet) || list[0].IP == nil {
				t.Errorf("%+v", list)
			}
			for i := range tt.header { // cut anywhere: nothing, and no panic
				if list := read(t, write(t, tt.link, tt.header[:i])); len(list) != 0 {
					t.Errorf("cut at %d: %+v", i, list)
				}
			}
		})
	}
	t.Run("pfsync without IP", func(t *testing.T) {
		frame := v4[20:]
		for _, link := range []uint32{246, 121, 18} {
			list := read(t, write(t, link, frame))
			if len(list) != 1 || list[0].IP != nil || !bytes.Equal(list[0].Frame, frame) {
				t.Errorf("%d: %+v", link, list)
			}
		}
	})
}

// TestOthers: what is not pfsync is stepped over.
func TestOthers(t *testing.T) {
	v4, _ := packets(t)
	change := func(at int, v byte) []byte {
		b := slices.Clone(v4)
		b[at] = v
		return b
	}
	file := write(t, 101, change(9, 6), change(6, 0x20), change(7, 1), []byte{}, v4, change(0, 0x50))
	if list := read(t, file); len(list) != 1 || !bytes.Equal(list[0].Data, v4) {
		t.Errorf("%d packets", len(list))
	}
	arp := append(make([]byte, 12), 0x08, 0x06, 1, 2, 3)
	if list := read(t, write(t, 1, arp)); len(list) != 0 {
		t.Errorf("%d packets of ARP", len(list))
	}
}

func TestErrors(t *testing.T) {
	v4, _ := packets(t)
	tests := []struct {
		name string
		file []byte
		want error
		n    int // packets before the error
	}{
		{"empty", nil, io.EOF, 0},
		{"header cut", write(t, 101)[:20], io.ErrUnexpectedEOF, 0},
		{"link type", write(t, 105, v4), capture.ErrLinkType, 0},
		{"empty, so no capture", nil, capture.ErrFormat, 0},
		{"a program", []byte("\x7fELF and whatever follows in such a file"), capture.ErrFormat, 0},
		{"pcapng cut", []byte{0x0a, 0x0d, 0x0d, 0x0a, 0, 0}, capture.ErrFormat, 0},
		{"gzip", []byte{0x1f, 0x8b, 8, 0, 0, 0}, capture.ErrPacked, 0},
		{"gzip, cut", []byte{0x1f, 0x8b}, capture.ErrPacked, 0},
		{"packet cut", write(t, 101, v4, v4)[:len(write(t, 101, v4, v4))-1], io.ErrUnexpectedEOF, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			var last error
			for _, err := range capture.Packets(bytes.NewReader(tt.file)) {
				if last = err; err == nil {
					n++
				}
			}
			if !errors.Is(last, tt.want) || n != tt.n {
				t.Errorf("%v after %d packets", last, n)
			}
		})
	}
	if _, err := capture.NewReader(bytes.NewReader([]byte("no capture at all, this file"))); err == nil {
		t.Error("took a text")
	}
}

// TestNg reads a pcapng file with two link types.
func TestNg(t *testing.T) {
	v4, v6 := packets(t)
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriter(&file, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	ether, err := w.AddInterface(pcapgo.NgInterface{Name: "em0", LinkType: layers.LinkTypeEthernet, SnapLength: 0})
	if err != nil {
		t.Fatal(err)
	}
	put := func(in int, b []byte) {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: exampleTime, CaptureLength: len(b), Length: len(b), InterfaceIndex: in}, b); err != nil {
			t.Fatal(err)
		}
	}
	put(0, v4)
	put(ether, append(append(make([]byte, 12), 0x86, 0xdd), v6...))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	list := read(t, file.Bytes())
	if len(list) != 2 || !bytes.Equal(list[0].Data, v4) || !bytes.Equal(list[1].Data, v6) || !list[0].Time.Equal(exampleTime) {
		t.Errorf("%+v", list)
	}
}

// FuzzPackets: no file makes the reader fail otherwise than by an error.
func FuzzPackets(f *testing.F) {
	for _, d := range golden.Dialects {
		f.Add(golden.Cases(f, d)[0].Pcap)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for p, err := range capture.Packets(bytes.NewReader(file)) {
			if err == nil && !bytes.HasSuffix(p.Data, p.Frame) {
				t.Fatal("frame is not the end of its packet")
			}
		}
	})
}
