package daemon

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// The servers behind the firewalls: each address is treated otherwise.
const (
	masqOutside  = "10.0.4.1" // shared, and the only one of the firewalls in its network: what masquerade takes
	masqOutside6 = "fd00:4::1"
)

// translation is how the firewalls treat connections to an address.
type translation struct {
	name string
	host [2]byte // last part of the address asked for and of the server's, see asked and served
	masq bool    // in the network of masqOutside
	dnat bool    // asked for at an address that nobody has
	port int     // asked for, where the protocol has ports; the server's is talkPort
}

const talkPort = 7007

var translations = []translation{
	{"none", [2]byte{10, 10}, false, false, talkPort},
	{"snat", [2]byte{11, 11}, false, false, talkPort},
	{"snat, port changed", [2]byte{12, 12}, false, false, talkPort},
	{"masquerade", [2]byte{13, 13}, true, false, talkPort},
	{"dnat", [2]byte{14, 14}, false, true, talkPort},
	{"dnat, port changed", [2]byte{15, 15}, false, true, 9009},
	{"both", [2]byte{16, 16}, false, true, talkPort},
	{"both, ports changed", [2]byte{17, 17}, false, true, 9009},
}

// asked is where the client sends to.
func (x *translation) asked(six bool) string {
	switch {
	case x.dnat && six:
		return fmt.Sprintf("2001:db8::%d", x.host[0])
	case x.dnat:
		return fmt.Sprintf("192.0.2.%d", x.host[0])
	}
	return x.served(six)
}

// served is the address of the server.
func (x *translation) served(six bool) string {
	net := 2
	if x.masq {
		net = 4
	}
	if six {
		return fmt.Sprintf("fd00:%d::%d", net, x.host[1])
	}
	return fmt.Sprintf("10.0.%d.%d", net, x.host[1])
}

// natRules treat each address as its translation says. fully-random picks a
// port, or an ICMP id, other than the client's.
const natRules = `
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		meta l4proto { tcp, udp, udplite } ip daddr 192.0.2.15 dnat to 10.0.2.15:7007
		meta l4proto { tcp, udp, udplite } ip daddr 192.0.2.17 dnat to 10.0.2.17:7007
		ip daddr 192.0.2.14 dnat to 10.0.2.14
		ip daddr 192.0.2.15 dnat to 10.0.2.15
		ip daddr 192.0.2.16 dnat to 10.0.2.16
		ip daddr 192.0.2.17 dnat to 10.0.2.17
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip daddr { 10.0.2.11, 10.0.2.16 } snat to 10.0.2.1
		ip daddr { 10.0.2.12, 10.0.2.17 } snat to 10.0.2.1 fully-random
		ip daddr 10.0.4.13 masquerade
	}
}
table ip6 nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		meta l4proto { tcp, udp, udplite } ip6 daddr 2001:db8::15 dnat to [fd00:2::15]:7007
		meta l4proto { tcp, udp, udplite } ip6 daddr 2001:db8::17 dnat to [fd00:2::17]:7007
		ip6 daddr 2001:db8::14 dnat to fd00:2::14
		ip6 daddr 2001:db8::15 dnat to fd00:2::15
		ip6 daddr 2001:db8::16 dnat to fd00:2::16
		ip6 daddr 2001:db8::17 dnat to fd00:2::17
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip6 daddr { fd00:2::11, fd00:2::16 } snat to fd00:2::1
		ip6 daddr { fd00:2::12, fd00:2::17 } snat to fd00:2::1 fully-random
		ip6 daddr fd00:4::13 masquerade
	}
}
`

// knownRules let nothing begin any more: from here on a packet passes only if
// the kernel knows its connection, whatever the protocol.
const knownRules = `
table inet known {
	chain forward {
		type filter hook forward priority filter - 1;
		ip6 nexthdr icmpv6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state new counter drop
	}
}
`

// newNatted is a pair with natRules, and more, and the addresses for them.
func newNatted(t *testing.T, rules ...string) *pair {
	t.Helper()
	p := newPair(t, nstest.Options{Rules: natRules + strings.Join(rules, ""), Patient: true})
	p.serveTranslations(t)
	return p
}

// serveTranslations gives the servers and firewalls the addresses that the
// translations need.
func (p *pair) serveTranslations(t *testing.T) {
	t.Helper()
	for i := range translations {
		x := &translations[i]
		for six, bits := range map[bool]string{false: "/24", true: "/64"} {
			if x.served(six) != nstest.ServerAddr && x.served(six) != nstest.ServerAddr6 {
				p.Server.Addr(t, nstest.LANDev, x.served(six)+bits)
			}
		}
	}
	for _, ns := range []*nstest.NS{p.Client, p.Server, p.FW[0], p.FW[1]} {
		ns.Sysctl(t, "net.netfilter.nf_conntrack_checksum", "0") // linux-facts 8: it takes UDP-Lite for UDP
	}
	p.move(t, 0)
}

// move makes firewall i master of all shared addresses.
func (p *pair) move(t *testing.T, i int) {
	t.Helper()
	p.FW[i].Run(t, "ip", "addr", "replace", masqOutside+"/24", "dev", nstest.WANDev)
	p.FW[i].Run(t, "ip", "addr", "replace", masqOutside6+"/64", "dev", nstest.WANDev, "nodad")
	mac := p.FW[i].Interface(t, nstest.WANDev).HardwareAddr.String()
	for _, addr := range []string{masqOutside, masqOutside6} {
		p.Server.Run(t, "ip", "neigh", "replace", addr, "lladdr", mac, "dev", nstest.LANDev, "nud", "permanent")
	}
	p.Master(i)
	other := p.FW[1-i]
	if have := other.Run(t, "ip", "-o", "addr", "show", "dev", nstest.WANDev); strings.Contains(have, masqOutside) {
		other.Run(t, "ip", "addr", "del", masqOutside+"/24", "dev", nstest.WANDev)
		other.Run(t, "ip", "addr", "del", masqOutside6+"/64", "dev", nstest.WANDev)
	}
}

