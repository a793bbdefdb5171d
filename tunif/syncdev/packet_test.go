package syncdev

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzPacket: whatever a raw socket gives, IPv4 header and control messages,
// the frame lies inside the buffer and nothing outlasts from the packet before.
func FuzzPacket(f *testing.F) {
	ip4 := make([]byte, 24)
	ip4[0], ip4[8], ip4[9] = 0x45, 255, Protocol
	options := bytes.Clone(ip4)
	options[0] = 0x46
	f.Add(ip4, []byte{})
	f.Add(options, []byte{})
	f.Add(ip4[:19], make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo)))
	f.Add([]byte{0x4f}, []byte{20, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 50, 0, 0, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b, oob []byte) {
		p := Packet{Buf: b, Data: []byte("old"), TTL: 77}
		p.parse4(len(b), oob)
		if len(p.Data) > max(0, len(b)-minHeader4) || p.TTL > 255 {
			t.Fatalf("%d bytes of %d, ttl %d", len(p.Data), len(b), p.TTL)
		}
		if p.Data == nil && (p.Src.IsValid() || p.TTL != 0) {
			t.Fatalf("no frame from %v", p.Src)
		}
		if p.Data != nil && !bytes.HasSuffix(b, p.Data) {
			t.Fatal("not of this packet")
		}
		p.parse6(len(b), &unix.RawSockaddrInet6{Addr: [16]byte{0xfe, 0x80}}, oob)
		if len(p.Data) != len(b) || !p.Src.Is6() {
			t.Fatalf("%d bytes of %d from %v", len(p.Data), len(b), p.Src)
		}
	})
}
