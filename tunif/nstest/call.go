package nstest

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

// PassCall sends a packet for a call of PPTP (GRE version 1, RFC 2637 section
// 4.1) and waits for it at the other end, where the call may have another number,
// and the sender another address; a nil sender may be anybody.
func PassCall(t testing.TB, from net.PacketConn, to net.Addr, id uint16, at net.PacketConn, sender net.Addr, there uint16, word string, within time.Duration) {
	t.Helper()
	packet := func(id uint16) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0x30, 1, 0x88, 0x0b}, uint16(len(word)))
		b = binary.BigEndian.AppendUint16(b, id)
		return append(append(b, 0, 0, 0, 1), word...)
	}
	if _, err := from.WriteTo(packet(id), to); err != nil {
		t.Fatal(err)
	}
	at.SetReadDeadline(time.Now().Add(within))
	for buf := make([]byte, 256); ; {
		n, peer, err := at.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%s: call %d does not arrive as %d: %v", word, id, there, err)
		}
		if bytes.Equal(buf[:n], packet(there)) && (sender == nil || peer.String() == sender.String()) {
			return
		}
	}
}
