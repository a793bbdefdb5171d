package keepalived

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// patience bounds every wait. It is only ever spent by a failing test.
const patience = 60 * time.Second

// kind is how the firewalls treat a connection.
type kind struct {
	name string
	in   bool   // begins outside
	six  bool   // IPv6
	dial string // address and port asked for
	echo string // where the echo is
}

var kinds = []kind{
	{"snat", false, false, server + ":7007", server + ":7007"},
	{"plain", false, false, serverPlain + ":7007", serverPlain + ":7007"},
	{"ipv6", false, true, "[" + server6 + "]:7007", "[" + server6 + "]:7007"},
	{"dnat", true, false, fmt.Sprintf("%s:%d", sharedOut, portOut), fmt.Sprintf("%s:%d", client, portIn)},
}

const (
	idlePerKind = 50                    // sessions that say nothing
	morePerKind = 5                     // that begin while B is the master
	sayEvery    = 5 * time.Millisecond  // a datagram of a stream
	chunkEvery  = 10 * time.Millisecond // of a bulk transfer
	chunk       = 8 << 10               // bytes
)

// flow is a connection as the kernels of both firewalls have it.
type flow struct {
	af, proto uint8
	orig      pfstate.Tuple
}

// traffic is all that passes the firewalls.
type traffic struct {
	t *testing.T
	n *network

	mu    sync.Mutex
	known map[flow]string // guarded by mu

	idle    []session
	streams []*stream // datagrams and bulk transfers
	fresh   newcomers
	stop    chan struct{}
	done    sync.WaitGroup
}

// session is a connection that says nothing until it is asked.
type session struct {
	name string
	net.Conn
}

// newTraffic has the far ends ready.
func newTraffic(t *testing.T, n *network) *traffic {
	t.Helper()
	tr := &traffic{t: t, n: n, known: map[flow]string{}, stop: make(chan struct{})}
	for _, k := range kinds {
		for _, network := range []string{"tcp", "udp"} {
			k.far(n).Echo(t, network, k.echo)
		}
	}
	t.Cleanup(tr.end)
	return tr
}

// start begins all connections through whoever is the master.
func (tr *traffic) start() {
	tr.t.Helper()
	tr.begin(idlePerKind)
	for _, k := range kinds {
		tr.stream(k)
	}
	tr.bulk("download", kinds[0], true)
	tr.bulk("upload", kinds[2], false)
	tr.done.Go(func() { tr.fresh.run(tr) })
}

// flows is what is in flight, and what we call it.
func (tr *traffic) flows() map[flow]string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return maps.Clone(tr.known)
}

func (tr *traffic) end() {
	close(tr.stop)
	tr.done.Wait()
}

func (k *kind) near(n *network) *nstest.NS {
	return map[bool]*nstest.NS{false: n.client, true: n.server}[k.in]
}
func (k *kind) far(n *network) *nstest.NS {
	return map[bool]*nstest.NS{false: n.server, true: n.client}[k.in]
}

// open makes a connection, which from then on has to be in the kernels.
func (tr *traffic) open(k *kind, network, what string) net.Conn {
	c, err := k.near(tr.n).TryDial(network, "", k.dial)
	if err != nil {
		tr.t.Error(err)
		return nil
	}
	if network == "tcp" {
		tr.knows(k, c, what)
	}
	tr.t.Cleanup(func() { c.Close() })
	return c
}

// knows enters a connection that has been answered.
func (tr *traffic) knows(k *kind, c net.Conn, what string) {
	f := flow{proto: pfstate.ProtoTCP}
	if _, ok := c.LocalAddr().(*net.UDPAddr); ok {
		f.proto = pfstate.ProtoUDP
	}
	local, remote := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(k.dial)
	f.orig.Src, f.af = pfstate.AddrFrom(local.Addr())
	f.orig.Dst, _ = pfstate.AddrFrom(remote.Addr())
	f.orig.SrcPort, f.orig.DstPort = local.Port(), remote.Port()
	tr.mu.Lock()
	tr.known[f] = what + " " + k.name
	tr.mu.Unlock()
}

// begin opens idle sessions, n of each kind.
func (tr *traffic) begin(n int) {
	tr.t.Helper()
	var wg sync.WaitGroup
	made := make(chan session, n*len(kinds))
	for _, k := range kinds {
		for i := range n {
			wg.Go(func() {
				if c := tr.open(&k, "tcp", "session"); c != nil {
					made <- session{fmt.Sprintf("session %s %d", k.name, i), c}
				}
			})
		}
	}
	wg.Wait()
	close(made)
	for s := range made {
		tr.idle = append(tr.idle, s)
	}
	tr.ask(tr.idle[len(tr.idle)-n:])
}

