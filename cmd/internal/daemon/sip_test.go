package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// sipRules let a helper read in connections to port 5060, and let pass only
// these and what they announce.
var sipRules = helperRules("sip", "udp", 5060, "udp udp dport != 5060")

// TestSIP: the media of a call that was set up through one firewall pass through
// the other, translated or not; the helper there reads what the callee answers,
// and what that announces passes through the first again.
func TestSIP(t *testing.T) {
	p := newNatted(t, sipRules)
	for i, tt := range []struct {
		name          string
		asked, served string
		more          bool // only where there is time
	}{
		{"plain", nstest.ServerAddr, nstest.ServerAddr, false},
		{"ipv6", nstest.ServerAddr6, nstest.ServerAddr6, true},
		{"snat", "10.0.2.11", "10.0.2.11", false},
		{"ipv6 snat", "fd00:2::11", "fd00:2::11", true},
		{"dnat", "192.0.2.14", "10.0.2.14", true},
		{"both", "192.0.2.16", "10.0.2.16", true},
	} {
		if tt.more && os.Getenv("PFSYNC_TEST_ALL") == "" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) { p.sip(t, tt.asked, tt.served, 40000+100*i) })
	}
}

func (p *pair) sip(t *testing.T, asked, served string, media int) {
	p.move(t, 0)
	from := nstest.ClientAddr
	if strings.Contains(asked, ":") {
		from = nstest.ClientAddr6
	}
	caller, callee := newSIPPhone(t, p.Client, from, media), newSIPPhone(t, p.Server, served, media+10)
	to := netip.AddrPortFrom(netip.MustParseAddr(asked), sipPort)

	caller.say(to, "INVITE sip:b@"+sipHost(asked)+" SIP/2.0")
	seen, back := callee.hears(t, "INVITE")
	p.waitExpect(t, 1, true, fmt.Sprint(seen.Port()))
	p.waitExpect(t, 1, true, fmt.Sprint(seen.Port()+1))
	p.move(t, 1)
	carries(t, callee.rtp, seen, caller.rtp, "media to the caller")
	p.waitExpect(t, 0, false, fmt.Sprint(seen.Port()))
	family := map[bool]string{false: "ipv4", true: "ipv6"}[strings.Contains(asked, ":")]
	waitFlow(t, p.FW[0], true, family, "udp", fmt.Sprintf("sport=%d", callee.port), fmt.Sprintf("dport=%d", seen.Port()))

	callee.say(back, "SIP/2.0 200 OK")
	there, _ := caller.hears(t, "SIP/2.0 200")
	control := netip.AddrPortFrom(there.Addr(), there.Port()+1)
	p.waitExpect(t, 0, true, fmt.Sprint(media+11))
	p.move(t, 0)
	carries(t, caller.rtcp, control, callee.rtcp, "control to the callee")
	carries(t, callee.rtp, seen, caller.rtp, "media, after the way back")
	for i := range p.FW {
		if n := p.Invalid(i); n > 0 {
			t.Errorf("%d invalid packets at firewall %d", n, i)
		}
	}
}

const sipPort = 5060

// sipPhone says as much of RFC 3261 as a helper reads.
type sipPhone struct {
	addr           string
	port           int // of rtp, even; rtcp has the next
	sip, rtp, rtcp net.PacketConn
}

func newSIPPhone(t *testing.T, ns *nstest.NS, addr string, port int) *sipPhone {
	t.Helper()
	at := func(port int) net.PacketConn {
		return ns.ListenPacket(t, "udp", net.JoinHostPort(addr, fmt.Sprint(port)))
	}
	return &sipPhone{addr, port, at(sipPort), at(port), at(port + 1)}
}

// sipHost is an address as a URI has it.
func sipHost(addr string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]"
	}
	return addr
}

// say sends a message that begins with this line and offers media.
func (s *sipPhone) say(to netip.AddrPort, first string) {
	host, family := sipHost(s.addr), map[bool]string{false: "IP4", true: "IP6"}[strings.Contains(s.addr, ":")]
	body := fmt.Sprintf("v=0\r\no=- 1 1 IN %s %s\r\ns=-\r\nc=IN %[1]s %[2]s\r\nt=0 0\r\nm=audio %[3]d RTP/AVP 0\r\n", family, s.addr, s.port)
	msg := fmt.Sprintf("%s\r\nVia: SIP/2.0/UDP %s:5060;branch=z9hG4bK1\r\nFrom: <sip:a@%[2]s>;tag=1\r\nTo: <sip:b@%[2]s>;tag=2\r\n"+
		"Call-ID: call%d@x\r\nCSeq: 1 INVITE\r\nContact: <sip:x@%[2]s:5060>\r\nContent-Type: application/sdp\r\nContent-Length: %[4]d\r\n\r\n%[5]s",
		first, host, s.port/100, len(body), body)
	s.sip.WriteTo([]byte(msg), net.UDPAddrFromAddrPort(to))
}

// hears waits for a message that begins so, and gives the place for media that
// it offers and the sender as it is seen here.
func (s *sipPhone) hears(t *testing.T, first string) (media, from netip.AddrPort) {
	t.Helper()
	s.sip.SetReadDeadline(time.Now().Add(patience / 2))
	buf := make([]byte, 4096)
	n, peer, err := s.sip.ReadFrom(buf)
	msg := string(buf[:n])
	if err != nil || !strings.HasPrefix(msg, first) {
		t.Fatalf("%q, %v; want %s", msg, err, first)
	}
	_, c, _ := strings.Cut(msg, "\r\nc=IN IP")
	_, m, _ := strings.Cut(msg, "\r\nm=audio ")
	var port uint16
	fmt.Sscan(m, &port)
	addr, err := netip.ParseAddr(strings.Fields(c)[1])
	if err != nil || port == 0 {
		t.Fatalf("no media in %q", msg)
	}
	at := peer.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr, port), netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// carries sends a word from one socket and waits for it at the other.
func carries(t *testing.T, from net.PacketConn, to netip.AddrPort, at net.PacketConn, what string) {
	t.Helper()
	word := what + " " + to.String()
	if _, err := from.WriteTo([]byte(word), net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	at.SetReadDeadline(time.Now().Add(patience / 4))
	buf := make([]byte, 256)
	n, _, err := at.ReadFrom(buf)
	if err != nil || string(buf[:n]) != word {
		t.Fatalf("%s: %q, %v", what, buf[:n], err)
	}
}
