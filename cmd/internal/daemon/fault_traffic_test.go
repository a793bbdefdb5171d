package daemon

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// traffic makes and ends connections through one firewall without pause, with
// packets of its own making, and remembers which the kernel should have: UDP
// that is answered, and TCP after its handshake. A quarter lives on; of the
// others most are killed as conntrack -D does, some reset.
type traffic struct {
	top    *nstest.Topology
	fw     int
	rate   int  // connections a second
	first  int  // number of the first
	reuse  bool // what has been killed begins again at once
	inside wireEnd
	outer  wireEnd
	kill   *conntrack.Injector
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error
	young  []int // to be ended
	again  []int // to be killed, not found yet
	life   time.Duration

	mu     sync.Mutex
	next   int                   // guarded by mu
	living map[pfstate.Tuple]int // number of each; guarded by mu
	absent map[pfstate.Tuple]time.Time
}

// Neither end has these addresses, so nobody answers but the test.
var (
	farClient = pfstate.Addr{10, 0, 1, 200}
	farServer = pfstate.Addr{10, 0, 2, 200}
)

const (
	trafficTick = 5 * time.Millisecond
	trafficLife = time.Second / 4 // of those that do not live on
	packetLag   = 5 * time.Second // that a packet may be on its way to the firewall
	portsEach   = 60_000
	firstPort   = 1024
)

// wireEnd sends Ethernet frames from one namespace's interface to a firewall.
type wireEnd struct {
	fd   int
	head []byte // Ethernet header
}

func newWireEnd(t testing.TB, ns *nstest.NS, dev string, to net.HardwareAddr) wireEnd {
	t.Helper()
	ifi := ns.Interface(t, dev)
	var fd int
	var err error
	ns.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) })
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	head := append(append([]byte(nil), to...), ifi.HardwareAddr...)
	return wireEnd{fd, append(head, 0x08, 0x00)}
}

// farNeighbours lets a firewall send to the addresses that nobody has.
func farNeighbours(t testing.TB, top *nstest.Topology, fw int) {
	t.Helper()
	for _, n := range []struct {
		addr, dev string
		ns        *nstest.NS
	}{{"10.0.1.200", nstest.LANDev, top.Client}, {"10.0.2.200", nstest.WANDev, top.Server}} {
		mac := n.ns.Interface(t, nstest.LANDev).HardwareAddr.String()
		top.FW[fw].Run(t, "ip", "neigh", "replace", n.addr, "lladdr", mac, "dev", n.dev, "nud", "permanent")
	}
}

// newTraffic loads a firewall until stop, with connections from number first on.
// Answers pass the firewall back.
func newTraffic(t testing.TB, top *nstest.Topology, fw, back, rate, first int) *traffic {
	t.Helper()
	farNeighbours(t, top, fw)
	farNeighbours(t, top, back)
	g := &traffic{top: top, fw: fw, rate: rate, life: trafficLife, first: first, next: first, living: map[pfstate.Tuple]int{}, absent: map[pfstate.Tuple]time.Time{}}
	g.inside = newWireEnd(t, top.Client, nstest.LANDev, top.FW[fw].Interface(t, nstest.LANDev).HardwareAddr)
	g.outer = newWireEnd(t, top.Server, nstest.LANDev, top.FW[back].Interface(t, nstest.WANDev).HardwareAddr)
	var err error
	top.FW[fw].Do(func() { g.kill, err = conntrack.NewInjector() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.kill.Close() })
	return g
}

// start goes on making connections until stop.
func (g *traffic) start() {
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	g.done.Go(func() { g.run(ctx) })
}

func (g *traffic) stop(t testing.TB) {
	t.Helper()
	if g.cancel == nil {
		return
	}
	g.cancel()
	g.done.Wait()
	g.cancel = nil
	for end := time.Now().Add(packetLag); g.err == nil && len(g.again) > 0 && time.Now().Before(end); {
		time.Sleep(trafficTick)
		g.err = g.killAll(nil)
	}
	if g.err != nil {
		t.Error(g.err)
	}
}

