package keepalived

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// The network of the two files, and what they call things. Firewall A has the
// addresses that end in 2, B those that end in 3.
const (
	outDev, inDev, syncDev = "eth0", "eth1", "eth2"

	sharedOut, sharedOut6 = "198.51.100.1", "2001:db8:0:1::1"
	sharedIn, sharedIn6   = "192.168.1.1", "2001:db8:0:2::1"

	server, server6 = "198.51.100.80", "2001:db8:0:1::80"
	serverPlain     = "198.51.100.81" // where the source is not translated
	client, client6 = "192.168.1.10", "2001:db8:0:2::10"
)

// Ports of the client that the outside reaches at the shared address.
const portOut, portIn = 8080, 7070

// rules are those of pfsync(4), with translation both ways and IPv6. Of TCP
// only a SYN begins anything (and tcp_loose is off).
const rules = `
table inet filter {
	counter invalid { }
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		iifname "eth2" meta l4proto 240 accept
		iifname { "eth0", "eth1" } meta l4proto 112 accept
		ct state established,related accept
		meta l4proto { icmp, ipv6-icmp } accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid counter name invalid drop
		meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn drop
		iifname "eth1" oifname "eth0" ct state new accept
		iifname "eth0" oifname "eth1" ct status dnat accept
	}
}
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		iifname "eth0" ip daddr 198.51.100.1 meta l4proto { tcp, udp } th dport 8080 dnat to 192.168.1.10:7070
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth0" ip saddr 192.168.1.0/24 ip daddr != 198.51.100.81 snat to 198.51.100.1
	}
}
table inet raw {
	chain prerouting {
		type filter hook prerouting priority raw;
		meta l4proto { 112, 240 } notrack
	}
	chain output {
		type filter hook output priority raw;
		meta l4proto { 112, 240 } notrack
	}
}
`

// knownRules: from here on UDP too passes only if the kernel knows it.
const knownRules = `
table inet known {
	chain forward {
		type filter hook forward priority filter - 1;
		meta l4proto udp ct state new drop
	}
}
`

// wires are a port on a switch for each of a machine's interfaces.
type wires map[string]struct {
	sw   *nstest.Bridge
	port string
}

// cut takes the cables out: no carrier at this end.
func (w wires) cut(t *testing.T, devs ...string) { w.set(t, "down", devs) }

// mend puts them back, all at once.
func (w wires) mend(t *testing.T, devs ...string) { w.set(t, "up", devs) }

func (w wires) set(t *testing.T, word string, devs []string) {
	t.Helper()
	for _, dev := range devs {
		w[dev].sw.NS().Run(t, "ip", "link", "set", w[dev].port, word)
	}
}

// States of a port of a switch, as bridge(8) numbers them.
const (
	portListening  = "1"
	portLearning   = "2"
	portForwarding = "3"
)

// portState puts the switch port of an interface in a state of the spanning
// tree: it has its carrier, and only forwarding lets frames through.
func (w wires) portState(t *testing.T, dev, state string) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error { // not before the port has a carrier
		_, err := w[dev].sw.NS().Try("bridge", "link", "set", "dev", w[dev].port, "state", state)
		return err
	}, "port of the switch")
}

// network is everything but the programs.
type network struct {
	bed            *nstest.Bed
	client, server *nstest.NS
	fw             [2]*machine
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	bed := nstest.New(t, "keepalived", "unshare", "bridge")
	n := &network{bed: bed, client: bed.NS("client"), server: bed.NS("server")}
	out, in, cable := bed.Bridge("outside"), bed.Bridge("inside"), bed.Bridge("sync")
	in.Plug(n.client, outDev)
	out.Plug(n.server, outDev)
	n.client.Addr(t, outDev, client+"/24", client6+"/64")
	n.server.Addr(t, outDev, server+"/24", serverPlain+"/24", server6+"/64")
	for i, name := range []string{"a", "b"} {
		m := newMachine(t, bed.NS("fw-"+name), name)
		m.wires = wires{}
		for dev, sw := range map[string]*nstest.Bridge{outDev: out, inDev: in, syncDev: cable} {
			w := m.wires[dev]
			w.sw, w.port = sw, sw.Plug(m.NS, dev)
			m.wires[dev] = w
		}
		m.Addr(t, outDev, fmt.Sprintf("198.51.100.%d/24", i+2), fmt.Sprintf("2001:db8:0:1::%d/64", i+2))
		m.Addr(t, inDev, fmt.Sprintf("192.168.1.%d/24", i+2), fmt.Sprintf("2001:db8:0:2::%d/64", i+2))
		m.Addr(t, syncDev, fmt.Sprintf("192.168.254.%d/24", i+2))
		for key, val := range map[string]string{
			"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1",
			"net.ipv4.conf.all.send_redirects": "0", "net.netfilter.nf_conntrack_tcp_loose": "0",
		} {
			m.Sysctl(t, key, val)
		}
		// A neighbour that was asked for while the cable was out is asked for again
		// a second later, which would be the longest gap of all: ask ten times as
		// often, for as long.
		for _, dev := range []string{outDev, inDev} {
			for _, family := range []string{"ipv4", "ipv6"} {
				m.Sysctl(t, "net."+family+".neigh."+dev+".retrans_time_ms", "100")
				m.Sysctl(t, "net."+family+".neigh."+dev+".mcast_solicit", "30")
			}
		}
		m.Nft(t, rules)
		n.fw[i] = m
	}
	for _, route := range [][]string{{"ip", "route", "add", "default", "via"}, {"ip", "-6", "route", "add", "default", "via"}} {
		six := len(route) > 5
		n.client.Run(t, append(route, map[bool]string{false: sharedIn, true: sharedIn6}[six])...)
		n.server.Run(t, append(route, map[bool]string{false: sharedOut, true: sharedOut6}[six])...)
	}
	return n
}
