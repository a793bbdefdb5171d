package daemon

import (
	"fmt"
	"net"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestTCPFlags: what both ends agreed on with their first packets is in the
// other kernel as it is in the first, be it what nearly all agree on or not.
func TestTCPFlags(t *testing.T) {
	p := newPair(t, nstest.Options{})
	const options = pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm
	for i, tt := range []struct {
		name         string
		sack, wscale string // of the client
		want         uint8  // of either direction
	}{
		{"sack and window scale", "1", "1", options},
		{"no sack", "0", "1", pfstate.TCPFlagWScale},
		{"no window scale", "1", "0", pfstate.TCPFlagSackPerm},
		{"neither", "0", "0", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.Client.Sysctl(t, "net.ipv4.tcp_sack", tt.sack)
			p.Client.Sysctl(t, "net.ipv4.tcp_window_scaling", tt.wscale)
			port := uint16(6101 + i)
			c := p.Client.Dial(t, "tcp4", p.Server.Echo(t, "tcp4", fmt.Sprintf("%s:%d", nstest.ServerAddr, port)))
			if err := nstest.Ask(c, "hello", patience); err != nil {
				t.Fatal(err)
			}
			nstest.EventuallyNil(t, patience/2, func() error {
				here, there := entry(t, p.FW[0], port), entry(t, p.FW[1], port)
				for dir := range 2 {
					if got := here.TCPFlags[dir] & options; got != tt.want {
						t.Fatalf("the connection has flags %#x, want %#x", got, tt.want)
					}
					if got := there.TCPFlags[dir] & options; got != tt.want || there.WScale != here.WScale || there.ProtoState != here.ProtoState {
						return fmt.Errorf("%+v\nwant %+v", there, here)
					}
				}
				return nil
			}, "the flags at the peer")
		})
	}
	t.Run("closed", func(t *testing.T) { p.closedFlags(t, 6101+4) })
}

// closedFlags: the ports of a connection that is over can be used again at
// once through the other firewall, whose kernel has seen nothing of it.
func (p *pair) closedFlags(t *testing.T, port uint16) {
	to := p.Server.Echo(t, "tcp4", fmt.Sprintf("%s:%d", nstest.ServerAddr, port))
	const from = nstest.ClientAddr + ":40001"
	for i := range 2 {
		p.Master(i)
		c, err := p.Client.TryDial("tcp4", from, to)
		if err != nil {
			t.Fatal(err)
		}
		if err := nstest.Ask(c, "hello", patience); err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).SetLinger(0) // a reset: both ends are rid of it
		c.Close()
		waitLine(t, p.FW[1-i], fmt.Sprintf("dport=%d", port), "CLOSE")
	}
}
