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
	server string
	seen   string // what the server takes for the client's address
	conn   net.Conn
	from   *net.UDPAddr // what the server takes for the client
}

const probePort = 7010

// startProbes begins a connection of each translation that the error has to
// undo.
func (p *pair) startProbes(t *testing.T) []*probe {
	t.Helper()
	probes := []*probe{
		{name: "snat", server: "10.0.2.11", seen: nstest.OutsideAddr},
		{name: "masquerade", server: "10.0.4.13", seen: masqOutside},
		{name: "dnat", server: "10.0.2.14", seen: nstest.ClientAddr},
		{name: "both", server: "10.0.2.16", seen: nstest.OutsideAddr},
	}
	for i, asked := range []string{"10.0.2.11", "10.0.4.13", "192.0.2.14", "192.0.2.16"} {
		probes[i].begin(t, p, asked)
	}
	return probes
}

func (b *probe) begin(t *testing.T, p *pair, asked string) {
	t.Helper()
	l := p.Server.ListenPacket(t, "udp4", fmt.Sprintf("%s:%d", b.server, probePort))
	b.conn = p.Client.Dial(t, "udp4", fmt.Sprintf("%s:%d", asked, probePort))
	onSocket(t, b.conn, func(fd int) error {
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
	const mtu = 1000
	for _, b := range probes {
		t.Run("fragmentation needed/"+b.name, func(t *testing.T) {
			icmp := p.Server.ListenPacket(t, "ip4:1", b.server)
			msg := needFrag(mtu, quote(b.from, b.server, probePort))
			if _, err := icmp.WriteTo(msg, &net.IPAddr{IP: net.ParseIP(b.seen)}); err != nil {
				t.Fatal(err)
			}
			nstest.EventuallyNil(t, patience/3, func() error {
				if got := pathMTU(t, b.conn); got != mtu {
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

func pathMTU(t *testing.T, c net.Conn) (mtu int) {
	t.Helper()
	onSocket(t, c, func(fd int) (err error) {
		mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		return err
	})
	return mtu
}

// quote is the head of a packet from a client, as the server has got it.
func quote(from *net.UDPAddr, to string, port int) []byte {
	ip := []byte{0x45, 0, 1400 >> 8, 1400 & 0xff, 0, 1, 0x40, 0, 63, 17, 0, 0}
	ip = append(append(ip, from.IP.To4()...), net.ParseIP(to).To4()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	udp := binary.BigEndian.AppendUint16(nil, uint16(from.Port))
	udp = binary.BigEndian.AppendUint16(udp, uint16(port))
	udp = binary.BigEndian.AppendUint16(udp, 1380)
	return append(append(ip, udp...), 0, 0)
}

// needFrag is an ICMP error of type 3, code 4 (RFC 1191).
func needFrag(mtu int, quoted []byte) []byte {
	b := []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	b = append(b, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}
