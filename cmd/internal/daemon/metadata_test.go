package daemon

import (
	"fmt"
	"net"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// metaRules give connections, by the port asked for, all that an entry can
// carry. The rule about labels makes the kernel keep them.
const metaRules = `
table inet carried {
	ct helper ftp-std {
		type "ftp" protocol tcp
	}
	chain prerouting {
		type filter hook prerouting priority raw;
		tcp dport 6003 ct zone set 7
		tcp sport 6003 ct zone set 7
		tcp dport 6004 ct original zone set 8
	}
	chain helpers {
		type filter hook forward priority filter - 5;
		tcp dport 6001 ct state new ct mark set 0xdeadbeef
		tcp dport 6002 ct label set 3
		tcp dport 6002 ct label set 127
		tcp dport 6005 ct state new ct helper set "ftp-std"
	}
}
`

// TestMetadata: what Linux knows of a connection beyond pf's record is in the
// other kernel too, and a change of it alone goes there.
func TestMetadata(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: metaRules})
	conns := map[string]net.Conn{}
	for _, port := range []string{"6001", "6002", "6003", "6004", "6005"} {
		to := p.Server.Echo(t, "tcp4", nstest.ServerAddr+":"+port)
		conns[port] = p.Client.Dial(t, "tcp4", to)
		if err := nstest.Ask(conns[port], "hello", patience); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, port string
		words      []string
	}{
		{"mark", "6001", []string{"mark=3735928559"}},
		{"zone", "6003", []string{"zone=7"}},
		{"zone of one direction", "6004", []string{"zone-orig=8"}},
		{"helper", "6005", []string{"helper=ftp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words := append([]string{"ESTABLISHED", "dport=" + tt.port, "[ASSURED]"}, tt.words...)
			waitLine(t, p.FW[0], words...)
			waitLine(t, p.FW[1], words...)
		})
	}
	t.Run("labels", func(t *testing.T) {
		nstest.EventuallyNil(t, patience/2, func() error {
			for _, fw := range p.FW {
				if got := entry(t, fw, 6002).Labels; got != [16]byte{0: 1 << 3, 15: 1 << 7} {
					return fmt.Errorf("%s: labels %x", fw.Name(), got)
				}
			}
			return nil
		}, "labels 3 and 127")
	})
	t.Run("mark alone", func(t *testing.T) {
		for _, mark := range []string{"17", "0"} {
			p.FW[0].Run(t, "nft", "insert", "rule", "inet", "carried", "helpers", "tcp", "dport", "6001", "ct", "mark", "set", mark)
			if err := nstest.Ask(conns["6001"], "marked", patience); err != nil {
				t.Fatal(err)
			}
			waitLine(t, p.FW[1], "dport=6001", "mark="+mark)
			p.FW[0].Run(t, "nft", "flush", "chain", "inet", "carried", "helpers")
		}
	})
	t.Run("taken over", func(t *testing.T) {
		p.Master(1)
		for port, c := range conns {
			if err := nstest.Ask(c, "still there", patience); err != nil {
				t.Errorf("%s: %v", port, err)
			}
		}
	})
}

// TestLabelsRefused: a kernel without a rule about labels has no room for them;
// the entry is made all the same, and that is counted.
func TestLabelsRefused(t *testing.T) {
	p := newPair(t, nstest.Options{})
	p.FW[0].Nft(t, metaRules)
	to := p.Server.Echo(t, "tcp4", nstest.ServerAddr+":6002")
	c := p.Client.Dial(t, "tcp4", to)
	if err := nstest.Ask(c, "hello", patience); err != nil {
		t.Fatal(err)
	}
	waitLine(t, p.FW[1], "ESTABLISHED", "dport=6002", "[ASSURED]")
	if got := entry(t, p.FW[1], 6002).Labels; got != [16]byte{} {
		t.Errorf("labels %x", got)
	}
	p.Master(1)
	if err := nstest.Ask(c, "still there", patience); err != nil {
		t.Error(err)
	}
	t.Log("reasons at the peer", p.n[1].stats().Reasons)
}

// waitLine waits for an entry by the words that conntrack prints for it.
func waitLine(t *testing.T, ns *nstest.NS, words ...string) {
	t.Helper()
	waitFlow(t, ns, true, "ipv4", words...)
}

// entry is what a kernel has of the connection to a port.
func entry(t *testing.T, ns *nstest.NS, port uint16) (f pfstate.Flow) {
	t.Helper()
	for _, g := range flowsOf(t, ns, 0) {
		if g.Orig.DstPort == port {
			f = g
		}
	}
	return f
}

// flowsOf is what a kernel has of a protocol, or of all (0).
func flowsOf(t *testing.T, ns *nstest.NS, proto uint8) (flows []pfstate.Flow) {
	t.Helper()
	d := opened(t, ns, conntrack.NewDumper)
	defer d.Close()
	if err := d.Begin(conntrack.Filter{Proto: proto}); err != nil {
		t.Fatal(err)
	}
	for evs := make([]pfstate.Event, 64); ; {
		n, err := d.Read(evs)
		for i := range evs[:n] {
			if evs[i].Kind == pfstate.EventDump {
				flows = append(flows, evs[i].Flow)
			}
		}
		if err != nil {
			return flows
		}
	}
}
