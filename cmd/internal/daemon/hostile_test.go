package daemon

import (
	"math/rand/v2"
	"net"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// rawSender sends payloads of protocol 240 from a namespace.
type rawSender struct {
	t    *testing.T
	conn *net.IPConn
}

func newRawSender(t *testing.T, ns *nstest.NS, dev string, ttl int) *rawSender {
	t.Helper()
	conn := ns.ListenPacket(t, "ip4:240", "0.0.0.0").(*net.IPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		unix.BindToDevice(int(fd), dev)
	})
	if err != nil {
		t.Fatal(err)
	}
	return &rawSender{t, conn}
}

func (s *rawSender) send(to string, payload []byte) {
	s.t.Helper()
	if _, err := s.conn.WriteTo(payload, &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
		s.t.Fatal(err)
	}
}

// TestHostileFrames: whatever comes, it is counted by its reason and nothing
// else is lost.
func TestHostileFrames(t *testing.T) {
	p := newPair(t, nstest.Options{})
	const each = 100
	near := newRawSender(t, p.FW[1], nstest.SyncDev, 255)
	far := newRawSender(t, p.FW[1], nstest.SyncDev, 64)
	lan := newRawSender(t, p.Client, nstest.LANDev, 255)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range each {
		b := make([]byte, rng.IntN(1400))
		for k := range b {
			b[k] = byte(rng.Uint32())
		}
		if len(b) > 4 && i%2 == 0 { // past the header, into the regions
			b[0], b[1], b[2], b[3] = 6, 0, byte(len(b)>>8), byte(len(b))
		}
		near.send("224.0.0.240", b)
		far.send("224.0.0.240", b)
		lan.send("10.0.1.2", b)
	}
	near.send("224.0.0.240", nil)
	n := p.n[0]
	nstest.EventuallyNil(t, patience, func() error {
		c := n.stats().Counters
		if c.BadTTL < each || c.BadIf < each || c.HDrops+c.BadVer+c.BadLen+c.BadAct < each/2 {
			return errorText("counters")
		}
		return nil
	}, "bad frames to be counted")
	c := n.stats().Counters
	if c.BadTTL != each || c.BadIf != each {
		t.Errorf("badttl %d, badif %d, want %d of each", c.BadTTL, c.BadIf, each)
	}
	if c.IPackets < 3*each {
		t.Errorf("ipackets %d counts only some of %d", c.IPackets, 3*each)
	}
	for _, f := range p.tcpUDP(t) {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
}
