package daemon

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// flow is one connection through the firewalls.
type flow struct {
	name   string
	family string
	words  []string // of its line in conntrack -L
	kill   []string // arguments of conntrack -D
}

// tcpUDP opens connections to an echo server and returns them as flows.
func (p *pair) tcpUDP(t *testing.T) []flow {
	var flows []flow
	for _, c := range []struct{ network, addr, family string }{
		{"tcp4", nstest.ServerAddr, "ipv4"}, {"udp4", nstest.ServerAddr, "ipv4"},
		{"tcp6", nstest.ServerAddr6, "ipv6"}, {"udp6", nstest.ServerAddr6, "ipv6"},
	} {
		to := p.Server.Echo(t, c.network, net.JoinHostPort(c.addr, "0"))
		conn := p.Client.Dial(t, c.network, to)
		if err := nstest.Ask(conn, "hello", patience); err != nil {
			t.Fatal(err)
		}
		_, sport, _ := net.SplitHostPort(conn.LocalAddr().String())
		_, dport, _ := net.SplitHostPort(to)
		proto := c.network[:3]
		flows = append(flows, flow{
			name: c.network, family: c.family,
			words: []string{proto, "sport=" + sport, "dport=" + dport},
			kill:  []string{"-f", c.family, "-p", proto, "--sport", sport},
		})
	}
	return flows
}

// pings sends one echo request in each family.
func (p *pair) pings(t *testing.T) []flow {
	p.Client.Run(t, "ping", "-c", "1", "-W", "20", nstest.ServerAddr)
	p.Client.Run(t, "ping", "-c", "1", "-W", "20", nstest.ServerAddr6)
	return []flow{
		{"icmp", "ipv4", []string{"icmp", "dst=" + nstest.ServerAddr, "type=8"}, []string{"-p", "icmp"}},
		{"icmpv6", "ipv6", []string{"icmpv6", "dst=fd00:2::10", "type=128"}, []string{"-f", "ipv6", "-p", "icmpv6", "--icmpv6-type", "128"}},
	}
}

// TestFlows is the promise: what one kernel learns the other has, and what one
// loses the other loses.
func TestFlows(t *testing.T) {
	p := newPair(t, nstest.Options{})
	dump := p.FW[0].Tcpdump(t, "pfsync0", "-x", "proto", "240")
	flows := append(p.tcpUDP(t), p.pings(t)...)
	for _, f := range flows {
		t.Run(f.name, func(t *testing.T) {
			waitFlow(t, p.FW[0], true, f.family, f.words...)
			waitFlow(t, p.FW[1], true, f.family, f.words...)
			p.FW[0].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
			waitFlow(t, p.FW[1], false, f.family, f.words...)
			waitFlow(t, p.FW[0], false, f.family, f.words...)
		})
	}
	nstest.EventuallyNil(t, patience, func() error { return hasActions(dump.Lines(), syncproto.ActIns, syncproto.ActDelC) },
		"INS and DEL_C in tcpdump -i pfsync0")
	for _, line := range dump.Lines() {
		if strings.Contains(line, " > ") && !strings.Contains(line, "IP 10.0.3.2 > 224.0.0.240:  ip-proto-240 ") {
			t.Errorf("not to be seen on pfsync0: %s", line)
		}
	}
	if st := p.n[1].stats(); st.Counters.BadState != 0 || st.Counters.Stale != 0 {
		t.Errorf("counters %+v", st.Counters)
	}
}

// hasActions looks for messages in what tcpdump -x has printed.
func hasActions(lines []string, want ...syncproto.Action) error {
	seen := map[syncproto.Action]bool{}
	for _, pkt := range hexPackets(lines) {
		var r syncproto.Reader
		if len(pkt) < 20 || r.Reset(pkt[20:]) != nil {
			continue
		}
		for reg, ok := r.Next(); ok; reg, ok = r.Next() {
			seen[reg.Action] = true
		}
	}
	for _, a := range want {
		if !seen[a] {
			return fmt.Errorf("no %v", a)
		}
	}
	return nil
}

// hexPackets reads the dump of tcpdump -x: lines of an offset and words of hex.
func hexPackets(lines []string) [][]byte {
	var pkts [][]byte
	for _, l := range lines {
		offset, text, ok := strings.Cut(strings.TrimSpace(l), ":  ")
		if !ok || !strings.HasPrefix(offset, "0x") {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			continue
		}
		if offset == "0x0000" {
			pkts = append(pkts, nil)
		}
		if n := len(pkts); n > 0 {
			pkts[n-1] = append(pkts[n-1], b...)
		}
	}
	return pkts
}

// TestLatency tells how long the first packet of a connection takes to the
// peer's kernel. The figure depends on the machine and is only logged.
func TestLatency(t *testing.T) {
	p := newPair(t, nstest.Options{})
	var inj *conntrack.Injector
	var err error
	p.FW[1].Do(func() { inj, err = conntrack.NewInjector() })
	if err != nil {
		t.Fatal(err)
	}
	defer inj.Close()
	to := p.Server.Echo(t, "udp4", nstest.ServerAddr+":7")
	for _, delay := range []string{"10", "0"} {
		p.n[0].set("maxdelay", delay)
		var best, worst, sum time.Duration
		const rounds = 20
		for i := range rounds {
			d := p.firstPacket(t, inj, to)
			if i == 0 || d < best {
				best = d
			}
			worst, sum = max(worst, d), sum+d
		}
		t.Logf("maxdelay %s: first packet to the peer's kernel: least %v, mean %v, most %v", delay, best, sum/rounds, worst)
	}
}

// firstPacket opens a connection and polls the peer's kernel for it.
func (p *pair) firstPacket(t *testing.T, inj *conntrack.Injector, to string) time.Duration {
	conn := p.Client.Dial(t, "udp4", to)
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	op := pfstate.Op{Kind: pfstate.OpGet}
	op.Flow.AF, op.Flow.Proto = pfstate.AFInet, pfstate.ProtoUDP
	op.Flow.Orig.Src, _ = pfstate.AddrFrom(local.Addr())
	op.Flow.Orig.Dst, _ = pfstate.AddrFrom(conn.RemoteAddr().(*net.UDPAddr).AddrPort().Addr())
	op.Flow.Orig.SrcPort, op.Flow.Orig.DstPort = local.Port(), 7
	start := time.Now()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var res [1]pfstate.Result
	for res[0].Code = pfstate.ResultMissing; res[0].Code != pfstate.ResultOK; {
		if _, err := inj.Do([]pfstate.Op{op}, res[:]); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) > patience {
			t.Fatal("the peer's kernel does not get it")
		}
	}
	return time.Since(start)
}
