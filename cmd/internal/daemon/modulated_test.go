package daemon

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// Ports to which the kernel's synproxy opens connections, without timestamps and
// with.
const (
	proxyPlain   = 7100
	proxyStamped = 7101
)

// proxyRules let the kernel's synproxy open connections to a port.
func proxyRules(port int, options string) string {
	return fmt.Sprintf(`
table inet proxy%[1]d {
	chain prerouting {
		type filter hook prerouting priority raw;
		tcp dport %[1]d tcp flags & (fin|syn|rst|ack) == syn notrack
	}
	chain forward {
		type filter hook forward priority filter - 1;
		tcp dport %[1]d ct state invalid,untracked synproxy %[2]s
	}
}
`, port, options)
}

// TestModulated: a connection whose ends go by different sequence numbers goes
// on through either firewall.
func TestModulated(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: proxyRules(proxyPlain, "mss 1460 wscale 7 sack-perm") + proxyRules(proxyStamped, "mss 1460 wscale 7 sack-perm timestamp")})
	for _, tc := range []proxied{
		{"proxied", "6", nstest.ServerAddr, proxyPlain},
		{"proxied IPv6", "6", nstest.ServerAddr6, proxyPlain},
		{"proxied, timestamps", "6", nstest.ServerAddr, proxyStamped},
		{"proxied, timestamps IPv6", "6", nstest.ServerAddr6, proxyStamped},
		{"proxied, told as to a BSD", "1301", nstest.ServerAddr, proxyPlain},
		{"proxied, told as to a BSD IPv6", "1500", nstest.ServerAddr6, proxyPlain},
	} {
		t.Run(tc.name, func(t *testing.T) { p.proxied(t, &tc) })
	}
	p.n[0].stop()
	t.Run("by a pf", p.modulatedByPF)
}

// proxied is a connection that the kernel's synproxy opens: it has other sequence
// numbers, and other timestamps if it has any.
type proxied struct {
	name, version, server string
	port                  int
}

// proxied: all of that travels; in the records of a BSD there is room for the
// sequence numbers.
func (p *pair) proxied(t *testing.T, tc *proxied) {
	p.Master(0)
	for _, n := range p.n {
		n.set("version", tc.version)
	}
	to := p.Server.Echo(t, "tcp", net.JoinHostPort(tc.server, fmt.Sprint(tc.port)))
	m := &modulated{conn: p.Client.Dial(t, "tcp", to)}
	m.goesOn(t, "begun", func() {})
	for i := range 3 {
		waitAdjusted(t, p.FW[1-i%2], m.flow(t, p.FW[i%2]))
		m.goesOn(t, p.FW[1-i%2].Name(), func() { p.Master(1 - i%2) })
	}
}

// modulated is a connection to an echo.
type modulated struct{ conn net.Conn }

// goesOn has an amount go both ways, and does something meanwhile.
func (m *modulated) goesOn(t *testing.T, where string, meanwhile func()) {
	t.Helper()
	m.conn.SetDeadline(time.Now().Add(patience))
	sent, got := make([]byte, 8*bulkBlock), make([]byte, 8*bulkBlock)
	go m.conn.Write(block(sent, 1))
	_, err := io.ReadFull(m.conn, got[:bulkBlock])
	meanwhile()
	if err == nil {
		_, err = io.ReadFull(m.conn, got[bulkBlock:])
	}
	if err != nil || !bytes.Equal(sent, got) {
		t.Fatalf("%s: %v", where, err)
	}
}

// flow is the entry that a kernel has of it, which must be adjusted.
func (m *modulated) flow(t *testing.T, ns *nstest.NS) pfstate.Flow {
	t.Helper()
	from := m.conn.LocalAddr().(*net.TCPAddr).AddrPort()
	for _, f := range flowsOf(t, ns, pfstate.ProtoTCP) {
		if f.Orig.SrcPort == from.Port() && f.SeqAdj != [2]pfstate.SeqAdj{} {
			return f
		}
	}
	t.Fatalf("%s: no entry with an adjustment", ns.Name())
	return pfstate.Flow{}
}

// waitAdjusted waits until a kernel has an entry with the adjustment of f.
func waitAdjusted(t *testing.T, ns *nstest.NS, f pfstate.Flow) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		flows := flowsOf(t, ns, pfstate.ProtoTCP)
		for i := range flows {
			if g := &flows[i]; g.Orig == f.Orig && g.SeqAdj == f.SeqAdj && g.ProtoState == pfstate.TCPEstablished {
				return nil
			}
		}
		return fmt.Errorf("%+v, want %+v", flows, f)
	}, ns.Name()+" to have the adjustment")
}