func (g *traffic) run(ctx context.Context) {
	tick := time.NewTicker(trafficTick)
	defer tick.Stop()
	var owed float64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		owed += float64(g.rate) * trafficTick.Seconds()
		n := int(owed)
		owed -= float64(n)
		for range n {
			g.open()
		}
		if g.err = g.end(); g.err != nil {
			return
		}
	}
}

// numbered is the i-th connection.
func numbered(i int) (t pfstate.Tuple, proto uint8) {
	proto = pfstate.ProtoUDP
	if i%2 == 1 {
		proto = pfstate.ProtoTCP
	}
	return pfstate.Tuple{
		Src: farClient, Dst: farServer, SrcPort: firstPort + uint16(i%portsEach), DstPort: uint16(1000 + i/portsEach),
	}, proto
}

// open begins the next connection.
func (g *traffic) open() {
	g.mu.Lock()
	i := g.next
	g.next++
	g.mu.Unlock()
	if i%4 != 0 {
		g.young = append(g.young, i)
	}
	g.begin(i)
}

// begin sends the packets of one that is not there.
func (g *traffic) begin(i int) {
	tup, proto := numbered(i)
	g.mu.Lock()
	g.living[tup] = i
	g.mu.Unlock()
	g.packets(tup, proto)
}

// packets are the first ones of a connection, or further ones of one that
// lives.
func (g *traffic) packets(tup pfstate.Tuple, proto uint8) {
	back := tup.Inverse(proto)
	if proto == pfstate.ProtoUDP {
		g.inside.send(&tup, proto, 0, 0, 0)
		g.outer.send(&back, proto, 0, 0, 0)
		return
	}
	const syn, ack = 0x02, 0x10
	g.inside.send(&tup, proto, syn, 1000, 0)
	g.outer.send(&back, proto, syn|ack, 5000, 1001)
	g.inside.send(&tup, proto, ack, 1001, 5001)
}

// end ends those whose time has come.
func (g *traffic) end() error {
	var ids []int
	for most := int(float64(g.rate) * g.life.Seconds()); len(g.young) > most; g.young = g.young[1:] {
		i := g.young[0]
		tup, proto := numbered(i)
		g.mu.Lock()
		delete(g.living, tup)
		g.mu.Unlock()
		if i%16 == 5 { // TCP
			g.inside.send(&tup, proto, 0x04, 1001, 0)
		} else {
			ids = append(ids, i)
		}
	}
	return g.killAll(ids)
}

// killAll deletes entries. One that the kernel does not have yet, for its packets
// are still on their way on a busy machine, is tried again with the next ones.
func (g *traffic) killAll(ids []int) error {
	ids = append(ids, g.again...)
	g.again = g.again[:0]
	var ops []pfstate.Op
	for _, i := range ids {
		tup, proto := numbered(i)
		f := pfstate.Flow{Orig: tup, Reply: tup.Inverse(proto), AF: pfstate.AFInet, Proto: proto}
		ops = append(ops, pfstate.Op{Kind: pfstate.OpDelete, Flow: f}, pfstate.Op{Kind: pfstate.OpDelete, Flow: f.Reversed()})
	}
	res := make([]pfstate.Result, len(ops))
	if _, err := g.kill.Do(ops, res); err != nil {
		return err
	}
	for k, i := range ids {
		switch done := res[2*k].Code == pfstate.ResultOK || res[2*k+1].Code == pfstate.ResultOK; {
		case !done:
			g.again = append(g.again, i)
		case g.reuse && i%3 == 0:
			g.begin(i)
		}
	}
	return nil
}

// lives reports whether a connection should be there.
func (g *traffic) lives(tup *pfstate.Tuple) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.living[*tup]
	return ok
}

