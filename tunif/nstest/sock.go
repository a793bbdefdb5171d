package nstest

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// dialWait bounds a connection attempt: several SYN retransmissions.
const dialWait = 20 * time.Second

// Listen opens a TCP listener in the namespace. It is closed with the test.
func (ns *NS) Listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	var err error
	ns.Do(func() { l, err = lc.Listen(context.Background(), network, addr) })
	if err != nil {
		t.Fatalf("nstest: %s: %v", ns.name, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a datagram socket in the namespace ("udp4", "ip4:240" …).
// It is closed with the test.
func (ns *NS) ListenPacket(t testing.TB, network, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	var err error
	ns.Do(func() { c, err = net.ListenPacket(network, addr) })
	if err != nil {
		t.Fatalf("nstest: %s: %v", ns.name, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TryDial connects from within the namespace; addr is numeric. An empty laddr
// leaves the choice of the source to the kernel.
func (ns *NS) TryDial(network, laddr, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialWait}
	d.SetMultipathTCP(false)
	if laddr != "" {
		la, err := resolve(network, laddr)
		if err != nil {
			return nil, err
		}
		d.LocalAddr = la
	}
	var c net.Conn
	var err error
	ns.Do(func() { c, err = d.Dial(network, addr) })
	return c, err
}

// Dial is TryDial for a connection that must come about. It is closed with the
// test.
func (ns *NS) Dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	c, err := ns.TryDial(network, "", addr)
	if err != nil {
		t.Fatalf("nstest: %s: %v", ns.name, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func resolve(network, addr string) (net.Addr, error) {
	if strings.HasPrefix(network, "udp") {
		return net.ResolveUDPAddr(network, addr)
	}
	return net.ResolveTCPAddr(network, addr)
}

// Echo serves addr in the namespace, network "tcp…" or "udp…", sending back
// what comes, until the test ends. It gives the address, for a port of 0.
func (ns *NS) Echo(t testing.TB, network, addr string) string {
	t.Helper()
	if strings.HasPrefix(network, "udp") {
		c := ns.ListenPacket(t, network, addr)
		go echoPackets(c)
		return c.LocalAddr().String()
	}
	l := ns.Listen(t, network, addr)
	go echoStreams(l)
	return l.Addr().String()
}

func echoStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func echoPackets(c net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo(buf[:n], from)
	}
}

// Ask sends msg over a connection to an Echo and waits for it to come back.
// Over UDP it sends once: what is lost is an error.
func Ask(c net.Conn, msg string, within time.Duration) error {
	c.SetDeadline(time.Now().Add(within))
	defer c.SetDeadline(time.Time{})
	if _, err := io.WriteString(c, msg); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, len(msg)))
	return err
}
