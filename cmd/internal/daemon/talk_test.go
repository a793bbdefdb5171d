package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// talk is one end of a connection: ask sends a word through the firewalls and
// waits for it to come back. What has no retransmission is sent once, so one
// packet lost is an error.
type talk interface {
	ask(word string, within time.Duration) error
}

// streamTalk is a socket that the echo server of nstest answers.
type streamTalk struct{ net.Conn }

func (c streamTalk) ask(word string, within time.Duration) error {
	return nstest.Ask(c.Conn, word, within)
}

// openTalk begins a connection of a protocol from the client to addr.
func openTalk(t testing.TB, ns *nstest.NS, proto uint8, addr string, port int) talk {
	t.Helper()
	six := strings.Contains(addr, ":")
	family := map[bool]string{false: "4", true: "6"}[six]
	to := net.JoinHostPort(addr, fmt.Sprint(port))
	switch proto {
	case pfstate.ProtoTCP:
		return streamTalk{ns.Dial(t, "tcp"+family, to)}
	case pfstate.ProtoUDP:
		return streamTalk{ns.Dial(t, "udp"+family, to)}
	case pfstate.ProtoUDPLite:
		c := udpLite(t, ns, anyAddr(six), 0)
		return &packetTalk{conn: c, to: resolveUDP(t, to)}
	}
	c := ns.ListenPacket(t, rawNetwork(six, proto), anyAddr(six))
	p := &packetTalk{conn: c, to: &net.IPAddr{IP: net.ParseIP(addr)}, head: headOf(proto, addr)}
	if proto == pfstate.ProtoICMP || proto == pfstate.ProtoICMPv6 {
		p.head = binary.BigEndian.AppendUint16([]byte{echoType(proto), 0, 0, 0}, uint16(port))
		p.head = append(p.head, 0, 1)
		p.echo = echoType(proto)
	}
	return p
}

func anyAddr(six bool) string {
	if six {
		return "::"
	}
	return "0.0.0.0"
}

func rawNetwork(six bool, proto uint8) string {
	if six {
		return fmt.Sprintf("ip6:%d", proto)
	}
	return fmt.Sprintf("ip4:%d", proto)
}

func resolveUDP(t testing.TB, addr string) *net.UDPAddr {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// echoType is the type of an echo request.
func echoType(proto uint8) byte {
	if proto == pfstate.ProtoICMPv6 {
		return 128
	}
	return 8
}

// AH is an extension header over IPv6, and connection tracking looks at what is
// behind it: a protocol that nobody knows.
const (
	protoAH  = 51
	behindAH = 254
)

// headOf is what stands before the words of a raw protocol: GRE (RFC 2784) has
// a header that connection tracking reads; the others need none. The address
// tells the words of several connections of one socket apart.
func headOf(proto uint8, addr string) []byte {
	var head []byte
	switch {
	case proto == pfstate.ProtoGRE:
		head = []byte{0, 0, 0x88, 0xb5} // no key, version 0; a local experimental type
	case proto == protoAH:
		head = []byte{behindAH, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1} // RFC 4302, without a check value; SPI 257
	}
	return append(head, addr+" "...)
}

// packetTalk sends packets from a socket that hears more than its own.
type packetTalk struct {
	conn net.PacketConn
	to   net.Addr
	head []byte
	echo byte // ICMP: the type of the request
}

func (p *packetTalk) ask(word string, within time.Duration) error {
	msg := append(bytes.Clone(p.head), word...)
	want := bytes.Clone(msg)
	if p.echo == 8 {
		binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	}
	if p.echo != 0 {
		want = append([]byte{map[byte]byte{8: 0, 128: 129}[p.echo], 0}, msg[4:]...)
	}
	if _, err := p.conn.WriteTo(msg, p.to); err != nil {
		return err
	}
	p.conn.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		got := buf[:n]
		if p.echo != 0 && n > 4 {
			got = append([]byte{got[0], got[1]}, got[4:]...) // the checksum is not ours
		}
		if bytes.Equal(got, want) && sameAddr(from, p.to) {
			return nil
		}
	}
}

func sameAddr(a, b net.Addr) bool { return a.String() == b.String() }

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// udpLite opens a UDP-Lite socket (RFC 3828), which package net takes for one
// of UDP.
func udpLite(t testing.TB, ns *nstest.NS, addr string, port int) net.PacketConn {
	t.Helper()
	ip := netip.MustParseAddr(addr)
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: ip.As16()})
	if ip.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	var fd int
	var err error
	ns.Do(func() {
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDPLITE)
	})
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "udplite")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serveTalk answers connections of a protocol to addr in the server's
// namespace until close. ICMP the kernel answers; TCP goes on to the end of the
// test.
func serveTalk(t testing.TB, ns *nstest.NS, proto uint8, addr string, port int) (close func()) {
	t.Helper()
	six := strings.Contains(addr, ":")
	to := net.JoinHostPort(addr, fmt.Sprint(port))
	var c net.PacketConn
	switch proto {
	case pfstate.ProtoTCP:
		ns.Echo(t, "tcp", to)
		return func() {}
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		return func() {}
	case pfstate.ProtoUDP:
		c = ns.ListenPacket(t, "udp", to)
	case pfstate.ProtoUDPLite:
		c = udpLite(t, ns, addr, port)
	default:
		c = ns.ListenPacket(t, rawNetwork(six, proto), addr)
	}
	go returnPackets(c)
	return func() { c.Close() }
}

func returnPackets(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo(buf[:n], from)
	}
}