// protoNames are the protocols taken over. 253 is one that nobody knows.
var protoNames = []struct {
	name  string
	proto [2]uint8 // IPv4, IPv6
}{
	{"tcp", [2]uint8{6, 6}},
	{"udp", [2]uint8{17, 17}},
	{"udplite", [2]uint8{136, 136}},
	{"icmp", [2]uint8{1, 58}},
	{"gre", [2]uint8{47, 47}},
	{"esp", [2]uint8{50, 50}},
	{"ah", [2]uint8{protoAH, protoAH}},
	{"253", [2]uint8{253, 253}},
}

// conn is one connection of the table.
type conn struct {
	name  string
	six   bool
	proto uint8
	to    string
	nat   string
	talk
	close func()
	err   error // of the last ask
}

// through is how the connection's reply tuple shows its translation.
func (c *conn) through() string {
	outside := map[string][2]string{
		"none": {nstest.ClientAddr, nstest.ClientAddr6}, "dnat": {nstest.ClientAddr, nstest.ClientAddr6},
		"snat": {nstest.OutsideAddr, nstest.OutsideAddr6}, "both": {nstest.OutsideAddr, nstest.OutsideAddr6},
		"masquerade": {masqOutside, masqOutside6},
	}
	kind, _, _ := strings.Cut(c.nat, ",")
	if c.six {
		return outside[kind][1]
	}
	return outside[kind][0]
}

// begin opens a connection of each protocol, family and translation.
func (p *pair) begin(t *testing.T) []*conn {
	t.Helper()
	var conns []*conn
	for i := range translations {
		x := &translations[i]
		for _, pr := range protoNames {
			for k, six := range []bool{false, true} {
				c := &conn{name: fmt.Sprintf("%s/IPv%d/%s", pr.name, 4+2*k, x.name), six: six, proto: pr.proto[k], to: x.asked(six), nat: x.name}
				c.close = serveTalk(t, p.Server, c.proto, x.served(six), talkPort)
				c.talk = openTalk(t, p.Client, c.proto, c.to, x.port)
				if six && c.proto == protoAH {
					c.proto = behindAH // as which it is tracked
				}
				conns = append(conns, c)
			}
		}
	}
	return conns
}

// askAll lets all connections ask at once and tells of those without answer.
func askAll(t *testing.T, conns []*conn, where string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() { c.err = c.ask("word "+where, patience/6) })
	}
	wg.Wait()
	for _, c := range conns {
		t.Run(where+"/"+c.name, func(t *testing.T) {
			if c.err != nil {
				t.Error(c.err)
			}
		})
	}
}

// waitKnown waits until a kernel knows all connections as answered.
func (p *pair) waitKnown(t *testing.T, ns *nstest.NS, conns []*conn) {
	t.Helper()
	nstest.EventuallyNil(t, patience/3, func() error {
		var lines [2][]string
		for k, family := range []string{"ipv4", "ipv6"} {
			lines[k] = ns.Conntrack(t, "-f", family)
		}
		for _, c := range conns {
			k := 0
			if c.six {
				k = 1
			}
			if !answered(lines[k], c) {
				return errorText(c.name + "\n" + strings.Join(lines[k], "\n"))
			}
		}
		return nil
	}, "all connections in the kernel of "+ns.Name())
}

// answered looks for the entry of c, translated as it should be, in lines of
// conntrack -L.
func answered(lines []string, c *conn) bool {
	for _, l := range lines {
		f := strings.Fields(l)
		i := strings.Index(l, " dst=")
		if i > 0 && len(f) > 1 && f[1] == fmt.Sprint(c.proto) && strings.HasPrefix(l[i:], " dst="+c.to+" ") {
			return strings.Contains(l, " dst="+c.through()+" ") && !strings.Contains(l, "[UNREPLIED]")
		}
	}
	return false
}

// TestTakeover: whatever the protocol, the family and the translation, a
// connection begun through the first firewall goes on through the second, and
// through the first again, and not a packet of it is taken for a new or an
// invalid one.
func TestTakeover(t *testing.T) {
	p := newNatted(t)
	conns := p.begin(t)
	bulk, probes := p.startBulk(t), p.startProbes(t)
	askAll(t, conns, "begun")
	p.waitKnown(t, p.FW[1], conns)
	for _, fw := range p.FW {
		fw.Nft(t, knownRules)
	}
	bulk.pass(t, "begun")
	for _, step := range []struct {
		name string
		to   int
	}{{"takeover", 1}, {"failback", 0}, {"takeover again", 1}} {
		p.move(t, step.to)
		askAll(t, conns, step.name)
		bulk.pass(t, step.name)
		if n := p.Invalid(step.to); n > 0 {
			t.Errorf("%s: %d invalid packets", step.name, n)
		}
		p.waitKnown(t, p.FW[1-step.to], conns) // also what it lost with its addresses
	}
	p.refusals(t, conns)
	p.tooBig(t, probes)
}

// refusals: a server that closes its port tells so with the translated packet
// in its ICMP error, and the client hears of its own.
func (p *pair) refusals(t *testing.T, conns []*conn) {
	for _, c := range conns {
		if c.proto != pfstate.ProtoUDP {
			continue
		}
		c.close()
		t.Run("port unreachable/"+c.name, func(t *testing.T) {
			if err := c.ask("anybody", patience/2); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%v, want %v", err, unix.ECONNREFUSED)
			}
		})
	}
}
