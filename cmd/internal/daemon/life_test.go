package daemon

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// lifeEnv is the number of idle entries of TestLife. If it is set the daemons
// look as often as they do, one in a hundred as many connections live, and it
// takes three minutes.
const lifeEnv = "PFSYNC_IDLE"

// life is what TestLife is made of.
type life struct {
	idle, alive int
	timeout     int           // of all that matters here, in seconds
	ask         time.Duration // between two packets of who lives
	ages        int           // timeouts that they live for
}

func lifeOf(t *testing.T) life {
	if n := envNumber(t, lifeEnv, 0); n > 0 {
		return life{n, n / 100, 30, 5 * time.Second, 5}
	}
	was := looks
	for k := range looks {
		looks[k].every = time.Second / 2
	}
	t.Cleanup(func() { looks = was })
	// Four times the two seconds that the engine allows for clocks and rounding: of
	// an entry with less it cannot tell that a packet has just passed.
	return life{3000, 30, 8, time.Second / 2, 1}
}

// TestLife: of connections that are all quiet to ctnetlink, those that packets
// keep alive are in the peer's kernel when it is needed, however old they are,
// and those that ended are gone there soon after.
func TestLife(t *testing.T) {
	l := lifeOf(t)
	p := &pair{Topology: nstest.NewTopology(t, nstest.Options{})}
	for i, fw := range p.FW {
		for _, name := range []string{"udp_timeout", "udp_timeout_stream", "tcp_timeout_established"} {
			fw.Sysctl(t, "net.netfilter.nf_conntrack_"+name, strconv.Itoa(l.timeout))
		}
		p.n[i] = newNode(t, fw, t.TempDir())
		p.n[i].set("syncdev", nstest.SyncDev)
	}
	for _, n := range p.n {
		n.waitSync(control.SyncOK)
	}
	conns := p.lively(t, l.alive)
	for _, fw := range p.FW {
		fw.Nft(t, knownRules)
	}
	began := time.Now()
	life := keepAlive(conns, l.ask)
	defer life.stop()
	made := idleFlows(t, p.FW[0], l.idle, l.timeout)
	for i, fw := range p.FW {
		nstest.EventuallyNil(t, 4*patience, func() error { return fewer(fw.ReadSysctl(t, countKey), len(conns)+l.idle/10) }, "end of the idle ones")
		nstest.EventuallyNil(t, patience, func() error { return p.gone(t, i, made) }, "end of the last idle ones")
		t.Logf("%s: the last of %d is gone %.1f s after its end", fw.Name(), l.idle, (time.Since(began) - time.Duration(l.timeout)*time.Second).Seconds())
	}
	for end := began.Add(time.Duration(l.ages*l.timeout) * time.Second); ; time.Sleep(time.Second) {
		if n := p.missing(t, 1, conns); n > 0 {
			t.Errorf("after %v: %d of %d that live are missing at the peer, %d here", time.Since(began), n, len(conns), p.missing(t, 0, conns))
		}
		if time.Now().After(end) {
			break
		}
	}
	p.Master(1)
	life.goesOn(t)
}