// made is how many there have been.
func (g *traffic) made() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.next - g.first
}

// lost counts those that the kernel never had: on a busy machine a packet can be
// dropped before it gets to the firewall. It forgets them.
func (g *traffic) lost(have map[pfstate.Tuple]bool, killed func(*pfstate.Tuple) bool) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for tup := range g.living {
		switch since, missed := g.absent[tup]; {
		case have[tup] || killed(&tup):
			delete(g.absent, tup)
		case !missed:
			g.absent[tup] = time.Now()
		case time.Since(since) > packetLag:
			delete(g.living, tup)
			n++
		}
	}
	return n
}

// forget ends all at once, for a kernel whose table is being flushed.
func (g *traffic) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.living)
	g.young = nil
}

// send makes a packet of 20 bytes header and a TCP or UDP header, and sends it.
func (w *wireEnd) send(t *pfstate.Tuple, proto, flags uint8, seq, ack uint32) {
	b := append(make([]byte, 0, 64), w.head...)
	at := len(b)
	b = append(b, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0)
	b = append(b, t.Src[:4]...)
	b = append(b, t.Dst[:4]...)
	b = binary.BigEndian.AppendUint16(b, t.SrcPort)
	b = binary.BigEndian.AppendUint16(b, t.DstPort)
	if proto == pfstate.ProtoUDP {
		b = append(b, 0, 8, 0, 0) // no checksum
	} else {
		b = binary.BigEndian.AppendUint32(b, seq)
		b = binary.BigEndian.AppendUint32(b, ack)
		b = append(b, 0x50, flags, 0x20, 0, 0, 0, 0, 0)
		pseudo := append(append([]byte(nil), b[at+12:at+20]...), 0, proto, 0, 20)
		binary.BigEndian.PutUint16(b[at+36:], checksum(append(pseudo, b[at+20:]...)))
	}
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	binary.BigEndian.PutUint16(b[at+10:], checksum(b[at:at+20]))
	_ = unix.Send(w.fd, b, 0) // what is lost is counted at the end
}

// farFlows are the original tuples of a kernel's entries between the addresses
// that nobody has.
func farFlows(t testing.TB, ns *nstest.NS) map[pfstate.Tuple]bool {
	t.Helper()
	var d *conntrack.Dumper
	var err error
	ns.Do(func() { d, err = conntrack.NewDumper() })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	have := map[pfstate.Tuple]bool{}
	if err := d.Begin(conntrack.Filter{}); err != nil {
		t.Fatal(err)
	}
	for evs := make([]pfstate.Event, 512); ; {
		n, err := d.Read(evs)
		for i := range evs[:n] {
			f := &evs[i].Flow
			if evs[i].Kind != pfstate.EventDump || f.Status&pfstate.StatusDying != 0 {
				continue
			}
			switch farClient { // whose first packet this kernel saw is not the question
			case f.Orig.Src:
				have[f.Orig] = true
			case f.Reply.Src:
				have[f.Reply] = true
			}
		}
		if err != nil {
			return have
		}
	}
}

// TestTraffic: the kernel of the firewall has what the generator says.
func TestTraffic(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{})
	top.FW[1].Sysctl(t, "net.netfilter.nf_conntrack_tcp_timeout_close", "1")
	g := newTraffic(t, top, 1, 1, 200, 0)
	g.start()
	nstest.Eventually(t, patience, func() bool { return g.made() > 200 }, "connections")
	g.stop(t)
	nstest.EventuallyNil(t, patience, func() error {
		have := farFlows(t, top.FW[1])
		never := g.lost(have, func(*pfstate.Tuple) bool { return false })
		stale := 0
		for tup := range have {
			if !g.lives(&tup) {
				stale++
			}
		}
		if len(have) == 0 || never > g.made()/10 || stale > 0 {
			return fmt.Errorf("%d entries, %d lost, %d stale", len(have), never, stale)
		}
		return nil
	}, "what was made")
}
