package daemon

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// ftpData is what every file holds; its second half is sent when the test says.
var ftpData = bytes.Repeat([]byte("a transfer that firewalls come and go in\n"), 4000)

// ftpServer answers as much of RFC 959 and RFC 2428 as a transfer needs.
type ftpServer struct {
	ns   *nstest.NS
	t    *testing.T
	half chan struct{} // the second half may follow
}

func newFTPServer(t *testing.T, ns *nstest.NS, addr string) *ftpServer {
	s := &ftpServer{ns: ns, t: t, half: make(chan struct{}, 1)}
	l := ns.Listen(t, "tcp", net.JoinHostPort(addr, "21"))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

// serve answers one control connection.
func (s *ftpServer) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewScanner(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	var data func() (net.Conn, error)
	say("220 ready")
	for r.Scan() {
		word, arg, _ := strings.Cut(strings.TrimSpace(r.Text()), " ")
		switch word {
		case "USER":
			say("230 welcome")
		case "PASV", "EPSV":
			l := s.ns.Listen(s.t, "tcp", net.JoinHostPort(c.LocalAddr().(*net.TCPAddr).IP.String(), "0"))
			l.(*net.TCPListener).SetDeadline(time.Now().Add(patience / 2))
			data = l.Accept
			at := l.Addr().(*net.TCPAddr).AddrPort()
			if word == "EPSV" {
				say("229 passive (|||%d|)", at.Port())
			} else {
				say("227 passive (%s)", ftpWords(at))
			}
		case "PORT", "EPRT":
			to := ftpAddr(arg)
			from := net.JoinHostPort(c.LocalAddr().(*net.TCPAddr).IP.String(), "0")
			data = func() (net.Conn, error) { return s.ns.TryDial("tcp", from, to.String()) }
			say("200 connecting to %s", to)
		case "RETR":
			say("150 coming")
			s.send(data)
			say("226 done")
		default:
			say("200 fine")
		}
	}
}

// send opens the data connection and sends the file in two halves.
func (s *ftpServer) send(data func() (net.Conn, error)) {
	c, err := data()
	if err != nil {
		return
	}
	defer c.Close()
	c.Write(ftpData[:len(ftpData)/2])
	select {
	case <-s.half:
	case <-time.After(patience):
	}
	c.Write(ftpData[len(ftpData)/2:])
}

// ftpWords are an address and port as PORT and PASV write them.
func ftpWords(a netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().Unmap().String(), ".", ","), a.Port()>>8, a.Port()&0xff)
}

// ftpAddr reads the argument of PORT or EPRT, or the answer to PASV.
func ftpAddr(text string) netip.AddrPort {
	if f := strings.Split(text, "|"); len(f) == 5 {
		port, _ := strconv.Atoi(f[3])
		addr, _ := netip.ParseAddr(f[2])
		return netip.AddrPortFrom(addr, uint16(port))
	}
	var a [4]byte
	var hi, lo uint16
	fmt.Sscanf(text, "%d,%d,%d,%d,%d,%d", &a[0], &a[1], &a[2], &a[3], &hi, &lo)
	return netip.AddrPortFrom(netip.AddrFrom4(a), hi<<8|lo)
}

// ftpClient is the other end.
type ftpClient struct {
	ns   *nstest.NS
	t    *testing.T
	c    net.Conn
	r    *bufio.Reader
	data func() (net.Conn, error) // opens the data connection last announced
}

func newFTPClient(t *testing.T, ns *nstest.NS, addr string) *ftpClient {
	t.Helper()
	f := &ftpClient{ns: ns, t: t, c: ns.Dial(t, "tcp", net.JoinHostPort(addr, "21"))}
	f.r = bufio.NewReader(f.c)
	f.expect("220")
	f.ask("230", "USER me")
	return f
}

func (f *ftpClient) ask(code, format string, args ...any) string {
	f.t.Helper()
	fmt.Fprintf(f.c, format+"\r\n", args...)
	return f.expect(code)
}

// expect reads an answer, which must have this code.
func (f *ftpClient) expect(code string) string {
	f.t.Helper()
	f.c.SetReadDeadline(time.Now().Add(patience / 2))
	line, err := f.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, code+" ") {
		f.t.Fatalf("%q, %v; want %s", line, err, code)
	}
	return line
}

// announce agrees on a data connection. It gives the port it goes to.
func (f *ftpClient) announce(active bool) (port string) {
	f.t.Helper()
	me := f.c.LocalAddr().(*net.TCPAddr).AddrPort()
	six := me.Addr().Is6() && !me.Addr().Is4In6()
	if active {
		l := f.ns.Listen(f.t, "tcp", net.JoinHostPort(me.Addr().Unmap().String(), "0"))
		at := l.Addr().(*net.TCPAddr).AddrPort()
		if six {
			f.ask("200", "EPRT |2|%s|%d|", at.Addr(), at.Port())
		} else {
			f.ask("200", "PORT %s", ftpWords(at))
		}
		l.(*net.TCPListener).SetDeadline(time.Now().Add(patience / 2))
		f.data = l.Accept
		return fmt.Sprint(at.Port())
	}
	var to netip.AddrPort
	if six {
		answer := f.ask("229", "EPSV")
		to = ftpAddr("|2|" + f.c.RemoteAddr().(*net.TCPAddr).IP.String() + answer[strings.Index(answer, "|||")+2:])
	} else {
		_, arg, _ := strings.Cut(f.ask("227", "PASV"), "(")
		to = ftpAddr(arg)
	}
	f.data = func() (net.Conn, error) { return f.ns.TryDial("tcp", "", to.String()) }
	return fmt.Sprint(to.Port())
}

// begin asks for the file and reads the first half of it.
func (f *ftpClient) begin() (net.Conn, error) {
	f.t.Helper()
	fmt.Fprintf(f.c, "RETR file\r\n")
	c, err := f.data()
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { c.Close() })
	f.expect("150")
	return c, f.half(c, 0)
}

// half reads half number n of the file.
func (f *ftpClient) half(c net.Conn, n int) error {
	size := len(ftpData) / 2
	want, got := ftpData[n*size:(n+1)*size], make([]byte, size)
	c.SetReadDeadline(time.Now().Add(patience / 2))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errorText("not what was sent")
	}
	return nil
}
