package conntrack

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// Public addresses of the server, which only translation leads to.
const (
	public4 = "198.51.100.1"
	public6 = "2001:db8:99::1"
)

// natHooks makes a firewall able to translate, without a rule that does.
const natHooks = `table inet hooks {
	chain pre { type nat hook prerouting priority dstnat; }
	chain post { type nat hook postrouting priority srcnat; }
}`

// natRules translate by destination port: 7002 source, 7003 source and its
// port, 7004 destination and its port, 7005 both; ping likewise by address.
const natRules = `table inet nat {
	chain pre {
		type nat hook prerouting priority dstnat;
		meta l4proto { tcp, udp } th dport 7004 dnat ip to ` + nstest.ServerAddr + `:7104
		meta l4proto { tcp, udp } th dport 7004 dnat ip6 to [` + nstest.ServerAddr6 + `]:7104
		meta l4proto { tcp, udp } th dport 7005 dnat ip to ` + nstest.ServerAddr + `:7105
		meta l4proto { tcp, udp } th dport 7005 dnat ip6 to [` + nstest.ServerAddr6 + `]:7105
		ip daddr ` + public4 + ` dnat ip to ` + nstest.ServerAddr + `
		ip6 daddr ` + public6 + ` dnat ip6 to ` + nstest.ServerAddr6 + `
	}
	chain post {
		type nat hook postrouting priority srcnat;
		meta l4proto { tcp, udp } th dport { 7002, 7105 } snat ip to ` + nstest.OutsideAddr + `
		meta l4proto { tcp, udp } th dport { 7002, 7105 } snat ip6 to ` + nstest.OutsideAddr6 + `
		meta l4proto { tcp, udp } th dport 7003 snat ip to ` + nstest.OutsideAddr + `:31000-31999
		meta l4proto { tcp, udp } th dport 7003 snat ip6 to [` + nstest.OutsideAddr6 + `]:31000-31999
		ip saddr ` + nstest.ClientAddr + ` icmp type echo-request icmp id 2 snat ip to ` + nstest.OutsideAddr + `
		ip6 saddr ` + nstest.ClientAddr6 + ` icmpv6 type echo-request icmpv6 id 2 snat ip6 to ` + nstest.OutsideAddr6 + `
	}
}`

// onlyEstablished lets a firewall forward nothing but what its table knows.
const onlyEstablished = `table inet only {
	counter refused { }
	chain forward {
		type filter hook forward priority 1; policy drop;
		ct state established accept
		counter name refused
	}
}`

// natPath is one connection through the firewalls.
type natPath struct {
	name     string
	network  string // tcp, udp or ip…
	addr     string // what the client connects to
	src, dst bool   // what is translated
	conn     net.Conn
	id       uint16 // of ping
	seen     string // the client as the server sees it
	flow     pfstate.Flow
}

func natPaths() (paths []*natPath) {
	for _, fam := range []struct{ n, server, public string }{
		{"4", nstest.ServerAddr, public4}, {"6", "[" + nstest.ServerAddr6 + "]", "[" + public6 + "]"},
	} {
		for _, network := range []string{"tcp", "udp"} {
			add := func(name, addr string, port int, src, dst bool) {
				paths = append(paths, &natPath{name: network + fam.n + " " + name, network: network, addr: fmt.Sprintf("%s:%d", addr, port), src: src, dst: dst})
			}
			add("plain", fam.server, 7001, false, false)
			add("snat", fam.server, 7002, true, false)
			add("snat and port", fam.server, 7003, true, false)
			add("dnat", fam.public, 7004, false, true)
			add("both", fam.public, 7005, true, true)
		}
		icmp := map[string]string{"4": "ip4:icmp", "6": "ip6:ipv6-icmp"}[fam.n]
		paths = append(paths,
			&natPath{name: "ping" + fam.n, network: icmp, addr: strings.Trim(fam.server, "[]"), id: 1},
			&natPath{name: "ping" + fam.n + " snat", network: icmp, addr: strings.Trim(fam.server, "[]"), id: 2, src: true},
			&natPath{name: "ping" + fam.n + " dnat", network: icmp, addr: strings.Trim(fam.public, "[]"), id: 3, dst: true})
	}
	return paths
}