// lively opens connections, UDP and TCP in turn.
func (p *pair) lively(t *testing.T, n int) (conns []net.Conn) {
	t.Helper()
	to := map[string]string{}
	for _, network := range []string{"udp4", "tcp4"} {
		to[network] = p.Server.Echo(t, network, net.JoinHostPort(nstest.ServerAddr, "0"))
	}
	for i := range n {
		network := "udp4"
		if i%2 > 0 {
			network = "tcp4"
		}
		c := p.Client.Dial(t, network, to[network])
		if err := nstest.Ask(c, "begun", patience); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns
}

// pulse lets a packet pass both ways of connections at times, until it is
// stopped. What is lost is lost: the next one does.
type pulse struct {
	ended    chan struct{}
	done     sync.WaitGroup
	answered []atomic.Int64 // how often, by connection
}

func keepAlive(conns []net.Conn, every time.Duration) *pulse {
	p := &pulse{ended: make(chan struct{}), answered: make([]atomic.Int64, len(conns))}
	for i, c := range conns {
		p.done.Go(func() {
			for {
				select {
				case <-p.ended:
					return
				case <-time.After(every):
					if nstest.Ask(c, "alive", max(every, time.Second)) == nil {
						p.answered[i].Add(1)
					}
				}
			}
		})
	}
	return p
}

// goesOn waits until every connection has been answered twice more: the first
// may have been on its way.
func (p *pulse) goesOn(t *testing.T) {
	t.Helper()
	want := make([]int64, len(p.answered))
	for i := range want {
		want[i] = p.answered[i].Load() + 2
	}
	for i := range want {
		nstest.Eventually(t, patience, func() bool { return p.answered[i].Load() >= want[i] }, fmt.Sprintf("connection %d to go on", i))
	}
}

// stop ends it, and is called once.
func (p *pulse) stop() { close(p.ended); p.done.Wait() }

// idleFlows makes entries of three kinds that nothing passes through: UDP one
// way, UDP both ways, established TCP.
func idleFlows(t *testing.T, ns *nstest.NS, n, timeout int) map[pfstate.Tuple]bool {
	t.Helper()
	inj := opened(t, ns, conntrack.NewInjector)
	defer inj.Close()
	ops, res := make([]pfstate.Op, n), make([]pfstate.Result, n)
	made := map[pfstate.Tuple]bool{}
	for i := range ops {
		f := newUDP(i).Flow
		f.Timeout = uint32(timeout)
		if i%3 > 0 {
			f.Status |= pfstate.StatusSeenReply | pfstate.StatusAssured
		}
		if i%3 > 1 {
			f.Proto, f.ProtoState, f.Has = pfstate.ProtoTCP, pfstate.TCPEstablished, f.Has|pfstate.HasProto
			f.Reply = f.Orig.Inverse(f.Proto)
		}
		ops[i] = pfstate.Op{Kind: pfstate.OpCreate, Flow: f}
		made[f.Orig] = true
	}
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for i := range res {
		if res[i].Code != pfstate.ResultOK {
			t.Fatalf("entry %d: %v", i, res[i].Code)
		}
	}
	return made
}

// countKey tells the number of entries; to read it ends none, as a dump would.
const countKey = "net.netfilter.nf_conntrack_count"

func fewer(have string, most int) error {
	if n, err := strconv.Atoi(have); err != nil || n > most {
		return errorText(have + " entries")
	}
	return nil
}

// gone is an error while firewall i has any of the entries.
func (p *pair) gone(t *testing.T, i int, made map[pfstate.Tuple]bool) error {
	left := 0
	for _, proto := range []uint8{pfstate.ProtoUDP, pfstate.ProtoTCP} {
		for _, f := range flowsOf(t, p.FW[i], proto) {
			if made[f.Orig] {
				left++
			}
		}
	}
	if left > 0 {
		return fmt.Errorf("%d are left", left)
	}
	return nil
}

// missing is how many connections firewall i has no entry of.
func (p *pair) missing(t *testing.T, i int, conns []net.Conn) (n int) {
	t.Helper()
	has := map[string]bool{}
	for _, proto := range []uint8{pfstate.ProtoUDP, pfstate.ProtoTCP} {
		for _, f := range flowsOf(t, p.FW[i], proto) {
			has[fmt.Sprint(proto, f.Orig.SrcPort, f.Orig.DstPort)] = true
		}
	}
	for _, c := range conns {
		proto, from, to := pfstate.ProtoUDP, 0, 0
		switch a := c.LocalAddr().(type) {
		case *net.UDPAddr:
			from, to = a.Port, c.RemoteAddr().(*net.UDPAddr).Port
		case *net.TCPAddr:
			proto, from, to = pfstate.ProtoTCP, a.Port, c.RemoteAddr().(*net.TCPAddr).Port
		}
		if !has[fmt.Sprint(proto, from, to)] {
			n++
		}
	}
	return n
}
