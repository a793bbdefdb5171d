package daemon

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// pptpRules let a helper read in connections to port 1723, and let pass no GRE
// but what these announce.
var pptpRules = helperRules("pptp", "tcp", 1723, "gre")

// TestPPTP: a call under way goes on through the other firewall, whose kernel has
// not read it, translated or not, and comes back; its control connection does, and
// a call can be made anew there. With a masqueraded address the kernel throws the
// control connection out, and its helper the call with it.
func TestPPTP(t *testing.T) {
	p := newNatted(t, pptpRules)
	for i, tt := range []struct {
		name, asked, server string
		answers             bool // the server's packet is the first of the call
	}{
		{"plain", nstest.ServerAddr, nstest.ServerAddr, false},
		{"plain, the server first", "10.0.2.15", "10.0.2.15", true},
		{"snat", "10.0.2.11", "10.0.2.11", false},
		{"snat, the server first", "10.0.2.12", "10.0.2.12", true},
		{"dnat", "192.0.2.14", "10.0.2.14", false},
		{"both", "192.0.2.16", "10.0.2.16", false},
		{"masquerade", "10.0.4.13", "10.0.4.13", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.move(t, 0)
			l := p.Server.Listen(t, "tcp", net.JoinHostPort(tt.server, "1723"))
			first := p.dialPPTP(t, l, tt.asked, tt.server, uint16(100+10*i))
			if tt.answers {
				first.answers(t, "before")
			}
			first.carries(t, "begun")
			p.waitCall(t, 1, first)
			p.move(t, 1)
			first.carries(t, "at the other")
			first.control(t, pptpEchoRequest, 4, nil)
			second := p.dialPPTP(t, l, tt.asked, tt.server, uint16(105+10*i))
			second.carries(t, "dialled again")
			p.waitCall(t, 0, second)
			p.move(t, 0)
			first.control(t, pptpEchoRequest, 4, nil)
			first.carries(t, "back")
			second.carries(t, "moved")
			for i := range p.FW {
				if n := p.Invalid(i); n > 0 {
					t.Errorf("%d invalid packets at firewall %d", n, i)
				}
			}
		})
	}
}

// waitCall waits until a firewall has a GRE entry for the call.
func (p *pair) waitCall(t *testing.T, i int, d *pptpTunnel) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		flows := flowsOf(t, p.FW[i], protoGRE)
		for _, f := range flows {
			if (f.Orig.DstPort == d.id[1] || f.Reply.DstPort == d.id[1]) && f.Status&pfstate.StatusSeenReply != 0 {
				return nil
			}
		}
		return fmt.Errorf("%v", flows)
	}, "the call at the other firewall")
}

// Control messages of PPTP (RFC 2637).
const (
	protoGRE         = 47
	pptpStartRequest = 1
	pptpStartReply   = 2
	pptpEchoRequest  = 5
	pptpCallRequest  = 7
	pptpCallReply    = 8
)

// pptpTunnel is both ends of a tunnel, as far as a helper looks.
type pptpTunnel struct {
	ctl    [2]net.Conn // of client and server
	gre    [2]net.PacketConn
	server net.Addr  // as the client sees it
	client net.Addr  // as the server sees it
	id     [2]uint16 // that client and server want to see in what they get
	seen   uint16    // the client's as the server sees it
}

// dialPPTP opens a control connection and makes a call.
func (p *pair) dialPPTP(t *testing.T, l net.Listener, asked, server string, id uint16) *pptpTunnel {
	t.Helper()
	d := &pptpTunnel{server: &net.IPAddr{IP: net.ParseIP(asked)}, id: [2]uint16{id, id + 1000}}
	d.ctl[0] = p.Client.Dial(t, "tcp", net.JoinHostPort(asked, "1723"))
	var err error
	if d.ctl[1], err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.ctl[1].Close() })
	d.gre[0] = p.Client.ListenPacket(t, "ip4:47", nstest.ClientAddr)
	d.gre[1] = p.Server.ListenPacket(t, "ip4:47", server)
	d.control(t, pptpStartRequest, 144, nil)
	d.reply(t, pptpStartReply, 144, []byte{1, 0, 1})
	got := d.control(t, pptpCallRequest, 156, binary.BigEndian.AppendUint16(nil, d.id[0]))
	d.seen = binary.BigEndian.Uint16(got)
	d.client = &net.IPAddr{IP: d.ctl[1].RemoteAddr().(*net.TCPAddr).IP}
	call := binary.BigEndian.AppendUint16(nil, d.id[1])
	d.reply(t, pptpCallReply, 20, append(binary.BigEndian.AppendUint16(call, d.seen), 1))
	return d
}

// control sends a message of the client, whose body is of a length and begins
// so, and gives the body that arrives.
func (d *pptpTunnel) control(t *testing.T, typ uint16, length int, body []byte) []byte {
	t.Helper()
	return pptpSend(t, d.ctl[0], d.ctl[1], typ, length, body)
}

// reply is control the other way round.
func (d *pptpTunnel) reply(t *testing.T, typ uint16, length int, body []byte) []byte {
	t.Helper()
	return pptpSend(t, d.ctl[1], d.ctl[0], typ, length, body)
}

func pptpSend(t *testing.T, from, at net.Conn, typ uint16, length int, body []byte) []byte {
	t.Helper()
	msg := make([]byte, 12+length)
	binary.BigEndian.PutUint16(msg, uint16(len(msg)))
	binary.BigEndian.PutUint16(msg[2:], 1)
	binary.BigEndian.PutUint32(msg[4:], 0x1a2b3c4d)
	binary.BigEndian.PutUint16(msg[8:], typ)
	if typ == pptpStartRequest || typ == pptpStartReply {
		body = append([]byte{1, 0}, body...) // the version stands first
	}
	copy(msg[12:], body)
	if _, err := from.Write(msg); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(msg))
	at.SetReadDeadline(time.Now().Add(patience / 2))
	if _, err := io.ReadFull(at, got); err != nil {
		t.Fatalf("message %d: %v", typ, err)
	}
	return got[12:]
}

// carries sends a word through the tunnel, and back.
func (d *pptpTunnel) carries(t *testing.T, word string) {
	t.Helper()
	nstest.PassCall(t, d.gre[0], d.server, d.id[1], d.gre[1], nil, d.id[1], word, patience/4)
	d.answers(t, word)
}

// answers sends a word back through the tunnel.
func (d *pptpTunnel) answers(t *testing.T, word string) {
	t.Helper()
	nstest.PassCall(t, d.gre[1], d.client, d.seen, d.gre[0], nil, d.id[0], word, patience/4)
}