// TestNATTakeover moves connections with and without translation to a firewall
// that has no rule for them and forwards only what it knows: with the entries
// of the first inserted there they go on, translated as before; and back.
func TestNATTakeover(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{Rules: natHooks})
	top.FW[0].Nft(t, natRules)
	top.FW[1].Nft(t, onlyEstablished)
	serveWho(t, top.Server)
	paths := natPaths()
	for _, p := range paths {
		p.open(t, top.Client)
		p.seen = p.ask(t, "first firewall")
		p.ask(t, "first firewall again")
	}
	takeFlows(t, top.FW[0], paths)

	second := newInjector(t, top.FW[1])
	for _, p := range paths {
		p.flow.TCPFlags[0] |= pfstate.TCPFlagLiberal
		p.flow.TCPFlags[1] |= pfstate.TCPFlagLiberal
		must(t, second, pfstate.OpCreate, p.flow, pfstate.ResultOK)
	}
	stranger := &natPath{name: "not inserted", network: "udp", addr: nstest.ServerAddr + ":7001"}
	stranger.open(t, top.Client)
	stranger.ask(t, "first firewall")

	top.Master(1)
	for _, p := range paths {
		if seen := p.ask(t, "second firewall"); seen != p.seen {
			t.Errorf("%s: the server sees %s, before %s", p.name, seen, p.seen)
		}
	}
	if n := refused(t, top.FW[1]); n != 0 {
		t.Errorf("the second firewall refused %d packets", n)
	}
	io.WriteString(stranger.conn, "x")
	nstest.Eventually(t, patience, func() bool { return refused(t, top.FW[1]) == 1 }, "the unknown connection to be refused")

	first := newInjector(t, top.FW[0])
	takeFlows(t, top.FW[1], paths)
	for _, p := range paths {
		must(t, first, pfstate.OpUpdate, p.flow, pfstate.ResultOK)
	}
	top.Master(0)
	for _, p := range paths {
		if seen := p.ask(t, "first firewall, back"); seen != p.seen {
			t.Errorf("%s: back, the server sees %s, before %s", p.name, seen, p.seen)
		}
	}
	if n := top.Invalid(0) + top.Invalid(1); n != 0 {
		t.Errorf("%d packets were invalid", n)
	}
}

// takeFlows reads the entries of the paths from a firewall and checks that they
// are translated as they should be.
func takeFlows(t *testing.T, fw *nstest.NS, paths []*natPath) {
	t.Helper()
	flows, end := dumpAll(t, newDumper(t, fw), Filter{})
	if end.Kind != pfstate.EventDumpEnd {
		t.Fatalf("the dump ended with %d", end.Kind)
	}
	for _, p := range paths {
		found := false
		for _, f := range flows {
			if !p.matches(&f) {
				continue
			}
			if src, dst := f.Translated(); src != p.src || dst != p.dst {
				t.Errorf("%s: source translated %v, destination %v: %+v", p.name, src, dst, f)
			}
			p.flow, found = f, true
		}
		if !found {
			t.Fatalf("%s: no entry", p.name)
		}
	}
}

// matches reports whether f is the path's entry.
func (p *natPath) matches(f *pfstate.Flow) bool {
	if p.id != 0 {
		dst, _ := pfstate.AddrFrom(netip.MustParseAddr(p.addr))
		return (f.Proto == pfstate.ProtoICMP || f.Proto == pfstate.ProtoICMPv6) && f.Orig.SrcPort == p.id && f.Orig.Dst == dst
	}
	proto := map[string]uint8{"tcp": pfstate.ProtoTCP, "udp": pfstate.ProtoUDP}[p.network]
	local := netip.MustParseAddrPort(p.conn.LocalAddr().String())
	remote := netip.MustParseAddrPort(p.addr)
	dst, _ := pfstate.AddrFrom(remote.Addr())
	return f.Proto == proto && f.Orig.SrcPort == local.Port() && f.Orig.DstPort == remote.Port() && f.Orig.Dst == dst
}

func (p *natPath) open(t *testing.T, client *nstest.NS) {
	t.Helper()
	p.conn = client.Dial(t, p.network, p.addr)
}

// ask sends something and gives the answer: who the server sees.
func (p *natPath) ask(t *testing.T, when string) string {
	t.Helper()
	p.conn.SetDeadline(time.Now().Add(patience))
	if p.id != 0 {
		if err := p.ping(when); err != nil {
			t.Fatalf("%s, %s: %v", p.name, when, err)
		}
		return ""
	}
	buf := make([]byte, 256)
	if _, err := io.WriteString(p.conn, "who"); err != nil {
		t.Fatalf("%s, %s: %v", p.name, when, err)
	}
	n, err := p.conn.Read(buf)
	if err != nil {
		t.Fatalf("%s, %s: %v", p.name, when, err)
	}
	return string(buf[:n])
}

