package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// Of DCCP (linux/dccp.h), which package unix does not have.
const (
	solDCCP            = 269
	dccpSockoptService = 2
)

// streamKind is a protocol of associations that not every kernel speaks itself.
type streamKind struct {
	name   string
	proto  uint8
	typ    int  // of its sockets
	packet bool // the test speaks it: the kernel does not
}

// streamKinds are those that can be tried here. Without sockets for SCTP the
// test builds the packets; DCCP without sockets is to the kernel what protocol
// 253 in TestTakeover is.
func streamKinds(t *testing.T) (kinds []streamKind) {
	sctp := streamKind{"sctp", pfstate.ProtoSCTP, unix.SOCK_STREAM, false}
	sctp.packet = !hasSockets(&sctp)
	kinds = append(kinds, sctp)
	dccp := streamKind{"dccp", pfstate.ProtoDCCP, unix.SOCK_DCCP, false}
	if hasSockets(&dccp) {
		kinds = append(kinds, dccp)
	}
	t.Logf("%+v", kinds)
	return kinds
}

func hasSockets(k *streamKind) bool {
	fd, err := unix.Socket(unix.AF_INET, k.typ, int(k.proto))
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// TestStreams is TestTakeover for SCTP and DCCP: associations go on through
// either firewall, translated or not, with their verification tags.
func TestStreams(t *testing.T) {
	p := newNatted(t)
	var conns []*conn
	for _, k := range streamKinds(t) {
		for i := range translations {
			for f, six := range []bool{false, true} {
				conns = append(conns, p.beginStream(t, &k, &translations[i], six, 4+2*f))
			}
		}
	}
	askAll(t, conns, "begun")
	p.waitKnown(t, p.FW[1], conns)
	p.sameTags(t)
	for _, fw := range p.FW {
		fw.Nft(t, knownRules)
	}
	for _, step := range []struct {
		name string
		to   int
	}{{"takeover", 1}, {"failback", 0}} {
		p.move(t, step.to)
		askAll(t, conns, step.name)
		if n := p.Invalid(step.to); n > 0 {
			t.Errorf("%s: %d invalid packets", step.name, n)
		}
		p.waitKnown(t, p.FW[1-step.to], conns)
	}
}

func (p *pair) beginStream(t *testing.T, k *streamKind, x *translation, six bool, version int) *conn {
	t.Helper()
	c := &conn{name: fmt.Sprintf("%s/IPv%d/%s", k.name, version, x.name), six: six, proto: k.proto, to: x.asked(six), nat: x.name}
	from := nstest.ClientAddr
	if six {
		from = nstest.ClientAddr6
	}
	if k.packet {
		c.talk = openSCTP(t, p, from, c.to, x.served(six), uint16(x.port))
		return c
	}
	serveStream(t, p.Server, k, netip.AddrPortFrom(netip.MustParseAddr(x.served(six)), uint16(x.port)))
	to := netip.AddrPortFrom(netip.MustParseAddr(c.to), uint16(x.port))
	for range 20 {
		talk := dialStream(t, p.Client, k, netip.MustParseAddr(from), to)
		if k.proto != pfstate.ProtoSCTP || p.begunWell(t, talk.port) {
			c.talk = talk
			return c
		}
		talk.abort(t)
	}
	t.Fatalf("%s: the kernel follows no association", c.name)
	return nil
}

// begunWell reports whether conntrack has followed the beginning of an
// association. Where a slow machine repeats its first chunk, conntrack takes the
// association to be beginning for ever.
func (p *pair) begunWell(t *testing.T, port uint16) bool {
	t.Helper()
	const established = 4 // SCTP_CONNTRACK_ESTABLISHED
	for _, f := range flowsOf(t, p.FW[0], pfstate.ProtoSCTP) {
		if f.Orig.SrcPort == port && f.ProtoState == established {
			return true
		}
	}
	return false
}

// sameTags: the second kernel has what it needs to judge the packets, not only
// the ports.
func (p *pair) sameTags(t *testing.T) {
	t.Helper()
	there := map[pfstate.Tuple]pfstate.Flow{}
	for _, f := range flowsOf(t, p.FW[1], pfstate.ProtoSCTP) {
		there[f.Orig] = f
	}
	for _, f := range flowsOf(t, p.FW[0], pfstate.ProtoSCTP) {
		if g := there[f.Orig]; f.VTag[0] == 0 || f.VTag[1] == 0 || g.VTag != f.VTag || g.ProtoState != f.ProtoState {
			t.Errorf("state %d, tags %x; at the peer %d, %x", f.ProtoState, f.VTag, g.ProtoState, g.VTag)
		}
	}
}

func streamSocket(t *testing.T, ns *nstest.NS, k *streamKind, local netip.AddrPort, nonblock int) int {
	t.Helper()
	family := unix.AF_INET
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	var fd int
	var err error
	ns.Do(func() { fd, err = unix.Socket(family, k.typ|unix.SOCK_CLOEXEC|nonblock, int(k.proto)) })
	if err == nil && k.proto == pfstate.ProtoDCCP {
		err = unix.SetsockoptInt(fd, solDCCP, dccpSockoptService, 1)
	}
	if err == nil {
		err = unix.Bind(fd, streamAddr(local))
	}
	if err != nil {
		t.Fatalf("%s: %v", k.name, err)
	}
	return fd
}

func streamAddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// serveStream echoes until the test ends.
func serveStream(t *testing.T, ns *nstest.NS, k *streamKind, at netip.AddrPort) {
	t.Helper()
	fd := streamSocket(t, ns, k, at, 0)
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Shutdown(fd, unix.SHUT_RDWR); unix.Close(fd) })
	go func() {
		for {
			c, _, err := unix.Accept(fd)
			if err != nil {
				return
			}
			go echoFD(c)
		}
	}()
}

