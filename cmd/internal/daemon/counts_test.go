package daemon

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// lookNow lets the daemon read the kernel's table at once.
func (n *node) lookNow() {
	l := n.loop
	if err := l.do(context.Background(), func() { l.dump.looks.hinted = l.now }); err != nil {
		n.t.Fatal(err)
	}
}

// states gives the states of a protocol.
func (n *node) states(proto uint8) (list []control.State) {
	n.t.Helper()
	err := n.States(context.Background(), control.StateQuery{}, func(some []control.State) error {
		for _, s := range some {
			if s.Proto == proto {
				list = append(list, s)
			}
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return list
}

// TestCounters: packets and bytes are those of the kernel, go to the peer with
// the state, and go on from there when the peer carries it.
func TestCounters(t *testing.T) {
	p := newPair(t, nstest.Options{})
	for _, fw := range p.FW {
		fw.Sysctl(t, "net.netfilter.nf_conntrack_acct", "1")
	}
	to := p.Server.Echo(t, "udp4", net.JoinHostPort(nstest.ServerAddr, "0"))
	c := p.Client.Dial(t, "udp4", to)
	const size = 28 + 5 // IP and UDP header, payload
	ask := func(n int) {
		t.Helper()
		for range n {
			if err := nstest.Ask(c, "12345", patience); err != nil {
				t.Fatal(err)
			}
		}
	}
	shows := func(n *node, packets uint64) {
		t.Helper()
		want := fmt.Sprint([2]uint64{packets, packets}, [2]uint64{packets * size, packets * size})
		nstest.EventuallyNil(t, patience, func() error {
			n.lookNow()
			states := n.states(pfstate.ProtoUDP)
			if len(states) == 0 {
				return errorText("no state")
			}
			if got := fmt.Sprint(states[0].Packets, states[0].Bytes); got != want {
				return errorText(got)
			}
			return nil
		}, n.where+": counters "+want)
	}
	ask(5)
	shows(p.n[0], 5)
	if err := p.n[1].Bulk(context.Background()); err != nil {
		t.Fatal(err)
	}
	shows(p.n[1], 5)

	p.Master(1)
	ask(3)
	shows(p.n[1], 8)
	if err := p.n[0].Bulk(context.Background()); err != nil {
		t.Fatal(err)
	}
	shows(p.n[0], 8)
}
