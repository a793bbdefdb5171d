package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// bulkTalk is a TCP transfer that never pauses, through an echo server, and
// compares what returns.
type bulkTalk struct {
	back atomic.Int64 // bytes that returned as they were sent
	err  atomic.Pointer[error]
}

// startBulk begins the transfer, with source translation.
func (p *pair) startBulk(t *testing.T) *bulkTalk {
	t.Helper()
	const port = 7008
	to := p.Server.Echo(t, "tcp4", net.JoinHostPort((&translations[1]).served(false), fmt.Sprint(port)))
	c := p.Client.Dial(t, "tcp4", to)
	b := &bulkTalk{}
	go pour(c)
	go b.compare(c)
	return b
}

const bulkBlock = 64 << 10

// block is the n-th of the stream.
func block(buf []byte, n uint64) []byte {
	for i := 0; i < len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], n*bulkBlock+uint64(i))
	}
	return buf
}

func pour(c net.Conn) {
	buf := make([]byte, bulkBlock)
	for n := uint64(0); ; n++ {
		if _, err := c.Write(block(buf, n)); err != nil {
			return
		}
	}
}

func (b *bulkTalk) compare(c net.Conn) {
	got, want := make([]byte, bulkBlock), make([]byte, bulkBlock)
	for n := uint64(0); ; n++ {
		_, err := io.ReadFull(c, got)
		if err == nil && !bytes.Equal(got, block(want, n)) {
			err = fmt.Errorf("block %d is not what was sent", n)
		}
		if err != nil {
			b.err.Store(&err)
			return
		}
		b.back.Add(bulkBlock)
	}
}

// pass waits until another 4 MB have returned.
func (b *bulkTalk) pass(t *testing.T, where string) {
	t.Helper()
	want := b.back.Load() + 4<<20
	nstest.EventuallyNil(t, patience, func() error {
		if err := b.err.Load(); err != nil {
			t.Fatalf("%s: %v", where, *err)
		}
		if got := b.back.Load(); got < want {
			return fmt.Errorf("%d bytes to go", want-got)
		}
		return nil
	}, where+": the transfer to go on")
}

// probe is a UDP connection whose path MTU is to be told by a router behind
// the firewalls.
type probe struct {
	name   string
	six    bool
	server string
	seen   string // what the server takes for the client's address
	conn   net.Conn
	from   *net.UDPAddr // what the server takes for the client
}

const probePort = 7010

// startProbes begins a connection of each translation that the error has to
// undo.
func (p *pair) startProbes(t *testing.T) (probes []*probe) {
	t.Helper()
	for i, six := range []bool{false, true} {
		seen := map[string]string{
			"snat": [2]string{nstest.OutsideAddr, nstest.OutsideAddr6}[i], "masquerade": [2]string{masqOutside, masqOutside6}[i],
			"dnat": [2]string{nstest.ClientAddr, nstest.ClientAddr6}[i], "both": [2]string{nstest.OutsideAddr, nstest.OutsideAddr6}[i],
		}
		for k := range translations {
			x := &translations[k]
			if seen[x.name] == "" {
				continue
			}
			b := &probe{name: fmt.Sprintf("IPv%d/%s", 4+2*i, x.name), six: six, server: x.served(six), seen: seen[x.name]}
			b.begin(t, p, x.asked(six))
			probes = append(probes, b)
		}
	}
	return probes
}

func (b *probe) begin(t *testing.T, p *pair, asked string) {
	t.Helper()
	port := fmt.Sprint(probePort)
	l := p.Server.ListenPacket(t, "udp", net.JoinHostPort(b.server, port))
	b.conn = p.Client.Dial(t, "udp", net.JoinHostPort(asked, port))
	onSocket(t, b.conn, func(fd int) error {
		if b.six {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if _, err := b.conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	l.SetReadDeadline(time.Now().Add(patience))
	_, from, err := l.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.from = from.(*net.UDPAddr)
	l.WriteTo(buf[:1], from)
	if _, err := b.conn.Read(buf); err != nil {
		t.Fatal(err)
	}
}

// tooBig: the error quotes the packet as it was translated, and the client's
// path MTU follows.
func (p *pair) tooBig(t *testing.T, probes []*probe) {
	const mtu = 1300
	for _, b := range probes {
		t.Run("too big/"+b.name, func(t *testing.T) {
			network, msg := "ip4:1", needFrag(mtu, quote(b.from, b.server, probePort))
			if b.six {
				network, msg = "ip6:58", packetTooBig(mtu, quote6(b.from, b.server, probePort))
			}
			icmp := p.Server.ListenPacket(t, network, b.server)
			if _, err := icmp.WriteTo(msg, &net.IPAddr{IP: net.ParseIP(b.seen)}); err != nil {
				t.Fatal(err)
			}
			nstest.EventuallyNil(t, patience/3, func() error {
				if got := pathMTU(t, b.conn, b.six); got != mtu {
					return fmt.Errorf("path MTU %d", got)
				}
				return nil
			}, "the client to learn the MTU")
		})
	}
}

// onSocket calls f with the descriptor of a connection.
func onSocket(t *testing.T, c net.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

func pathMTU(t *testing.T, c net.Conn, six bool) (mtu int) {
	t.Helper()
	level, opt := unix.IPPROTO_IP, unix.IP_MTU
	if six {
		level, opt = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	onSocket(t, c, func(fd int) (err error) {
		mtu, err = unix.GetsockoptInt(fd, level, opt)
		return err
	})
	return mtu
}

// quote is the head of a packet from a client, as the server has got it.
func quote(from *net.UDPAddr, to string, port int) []byte {
	ip := []byte{0x45, 0, 1400 >> 8, 1400 & 0xff, 0, 1, 0x40, 0, 63, 17, 0, 0}
	ip = append(append(ip, from.IP.To4()...), net.ParseIP(to).To4()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, quotedUDP(from.Port, port)...)
}

// quote6 is the same of IPv6.
func quote6(from *net.UDPAddr, to string, port int) []byte {
	ip := []byte{0x60, 0, 0, 0, 1380 >> 8, 1380 & 0xff, 17, 63}
	ip = append(append(ip, from.IP.To16()...), net.ParseIP(to).To16()...)
	return append(ip, quotedUDP(from.Port, port)...)
}

// quotedUDP is a header of UDP without its checksum, which nobody can check.
func quotedUDP(from, to int) []byte {
	udp := binary.BigEndian.AppendUint16(nil, uint16(from))
	udp = binary.BigEndian.AppendUint16(udp, uint16(to))
	return append(binary.BigEndian.AppendUint16(udp, 1380), 0, 0)
}

// packetTooBig is an ICMPv6 error of type 2 (RFC 4443); the socket adds the
// checksum.
func packetTooBig(mtu int, quoted []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
}

// needFrag is an ICMP error of type 3, code 4 (RFC 1191).
func needFrag(mtu int, quoted []byte) []byte {
	b := []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	b = append(b, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}
