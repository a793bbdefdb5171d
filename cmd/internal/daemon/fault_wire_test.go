package daemon

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// badWire is a sync link that loses, repeats and reorders packets as the test
// says: what netem does, which is not in every kernel. It carries frames between
// two interfaces of a namespace in the middle.
type badWire struct {
	mid *nstest.NS
	fd  [2]int

	mu     sync.Mutex
	loss   int // in a hundred; guarded by mu, as all below
	twice  int
	late   int // held back so that later ones overtake
	rng    *rand.Rand
	closed bool
}

// lateBy is how long a packet that is late is held back.
const lateBy = 5 * time.Millisecond

// newBadWire takes the cable of the sync link of two firewalls out and puts a
// bad one in.
func newBadWire(t *testing.T, top *nstest.Topology) *badWire {
	t.Helper()
	w := &badWire{mid: top.Bed.NS("wire"), rng: rand.New(rand.NewPCG(1, 2))}
	top.FW[0].Run(t, "ip", "link", "del", nstest.SyncDev)
	for i, dev := range []string{"left", "right"} {
		fw := top.FW[i]
		top.Bed.Veth(fw, nstest.SyncDev, w.mid, dev)
		fw.Addr(t, nstest.SyncDev, top.SyncAddr(i)+"/24", top.SyncAddr6(i)+"/64")
		w.mid.Run(t, "ip", "link", "set", "dev", dev, "up", "mtu", "9000")
		w.fd[i] = w.open(t, dev)
	}
	for i := range w.fd {
		go w.carry(w.fd[i], w.fd[1-i])
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.closed = true
		unix.Shutdown(w.fd[0], unix.SHUT_RDWR)
	})
	return w
}

// open makes a socket that hears and speaks on an interface. A read ends now and
// then, so that the carrier sees the end of the test.
func (w *badWire) open(t *testing.T, dev string) int {
	t.Helper()
	const all = 0x0300 // ETH_P_ALL, network order
	ifi := w.mid.Interface(t, dev)
	var fd int
	var err error
	w.mid.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) })
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// carry takes packets from one end to the other.
func (w *badWire) carry(from, to int) {
	defer unix.Close(from)
	for buf := make([]byte, 1<<16); ; {
		n, sa, err := unix.Recvfrom(from, buf, 0)
		copies, late, closed := w.fate()
		if closed {
			return
		}
		if ll, ok := sa.(*unix.SockaddrLinklayer); err != nil || !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		for range copies {
			_ = unix.Send(to, buf[:n], 0)
		}
		if late {
			pkt := append([]byte(nil), buf[:n]...)
			time.AfterFunc(lateBy, func() { w.deliver(to, pkt) })
		}
	}
}

func (w *badWire) deliver(to int, pkt []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_ = unix.Send(to, pkt, 0)
	}
}

// fate says how many copies of a packet are to arrive at once, and whether one
// is to arrive late.
func (w *badWire) fate() (copies int, late, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := w.rng.IntN(100); {
	case n < w.loss:
		return 0, false, w.closed
	case n < w.loss+w.twice:
		return 2, false, w.closed
	case n < w.loss+w.twice+w.late:
		return 0, true, w.closed
	}
	return 1, false, w.closed
}

// set says how many of a hundred packets are lost, doubled, late.
func (w *badWire) set(loss, twice, late int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss, w.twice, w.late = loss, twice, late
}