// modulatedByPF: a connection whose sequence numbers a pf modulates goes on
// through Linux. A kernel that was told to adjust the numbers before the first
// packet stands for the pf; the other one hears of it by records only.
func (p *pair) modulatedByPF(t *testing.T) {
	p.Master(0)
	for _, port := range []int{proxyPlain, proxyStamped} { // the proxy takes a handshake in a given entry for its own
		p.FW[0].Run(t, "nft", "delete", "table", "inet", fmt.Sprintf("proxy%d", port))
	}
	pf := newRawSender(t, p.FW[0], nstest.SyncDev, 255)
	kernel := opened(t, p.FW[0], conntrack.NewInjector)
	defer kernel.Close()
	diffs := [2]uint32{0x9abcdef1, 0x12345678} // forward and back, by more and by less than half the circle
	var conns []*modulated
	for f := range syncproto.Formats {
		for _, server := range []string{nstest.ServerAddr, nstest.ServerAddr6} {
			m := openModulated(t, p.Topology, kernel, server, 7110+int(f), diffs)
			m.goesOn(t, "begun", func() {})
			pf.send("224.0.0.240", pfPair(f, m, diffs))
			waitAdjusted(t, p.FW[1], m.flow(t, p.FW[0]))
			conns = append(conns, m)
		}
	}
	p.Master(1)
	for _, m := range conns {
		m.goesOn(t, m.conn.RemoteAddr().String(), func() {})
	}
	if n := p.Invalid(1); n > 0 {
		t.Errorf("%d invalid packets", n)
	}
}

// openModulated opens a connection for which the kernel of the first firewall
// has been given an entry.
func openModulated(t *testing.T, top *nstest.Topology, kernel *conntrack.Injector, server string, port int, diffs [2]uint32) *modulated {
	t.Helper()
	client, network := nstest.ClientAddr, "tcp4"
	if server == nstest.ServerAddr6 {
		client, network = nstest.ClientAddr6, "tcp6"
	}
	from, to := net.JoinHostPort(client, fmt.Sprint(40000+port)), net.JoinHostPort(server, fmt.Sprint(port))
	f := pfstate.Flow{Proto: pfstate.ProtoTCP, ProtoState: pfstate.TCPSynSent, Timeout: 600, Status: pfstate.StatusConfirmed,
		Has: pfstate.HasTimeout | pfstate.HasStatus | pfstate.HasProto | pfstate.HasSeqAdj}
	f.Orig.Src, f.AF = pfstate.AddrFrom(netip.MustParseAddr(client))
	f.Orig.Dst, _ = pfstate.AddrFrom(netip.MustParseAddr(server))
	f.Orig.SrcPort, f.Orig.DstPort = uint16(40000+port), uint16(port)
	f.Reply = f.Orig.Inverse(f.Proto)
	for dir, d := range diffs {
		f.SeqAdj[dir] = pfstate.SeqAdj{Before: int32(d), After: int32(d)}
	}
	res := make([]pfstate.Result, 1)
	if _, err := kernel.Do([]pfstate.Op{{Kind: pfstate.OpCreate, Flow: f}}, res); err != nil || res[0].Code != pfstate.ResultOK {
		t.Fatal(res[0], err)
	}
	top.Server.Echo(t, network, to)
	c, err := top.Client.TryDial(network, from, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &modulated{conn: c}
}

// pfPair is what a pf tells of a connection, of which its two states modulate a
// part each, but the second of one direction nothing.
func pfPair(f syncproto.Format, m *modulated, diffs [2]uint32) []byte {
	var w syncproto.Builder
	w.Begin(nil, f.Version(), 1400, nil)
	for i, dir := range []uint8{syncproto.DirIn, syncproto.DirOut} {
		st := pfState(f, m, dir)
		if i == 0 {
			st.Src.SeqDiff, st.Dst.SeqDiff = diffs[0]-77, diffs[1]
		} else {
			st.Src.SeqDiff = 77
		}
		w.AddState(syncproto.ActIns, f, &st)
	}
	return w.End()
}

// pfState is one of the two.
func pfState(f syncproto.Format, m *modulated, dir uint8) syncproto.State {
	ends := [2]netip.AddrPort{m.conn.LocalAddr().(*net.TCPAddr).AddrPort(), m.conn.RemoteAddr().(*net.TCPAddr).AddrPort()}
	if dir == syncproto.DirOut {
		ends[0], ends[1] = ends[1], ends[0]
	}
	half := syncproto.Peer{State: pfstate.PFEstablished, SeqLo: 1000, SeqHi: 70000, MaxWin: 65535, WScale: 0x8a}
	st := syncproto.State{
		ID: uint64(ends[0].Port())<<32 | uint64(ends[1].Port()), CreatorID: 0x0b5d, IfName: syncproto.MakeName("em0"),
		Src: half, Dst: half, Rule: 1, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule, Expire: 86400,
		Proto: pfstate.ProtoTCP, Direction: dir, Timeout: 2, AF: syncproto.FamilyIPv4, RTableID: [2]int32{-1, -1},
	}
	k := &st.Key[syncproto.KeyWire]
	for i, end := range ends {
		a := end.Addr().Unmap()
		if a.Is6() {
			st.AF = f.FamilyIPv6()
			st.ID |= 1 << 63
		}
		k.Port[i] = end.Port()
		copy(k.Addr[i][:], a.AsSlice())
	}
	k.AF = st.AF
	st.Key[syncproto.KeyStack] = *k
	st.StackAF, st.StackProto = st.AF, st.Proto
	return st
}
