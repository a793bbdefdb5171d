package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"time"
)

// Chunks of SCTP (RFC 9260).
const (
	sctpData       = 0
	sctpInit       = 1
	sctpInitAck    = 2
	sctpCookieEcho = 10
	sctpCookieAck  = 11
)

// sctpTalk is both ends of an association, as far as connection tracking looks.
type sctpTalk struct {
	client, server net.PacketConn
	to             net.Addr
	back           net.Addr  // what the server takes for the client
	port           [2]uint16 // of client and server, as each knows its own
	seen           uint16    // the client's port as the server sees it
	tag            [2]uint32 // that client and server want to see in what they get
	tsn            uint32
}

// open makes the four steps of the handshake.
func (c *sctpTalk) open() error {
	init := func(tag uint32) []byte { // window, a stream each way, first number
		return append(binary.BigEndian.AppendUint32(nil, tag), 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	}
	for _, step := range []struct {
		up   bool
		typ  byte
		tag  uint32
		body []byte
	}{
		{true, sctpInit, 0, init(c.tag[0])},
		{false, sctpInitAck, c.tag[0], init(c.tag[1])},
		{true, sctpCookieEcho, c.tag[1], []byte("cookie!!")},
		{false, sctpCookieAck, c.tag[0], nil},
	} {
		if err := c.send(step.up, step.typ, step.tag, step.body, 10*time.Second); err != nil {
			return fmt.Errorf("chunk %d: %w", step.typ, err)
		}
	}
	return nil
}

func (c *sctpTalk) ask(word string, within time.Duration) error {
	c.tsn++
	data := binary.BigEndian.AppendUint32(nil, c.tsn)
	data = append(append(data, 0, 0, 0, 0, 0, 0, 0, 0), word...)
	if err := c.send(true, sctpData, c.tag[1], data, within); err != nil {
		return err
	}
	return c.send(false, sctpData, c.tag[0], data, within)
}

// send sends a packet from one end and waits for it at the other: up is from
// the client.
func (c *sctpTalk) send(up bool, typ byte, tag uint32, body []byte, within time.Duration) error {
	from, at, to := c.client, c.server, c.to
	src, dst := c.port[0], c.port[1]
	if !up {
		from, at, to = c.server, c.client, c.back
		src, dst = c.port[1], c.seen
	}
	if _, err := from.WriteTo(sctpPacket(src, dst, tag, typ, body), to); err != nil {
		return err
	}
	at.SetReadDeadline(time.Now().Add(within))
	for buf := make([]byte, 2048); ; {
		n, peer, err := at.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("no packet: %w", err)
		}
		got := buf[:n]
		if n < 16 || got[12] != typ || binary.BigEndian.Uint32(got[4:]) != tag || !bytes.HasPrefix(got[16:], body) || !c.mine(up, got, peer) {
			continue // another association's
		}
		if up {
			c.back, c.seen = peer, binary.BigEndian.Uint16(got)
		}
		return nil
	}
}

// mine reports whether a packet is of this association and came as it should.
func (c *sctpTalk) mine(up bool, got []byte, peer net.Addr) bool {
	src, dst := binary.BigEndian.Uint16(got), binary.BigEndian.Uint16(got[2:])
	if up {
		return dst == c.port[1] && (c.seen == 0 || src == c.seen && sameAddr(peer, c.back))
	}
	return src == c.port[1] && dst == c.port[0] && sameAddr(peer, c.to)
}

func sctpPacket(src, dst uint16, tag uint32, typ byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, typ, 3)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(body)))
	b = append(b, body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}
