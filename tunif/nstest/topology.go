package nstest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Interfaces of a firewall in a Topology. Client and server have one, LANDev.
const (
	LANDev  = "eth0" // towards the client
	WANDev  = "eth1" // towards the server
	SyncDev = "eth2" // towards the other firewalls
)

// Addresses in a Topology. Firewall i (from 0) has .2+i in each of the three
// networks, IPv6 likewise; the gateway addresses are those of the master.
const (
	ClientAddr  = "10.0.1.10"
	ServerAddr  = "10.0.2.10"
	InsideAddr  = "10.0.1.1" // the client's gateway
	OutsideAddr = "10.0.2.1" // the server's gateway; with SNAT what it sees of the client

	ClientAddr6  = "fd00:1::10"
	ServerAddr6  = "fd00:2::10"
	InsideAddr6  = "fd00:1::1"
	OutsideAddr6 = "fd00:2::1"
)

// StrictRules lets a connection through only if the state table knows it or
// its first packet may begin one; everything else is dropped, and counted
// where it is invalid. [Topology.Invalid] reads that counter.
const StrictRules = `
table inet strict {
	counter invalid { }
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid counter name invalid drop
		meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn drop
		ct state new accept
	}
}
`

// snatRules gives forwarded connections the shared outside address.
const snatRules = `
table ip source {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "` + WANDev + `" ip saddr 10.0.1.0/24 snat to ` + OutsideAddr + `
	}
}
`

// Options of a Topology.
type Options struct {
	Firewalls int    // 2 when 0
	SNAT      bool   // IPv4 connections leave with OutsideAddr
	Rules     string // nftables ruleset loaded on each firewall beside StrictRules
	Patient   bool   // entries that end soon outlast a test on a slow machine
}

// Topology is client – firewalls – server with a sync link among the
// firewalls: a pair of interfaces for two of them, a switch for more. Nothing
// of pfsync runs in it. Firewall 0 is master.
type Topology struct {
	Bed            *Bed
	Client, Server *NS
	FW             []*NS

	t testing.TB
}

// NewTopology builds the topology in a new bed; the test is skipped as by New.
func NewTopology(t testing.TB, o Options) *Topology {
	t.Helper()
	bed := New(t)
	top := &Topology{Bed: bed, Client: bed.NS("client"), Server: bed.NS("server"), t: t}
	lan, wan := bed.Bridge("lan"), bed.Bridge("wan")
	lan.Plug(top.Client, LANDev)
	wan.Plug(top.Server, LANDev)
	top.Client.Addr(t, LANDev, ClientAddr+"/24", ClientAddr6+"/64")
	top.Server.Addr(t, LANDev, ServerAddr+"/24", ServerAddr6+"/64")
	for i := range max(o.Firewalls, 2) {
		fw := bed.NS(fmt.Sprintf("fw%d", i+1))
		top.FW = append(top.FW, fw)
		lan.Plug(fw, LANDev)
		wan.Plug(fw, WANDev)
	}
	top.cableSync()
	for i := range top.FW {
		top.setup(i, o)
	}
	top.Master(0)
	gateway(t, top.Client, InsideAddr, InsideAddr6)
	gateway(t, top.Server, OutsideAddr, OutsideAddr6)
	return top
}

func gateway(t testing.TB, ns *NS, addr, addr6 string) {
	t.Helper()
	ns.Run(t, "ip", "route", "add", "default", "via", addr)
	ns.Run(t, "ip", "-6", "route", "add", "default", "via", addr6)
}

func (top *Topology) cableSync() {
	top.t.Helper()
	if len(top.FW) == 2 {
		top.Bed.Veth(top.FW[0], SyncDev, top.FW[1], SyncDev)
		return
	}
	br := top.Bed.Bridge("sync")
	for _, fw := range top.FW {
		br.Plug(fw, SyncDev)
	}
}

// soonOver are timeouts of minutes at most that the tests would have to beat.
var soonOver = []string{
	"udp_timeout", "udp_timeout_stream", "icmp_timeout", "icmpv6_timeout", "gre_timeout", "gre_timeout_stream",
	"sctp_timeout_cookie_wait", "sctp_timeout_cookie_echoed",
}

