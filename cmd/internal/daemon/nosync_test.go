package daemon

import (
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// filterRules mark, label and put into zones by the port asked for.
const filterRules = `
table inet filters {
	chain prerouting {
		type filter hook prerouting priority raw;
		udp dport 5003 ct zone set 7
		udp sport 5003 ct zone set 7
		udp dport 5004 ct original zone set 8
	}
	chain forward {
		type filter hook forward priority filter - 5;
		udp dport 5001 ct mark set 0x105
		udp dport 5002 ct label set 3
	}
}
`

// filterCase is a filter and the port of a connection that it matches.
type filterCase struct {
	filter string
	port   string
}

var filterCases = []filterCase{
	{"mark 0x5/0xff", "5001"},
	{"label 3", "5002"},
	{"zone 7", "5003"},
	{"zone 8", "5004"},
	{"port 5005", "5005"},
	{"proto udp", "5006"},
	{"addr 10.0.2.10", "5006"},
}

// udpTo opens a connection to a port of the server and waits for its answer.
func (p *pair) udpTo(t *testing.T, port string) streamTalk {
	t.Helper()
	c := p.Client.Dial(t, "udp4", nstest.ServerAddr+":"+port)
	if err := nstest.Ask(c, "hello", patience); err != nil {
		t.Fatal(err)
	}
	return streamTalk{c}
}

// TestNoSync: what a filter matches stays here; one that is set withdraws what
// was told, one that is taken away announces it.
func TestNoSync(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: filterRules})
	for _, port := range []string{"5001", "5002", "5003", "5004", "5005", "5006", "5999"} {
		p.Server.Echo(t, "udp4", nstest.ServerAddr+":"+port)
	}
	for _, c := range filterCases {
		t.Run(c.filter, func(t *testing.T) { p.filtered(t, c) })
	}
}

func (p *pair) filtered(t *testing.T, c filterCase) {
	line := []string{"udp", "dport=" + c.port}
	talk := p.udpTo(t, c.port)
	waitFlow(t, p.FW[1], true, "ipv4", line...)

	p.n[0].set("nosync", c.filter)
	waitFlow(t, p.FW[1], false, "ipv4", line...)
	waitFlow(t, p.FW[0], true, "ipv4", line...)
	if err := talk.ask("still there", patience); err != nil {
		t.Error(err)
	}
	p.udpTo(t, c.port)
	if c.filter != "proto udp" && !strings.HasPrefix(c.filter, "addr") {
		p.udpTo(t, "5999") // later, and so behind it in the queue
		waitFlow(t, p.FW[1], true, "ipv4", "udp", "dport=5999")
		p.FW[0].Run(t, "conntrack", "-D", "-p", "udp", "--dport", "5999")
	}
	if n := countFlows(t, p.FW[1], line); n != 0 {
		t.Errorf("%d connections told", n)
	}

	p.n[0].set("-nosync", c.filter)
	nstest.Eventually(t, patience, func() bool { return countFlows(t, p.FW[1], line) == 2 }, "two connections announced")
	p.FW[0].Run(t, "conntrack", "-D", "-p", "udp", "--dport", c.port)
	waitFlow(t, p.FW[1], false, "ipv4", line...)
}

// countFlows counts entries by the words of their lines.
func countFlows(t *testing.T, ns *nstest.NS, words []string) (n int) {
	t.Helper()
	for _, l := range ns.Conntrack(t) {
		if containsAll(l, words) {
			n++
		}
	}
	return n
}

// TestNoSyncThere: a filter of the firewall that does not carry a connection
// takes its copy away and nothing else, until it is taken away itself.
func TestNoSyncThere(t *testing.T) {
	p := newPair(t, nstest.Options{})
	p.Server.Echo(t, "udp4", nstest.ServerAddr+":5005")
	talk := p.udpTo(t, "5005")
	line := []string{"udp", "dport=5005"}
	waitFlow(t, p.FW[1], true, "ipv4", line...)
	p.n[1].set("nosync", "port 5005")
	waitFlow(t, p.FW[1], false, "ipv4", line...)
	waitFlow(t, p.FW[0], true, "ipv4", line...)
	if err := talk.ask("still there", patience); err != nil {
		t.Error(err)
	}
	p.n[1].set("-nosync", "port 5005")
	waitFlow(t, p.FW[1], true, "ipv4", line...)
}

// keepState is what pfsync(4) shows for pf's keep state (no-sync): connections
// a rule marks are not told.
const keepState = `
table inet nosync {
	chain forward {
		type filter hook forward priority filter - 1;
		ct state new tcp dport 8080 ct mark set ct mark or 0x100
	}
}
`

// TestKeepStateNoSync is the example of pfsync(4).
func TestKeepStateNoSync(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: keepState})
	for _, n := range p.n {
		n.set("nosync", "mark 0x100/0x100")
	}
	for _, port := range []string{"8080", "8081"} {
		to := p.Server.Echo(t, "tcp4", nstest.ServerAddr+":"+port)
		if err := nstest.Ask(p.Client.Dial(t, "tcp4", to), "hello", patience); err != nil {
			t.Fatal(err)
		}
	}
	waitFlow(t, p.FW[1], true, "ipv4", "tcp", "ESTABLISHED", "dport=8081")
	if lines := strings.Join(p.FW[1].Conntrack(t), "\n"); strings.Contains(lines, "dport=8080") {
		t.Errorf("told:\n%s", lines)
	}
}