// ask has sessions speak and gives those that got no answer.
func (tr *traffic) ask(of []session) (lost []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range of {
		wg.Go(func() {
			if err := nstest.Ask(s, "still there?", patience/2); err != nil {
				mu.Lock()
				lost = append(lost, fmt.Sprintf("%s: %v", s.name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return lost
}

// stream measures how long nothing came.
type stream struct {
	name string
	udp  bool

	mu    sync.Mutex
	units int       // that came: datagrams or bytes
	last  time.Time // when the last did
	gap   time.Duration
}

func (s *stream) came(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if d := now.Sub(s.last); s.units > 0 && d > s.gap {
		s.gap = d
	}
	s.units, s.last = s.units+n, now
}

// take gives the longest gap, and begins anew.
func (s *stream) take() (d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, s.gap = s.gap, 0
	return d
}

func (s *stream) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units
}

// stream sends datagrams that are answered. It counts as known once the first
// has been.
func (tr *traffic) stream(k kind) {
	tr.t.Helper()
	c := tr.open(&k, "udp", "stream")
	if c == nil {
		return
	}
	s := &stream{name: "udp " + k.name, udp: true}
	tr.streams = append(tr.streams, s)
	tr.done.Go(func() {
		tr.every(sayEvery, func(i int) error {
			c.Write(binary.BigEndian.AppendUint64(nil, uint64(i))) // an error is of an earlier one
			return nil
		})
		c.Close()
	})
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := c.Read(buf)
			if ne, ok := err.(net.Error); err != nil && (!ok || !ne.Timeout()) && isClosed(tr.stop) {
				return
			}
			if n == 8 {
				s.came(1)
			}
		}
	}()
	nstest.Eventually(tr.t, patience, func() bool { return s.total() > 0 }, s.name)
	tr.knows(&k, c, "stream")
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// bulk moves bytes down or up, one way.
func (tr *traffic) bulk(name string, k kind, down bool) {
	tr.t.Helper()
	l := k.far(tr.n).Listen(tr.t, "tcp", netip.AddrPortFrom(netip.MustParseAddrPort(k.echo).Addr(), 0).String())
	k.dial = l.Addr().String()
	near := tr.open(&k, "tcp", name)
	far, err := l.Accept()
	if near == nil || err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { far.Close() })
	from, to := near, far
	if down {
		from, to = far, near
	}
	s := &stream{name: name}
	tr.streams = append(tr.streams, s)
	tr.done.Go(func() {
		tr.every(chunkEvery, func(int) error {
			_, err := from.Write(make([]byte, chunk))
			return err
		})
		near.Close()
		far.Close()
	})
	go func() {
		buf := make([]byte, 8*chunk)
		for {
			n, err := to.Read(buf)
			if err != nil {
				return
			}
			s.came(n)
		}
	}()
}

// every calls f until the end, or its error.
func (tr *traffic) every(d time.Duration, f func(i int) error) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tr.stop:
			return
		case <-tick.C:
			if f(i) != nil {
				return
			}
		}
	}
}

// goOn waits until all streams have had some more, and gives those that have
// not.
func (tr *traffic) goOn(within time.Duration) (lost []string) {
	want := make([]int, len(tr.streams))
	for i, s := range tr.streams {
		want[i] = s.total() + map[bool]int{true: 100, false: 40 * chunk}[s.udp]
	}
	end := time.Now().Add(within)
	for i, s := range tr.streams {
		for s.total() < want[i] {
			if time.Now().After(end) {
				lost = append(lost, s.name)
				break
			}
			time.Sleep(pollEvery)
		}
	}
	return lost
}

const pollEvery = 5 * time.Millisecond

// gaps are the longest times nothing came, over UDP and over TCP.
func (tr *traffic) gaps() (udp, tcp time.Duration) {
	for _, s := range tr.streams {
		if d := s.take(); s.udp {
			udp = max(udp, d)
		} else {
			tcp = max(tcp, d)
		}
	}
	return udp, tcp
}

// newcomers begin all the time, one after the other.
type newcomers struct {
	mu           sync.Mutex
	made, failed int // guarded by mu
}

const (
	comeEvery = 50 * time.Millisecond
	comeWait  = 10 * time.Second // several times its SYN
)

func (nc *newcomers) run(tr *traffic) {
	var wg sync.WaitGroup
	defer wg.Wait()
	d := net.Dialer{Timeout: comeWait}
	d.SetMultipathTCP(false)
	tr.every(comeEvery, func(int) error {
		wg.Go(func() {
			var c net.Conn
			var err error
			tr.n.client.Do(func() { c, err = d.Dial("tcp", kinds[0].dial) })
			if err == nil {
				err = nstest.Ask(c, "hello", comeWait)
				c.Close()
			}
			nc.mu.Lock()
			defer nc.mu.Unlock()
			nc.made++
			if err != nil && !isClosed(tr.stop) {
				nc.failed++
			}
		})
		return nil
	})
}

func (nc *newcomers) count() (made, failed int) {
	nc.mu.Lock()
	defer nc.mu.Unlock()
	return nc.made, nc.failed
}