func (top *Topology) setup(i int, o Options) {
	t, fw := top.t, top.FW[i]
	t.Helper()
	for n, dev := range []string{LANDev, WANDev, SyncDev} {
		fw.Addr(t, dev, fmt.Sprintf("10.0.%d.%d/24", n+1, i+2), fmt.Sprintf("fd00:%d::%d/64", n+1, i+2))
	}
	fw.Sysctl(t, "net.ipv4.ip_forward", "1")
	fw.Sysctl(t, "net.ipv6.conf.all.forwarding", "1")
	fw.Sysctl(t, "net.ipv4.conf.all.send_redirects", "0")
	fw.Sysctl(t, "net.netfilter.nf_conntrack_tcp_loose", "0")
	if o.Patient {
		for _, key := range soonOver {
			fw.Sysctl(t, "net.netfilter.nf_conntrack_"+key, "600")
		}
	}
	fw.Nft(t, StrictRules)
	if o.SNAT {
		fw.Nft(t, snatRules)
	}
	if o.Rules != "" {
		fw.Nft(t, o.Rules)
	}
}

// SyncAddr is the IPv4 address of firewall i on the sync link.
func (top *Topology) SyncAddr(i int) string { return fmt.Sprintf("10.0.3.%d", i+2) }

// SyncAddr6 is the IPv6 counterpart of SyncAddr.
func (top *Topology) SyncAddr6(i int) string { return fmt.Sprintf("fd00:3::%d", i+2) }

// Master makes firewall i the one that client and server send to, from one
// packet to the next: it takes the gateway addresses from the others, and the
// neighbour entries of client and server are set rather than learned.
func (top *Topology) Master(i int) {
	t := top.t
	t.Helper()
	fw := top.FW[i]
	fw.Run(t, "ip", "addr", "replace", InsideAddr+"/24", "dev", LANDev)
	fw.Run(t, "ip", "addr", "replace", OutsideAddr+"/24", "dev", WANDev)
	fw.Run(t, "ip", "addr", "replace", InsideAddr6+"/64", "dev", LANDev, "nodad")
	fw.Run(t, "ip", "addr", "replace", OutsideAddr6+"/64", "dev", WANDev, "nodad")
	lan := fw.Interface(t, LANDev).HardwareAddr.String()
	wan := fw.Interface(t, WANDev).HardwareAddr.String()
	for _, n := range []struct {
		ns        *NS
		addr, mac string
	}{
		{top.Client, InsideAddr, lan}, {top.Client, InsideAddr6, lan},
		{top.Server, OutsideAddr, wan}, {top.Server, OutsideAddr6, wan},
	} {
		n.ns.Run(t, "ip", "neigh", "replace", n.addr, "lladdr", n.mac, "dev", LANDev, "nud", "permanent")
	}
	for j, other := range top.FW {
		if j != i {
			other.dropAddrs(t, LANDev, InsideAddr+"/24", InsideAddr6+"/64")
			other.dropAddrs(t, WANDev, OutsideAddr+"/24", OutsideAddr6+"/64")
		}
	}
}

// dropAddrs removes those of the addresses that the interface has.
func (ns *NS) dropAddrs(t testing.TB, dev string, prefixes ...string) {
	t.Helper()
	have := ns.Run(t, "ip", "-o", "addr", "show", "dev", dev)
	for _, p := range prefixes {
		if strings.Contains(have, " "+p+" ") {
			ns.Run(t, "ip", "addr", "del", p, "dev", dev)
		}
	}
}

// Kill takes all links from firewall i, as a loss of power does: its
// neighbours see the carrier of the sync link go. Its processes run on.
func (top *Topology) Kill(i int) {
	top.t.Helper()
	for _, dev := range []string{LANDev, WANDev, SyncDev} {
		top.FW[i].Down(top.t, dev)
	}
}

// Revive gives firewall i its links back. It is not master by that.
func (top *Topology) Revive(i int) {
	top.t.Helper()
	for _, dev := range []string{LANDev, WANDev, SyncDev} {
		top.FW[i].Up(top.t, dev)
		top.FW[i].WaitCarrier(top.t, dev)
	}
}

var packetCount = regexp.MustCompile(`packets (\d+)`)

// Invalid is the number of packets firewall i has dropped as ct state invalid.
func (top *Topology) Invalid(i int) int {
	top.t.Helper()
	out := top.FW[i].Run(top.t, "nft", "list", "counter", "inet", "strict", "invalid")
	m := packetCount.FindStringSubmatch(out)
	if m == nil {
		top.t.Fatalf("nstest: no counter in %q", out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		top.t.Fatal(err)
	}
	return n
}