func echoFD(fd int) {
	defer unix.Close(fd)
	for buf := make([]byte, 2048); ; {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			return
		}
		unix.Write(fd, buf[:n])
	}
}

// dialStream opens an association.
func dialStream(t *testing.T, ns *nstest.NS, k *streamKind, from netip.Addr, to netip.AddrPort) fileTalk {
	t.Helper()
	fd := streamSocket(t, ns, k, netip.AddrPortFrom(from, 0), 0)
	if err := connect(fd, streamAddr(to)); err != nil {
		t.Fatalf("%s: connect to %s: %v", k.name, to, err)
	}
	c := fileTalk{port: localPort(t, fd)}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	c.f = os.NewFile(uintptr(fd), k.name)
	t.Cleanup(func() { c.f.Close() })
	return c
}

// connect goes on where a signal of the runtime has interrupted it.
func connect(fd int, to unix.Sockaddr) error {
	for {
		switch err := unix.Connect(fd, to); err {
		case unix.EINTR, unix.EALREADY:
			time.Sleep(10 * time.Millisecond)
		case unix.EISCONN:
			return nil
		default:
			return err
		}
	}
}

func localPort(t *testing.T, fd int) uint16 {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if sa4, ok := sa.(*unix.SockaddrInet4); ok {
		return uint16(sa4.Port)
	}
	return uint16(sa.(*unix.SockaddrInet6).Port)
}

// fileTalk is a socket that package net does not know.
type fileTalk struct {
	f    *os.File
	port uint16
}

// abort ends the association without a farewell.
func (c fileTalk) abort(t *testing.T) {
	t.Helper()
	raw, err := c.f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.f.Close()
}

func (c fileTalk) ask(word string, within time.Duration) error {
	c.f.SetDeadline(time.Now().Add(within))
	if _, err := c.f.Write([]byte(word)); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := c.f.Read(buf)
	if err == nil && string(buf[:n]) != word {
		err = fmt.Errorf("%q came back", buf[:n])
	}
	return err
}

// openSCTP is an association whose both ends are raw sockets of the test.
func openSCTP(t *testing.T, p *pair, from, to, served string, port uint16) talk {
	t.Helper()
	six := net.ParseIP(to).To4() == nil
	c := &sctpTalk{
		client: p.Client.ListenPacket(t, rawNetwork(six, pfstate.ProtoSCTP), from),
		server: p.Server.ListenPacket(t, rawNetwork(six, pfstate.ProtoSCTP), served),
		to:     &net.IPAddr{IP: net.ParseIP(to)},
		port:   [2]uint16{sctpPort(to, served), port},
		tag:    [2]uint32{0x11110000 | uint32(port), 0x22220000 | uint32(port)},
	}
	if err := c.open(); err != nil {
		t.Fatalf("sctp to %s: %v", to, err)
	}
	return c
}

// sctpPort is a client's port of its own for each association.
func sctpPort(to, served string) (port uint16) {
	for _, c := range to + served {
		port = port*31 + uint16(c)
	}
	return port | 0x8000
}