// ping sends an echo request and waits for the reply that repeats its text.
func (p *natPath) ping(text string) error {
	typ, reply := byte(8), byte(0)
	if strings.HasPrefix(p.network, "ip6") {
		typ, reply = 128, 129
	}
	msg := append([]byte{typ, 0, 0, 0, byte(p.id >> 8), byte(p.id), 0, 1}, text...)
	if typ == 8 {
		sum := checksum(msg)
		msg[2], msg[3] = byte(sum>>8), byte(sum)
	}
	if _, err := p.conn.Write(msg); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := p.conn.(*net.IPConn).ReadFrom(buf)
		if err != nil {
			return err
		}
		b := buf[:n]
		if len(b) >= 8 && b[0] == reply && b[4] == byte(p.id>>8) && b[5] == byte(p.id) && string(b[8:]) == text {
			return nil
		}
	}
}

// checksum is RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// serveWho answers every question with the address it came from, and drops
// pings 2 that come from the client itself.
func serveWho(t *testing.T, server *nstest.NS) {
	t.Helper()
	for _, port := range []string{":7001", ":7002", ":7003", ":7104", ":7105"} {
		l := server.Listen(t, "tcp", port)
		go whoStreams(l)
		c := server.ListenPacket(t, "udp", port)
		go whoPackets(c)
	}
	server.Nft(t, `table inet who { chain in { type filter hook input priority 0;
		ip saddr `+nstest.ClientAddr+` icmp type echo-request icmp id 2 drop
		ip6 saddr `+nstest.ClientAddr6+` icmpv6 type echo-request icmpv6 id 2 drop
	}; }`)
}

func whoStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 256)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				io.WriteString(c, c.RemoteAddr().String())
			}
		}()
	}
}

func whoPackets(c net.PacketConn) {
	buf := make([]byte, 256)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo([]byte(from.String()), from)
	}
}

// refused is the number of packets that onlyEstablished did not let through,
// not counting those of neighbour discovery.
func refused(t *testing.T, fw *nstest.NS) int {
	t.Helper()
	out := fw.Run(t, "nft", "list", "counter", "inet", "only", "refused")
	var n int
	if m := regexp.MustCompile(`packets \d+`).FindString(out); m != "" {
		fmt.Sscanf(m, "packets %d", &n)
	}
	return n
}

// TestGRETimeout: an entry for GRE outlives its packets' refresh, and its fixed
// timeout can be changed.
func TestGRETimeout(t *testing.T) {
	inj := newInjector(t, newNS(t))
	f := plainFlow(pfstate.ProtoGRE, tuple(cli4, 1, srv4, 2))
	f.Mark, f.Has = 3, f.Has|pfstate.HasMark
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	if got.Status&pfstate.StatusFixedTimeout == 0 {
		t.Errorf("status %#x", got.Status)
	}
	later := f
	later.Timeout, later.Has = 6000, pfstate.HasTimeout
	must(t, inj, pfstate.OpUpdate, later, pfstate.ResultOK)
	got = must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	if got.Timeout < 5000 || got.Mark != 3 || got.Status&f.Status != f.Status {
		t.Errorf("after the update: %+v", got)
	}
	must(t, inj, pfstate.OpUpdate, later.Reversed(), pfstate.ResultReversed)
}

// TestTableFull fills the namespace's table: nf_conntrack_max is global, the
// count is not.
func TestTableFull(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	var limit uint32
	var err error
	ns.Do(func() { limit, err = Max() })
	if err != nil {
		t.Fatal(err)
	}
	if limit == 0 || limit > 1<<19 {
		t.Skipf("nf_conntrack_max is %d: too many entries to make", limit)
	}
	const step = 1 << 14
	ops, res := manyOps(pfstate.OpCreate, step), make([]pfstate.Result, step)
	made := uint32(0)
	for round := byte(0); ; round++ {
		for k := range ops {
			ops[k].Flow.Orig.Src[1] = round
			ops[k].Flow.Reply = ops[k].Flow.Orig.Inverse(ops[k].Flow.Proto)
		}
		if _, err := inj.Do(ops, res); err != nil {
			t.Fatal(err)
		}
		for k := range res {
			switch res[k].Code {
			case pfstate.ResultOK:
				made++
			case pfstate.ResultFull:
				if made != limit || res[k].Errno != unix.ENOMEM {
					t.Errorf("full (%v) at %d entries of %d", res[k].Errno, made, limit)
				}
				return
			default:
				t.Fatalf("entry %d: %v (%v)", made, res[k].Code, res[k].Errno)
			}
		}
	}
}
