package syncdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

const within = 30 * time.Second

// pair is two firewalls with a sync link, addresses of both families on it.
func pair(t *testing.T) (a, b *nstest.NS) {
	t.Helper()
	bed := nstest.New(t)
	a, b = bed.NS("fw1"), bed.NS("fw2")
	cable(t, bed, a, b)
	return a, b
}

func cable(t *testing.T, bed *nstest.Bed, a, b *nstest.NS) {
	t.Helper()
	bed.Veth(a, "eth2", b, "eth2")
	a.Addr(t, "eth2", "10.0.3.2/24", "fd00:3::2/64")
	b.Addr(t, "eth2", "10.0.3.3/24", "fd00:3::3/64")
}

func open(t *testing.T, ns *nstest.NS, peer string) *syncdev.Conn {
	t.Helper()
	cfg := syncdev.Config{Dev: "eth2"}
	if peer != "" {
		cfg.Peer = netip.MustParseAddr(peer)
	}
	var c *syncdev.Conn
	var err error
	ns.Do(func() { c, err = syncdev.Open(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func buffers(n, size int) []syncdev.Packet {
	p := make([]syncdev.Packet, n)
	for i := range p {
		p[i].Buf = make([]byte, size)
	}
	return p
}

// got is a received packet without its memory.
type got struct {
	data     string
	src, dst string
	ttl      int
	ifindex  int
}

// receive passes on what a connection receives, until it is closed.
func receive(c *syncdev.Conn) <-chan got {
	ch := make(chan got, 1024)
	go func() {
		defer close(ch)
		p := buffers(16, syncdev.MaxPacket)
		for {
			n, err := c.ReadBatch(p)
			if err != nil {
				return
			}
			for _, p := range p[:n] {
				ch <- got{string(p.Data), p.Src.String(), p.Dst.String(), p.TTL, p.IfIndex}
			}
		}
	}()
	return ch
}

func next(t *testing.T, ch <-chan got) got {
	t.Helper()
	select {
	case g, ok := <-ch:
		if !ok {
			t.Fatal("receiver ended")
		}
		return g
	case <-time.After(within):
		t.Fatal("nothing received")
	}
	return got{}
}

func send(t *testing.T, c *syncdev.Conn, frames ...string) {
	t.Helper()
	var b [][]byte
	for _, f := range frames {
		b = append(b, []byte(f))
	}
	if n, err := c.WriteBatch(b); err != nil || n != len(b) {
		t.Fatalf("sent %d of %d: %v", n, len(b), err)
	}
}

func linkLocal(t *testing.T, ns *nstest.NS) string {
	t.Helper()
	var addr netip.Addr
	nstest.Eventually(t, within, func() bool {
		addr = lookup(t, ns, "eth2").Addr6
		return addr.IsLinkLocalUnicast()
	}, "a link-local address")
	return addr.String()
}

func lookup(t *testing.T, ns *nstest.NS, dev string) syncdev.Link {
	t.Helper()
	var l syncdev.Link
	var err error
	ns.Do(func() { l, err = syncdev.Lookup(dev) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBothWays(t *testing.T) {
	for _, tt := range []struct {
		name           string
		peerA, peerB   string // syncpeer of fw1 and of fw2; "link-local" is the other's
		srcA, dstA     string // of what fw1 sends, as fw2 sees it
		srcB, dstB     string
		skipWithoutIP6 bool
	}{
		{name: "default group", srcA: "10.0.3.2", dstA: "224.0.0.240", srcB: "10.0.3.3", dstB: "224.0.0.240"},
		{name: "unicast", peerA: "10.0.3.3", peerB: "10.0.3.2",
			srcA: "10.0.3.2", dstA: "10.0.3.3", srcB: "10.0.3.3", dstB: "10.0.3.2"},
		{name: "unicast to one that has the group", peerA: "10.0.3.3",
			srcA: "10.0.3.2", dstA: "10.0.3.3", srcB: "", dstB: ""},
		{name: "ipv6 group", peerA: "ff12::f0", peerB: "ff12::f0", skipWithoutIP6: true,
			srcA: "link-local", dstA: "ff12::f0", srcB: "link-local", dstB: "ff12::f0"},
		{name: "ipv6 unicast", peerA: "fd00:3::3", peerB: "fd00:3::2", skipWithoutIP6: true,
			srcA: "fd00:3::2", dstA: "fd00:3::3", srcB: "fd00:3::3", dstB: "fd00:3::2"},
		{name: "ipv6 unicast link-local", peerA: "link-local", peerB: "link-local", skipWithoutIP6: true,
			srcA: "link-local", dstA: "link-local", srcB: "link-local", dstB: "link-local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			if tt.skipWithoutIP6 && !a.HasIPv6() {
				t.Skip("kernel without IPv6")
			}
			local := func(s string, ns *nstest.NS) string {
				if s == "link-local" {
					return linkLocal(t, ns)
				}
				return s
			}
			ca, cb := open(t, a, local(tt.peerA, b)), open(t, b, local(tt.peerB, a))
			ra, rb := receive(ca), receive(cb)
			send(t, ca, "from a")
			want := got{"from a", local(tt.srcA, a), local(tt.dstA, b), 255, b.Interface(t, "eth2").Index}
			if g := next(t, rb); g != want {
				t.Errorf("fw2 got %+v, want %+v", g, want)
			}
			if tt.srcB == "" {
				return
			}
			send(t, cb, "from b")
			// It is the first that fw1 hears: its own frame did not come back.
			want = got{"from b", local(tt.srcB, b), local(tt.dstB, a), 255, a.Interface(t, "eth2").Index}
			if g := next(t, ra); g != want {
				t.Errorf("fw1 got %+v, want %+v", g, want)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	a, b := pair(t)
	ca, cb := open(t, a, ""), open(t, b, "")
	var frames [][]byte
	for i := range 64 {
		frames = append(frames, bytes.Repeat([]byte{byte(i)}, 100+i))
	}
	if n, err := ca.WriteBatch(frames); n != 64 || err != nil {
		t.Fatalf("sent %d: %v", n, err)
	}
	p := buffers(64, 2048)
	for i := 0; i < 64; {
		n, err := cb.ReadBatch(p)
		if err != nil || n == 0 {
			t.Fatalf("read %d: %v", n, err)
		}
		for _, p := range p[:n] {
			if !bytes.Equal(p.Data, frames[i]) || p.Cut {
				t.Fatalf("frame %d: %d bytes %x…", i, len(p.Data), p.Data[:1])
			}
			i++
		}
	}
}

func TestTooBig(t *testing.T) {
	for _, tt := range []struct {
		name, peer string
		fits       int // payload of a full frame at an MTU of 1500
	}{
		{"multicast", "", 1480},
		{"unicast", "10.0.3.3", 1480},
		{"ipv6 multicast", "ff12::f0", 1460},
		{"ipv6 unicast", "fd00:3::3", 1460},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			if tt.fits == 1460 && !a.HasIPv6() {
				t.Skip("kernel without IPv6")
			}
			peerB := tt.peer
			if peerB == "fd00:3::3" {
				peerB = "fd00:3::2"
			}
			linkLocal(t, a)
			ca, cb := open(t, a, tt.peer), open(t, b, peerB)
			rb := receive(cb)
			frames := [][]byte{
				make([]byte, tt.fits), make([]byte, tt.fits+1), []byte("between"),
				make([]byte, 1<<16), make([]byte, tt.fits+1), []byte("last"),
			}
			n, err := ca.WriteBatch(frames)
			if n != 3 || !errors.Is(err, syncdev.ErrTooBig) {
				t.Errorf("sent %d, %v; want 3, ErrTooBig", n, err)
			}
			for _, want := range []string{string(frames[0]), "between", "last"} {
				if g := next(t, rb); g.data != want {
					t.Errorf("got %d bytes, want %d", len(g.data), len(want))
				}
			}
			a.Run(t, "ip", "link", "set", "eth2", "mtu", "1400")
			if _, err := ca.WriteBatch(frames[:1]); !errors.Is(err, syncdev.ErrTooBig) {
				t.Errorf("after the MTU shrank: %v", err)
			}
		})
	}
}

func TestCloseUnblocks(t *testing.T) {
	a, _ := pair(t)
	c := open(t, a, "")
	done := make(chan error, 1)
	go func() {
		_, err := c.ReadBatch(buffers(1, 2048))
		done <- err
	}()
	c.Close()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("read: %v", err)
		}
	case <-time.After(within):
		t.Fatal("read goes on")
	}
	if _, err := c.WriteBatch([][]byte{{1}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}

func TestFirewallRule(t *testing.T) {
	a, _ := pair(t)
	a.Nft(t, `table ip block { chain out { type filter hook output priority 0; meta l4proto 240 drop; }; }`)
	c := open(t, a, "")
	_, err := c.WriteBatch([][]byte{[]byte("frame")})
	if err == nil || !strings.Contains(err.Error(), "protocol 240") || errors.Is(err, syncdev.ErrPerm) {
		t.Errorf("got %v", err)
	}
}

// TestAllocs holds the data path to no allocation per packet.
func TestAllocs(t *testing.T) {
	for _, peer := range []string{"", "ff12::f0"} {
		t.Run(fmt.Sprintf("peer %q", peer), func(t *testing.T) {
			a, b := pair(t)
			if peer != "" {
				if !a.HasIPv6() {
					t.Skip("kernel without IPv6")
				}
				linkLocal(t, a)
				linkLocal(t, b)
			}
			ca, cb := open(t, a, peer), open(t, b, peer)
			const batch = 32
			frames := make([][]byte, batch)
			for i := range frames {
				frames[i] = make([]byte, 1400)
			}
			p := buffers(batch, 2048)
			per := testing.AllocsPerRun(50, func() {
				if n, err := ca.WriteBatch(frames); n != batch || err != nil {
					t.Fatal(n, err)
				}
				for n := 0; n < batch; {
					k, err := cb.ReadBatch(p)
					if err != nil {
						t.Fatal(err)
					}
					n += k
				}
			}) / batch
			if per >= 0.1 {
				t.Errorf("%v allocations per packet", per)
			}
		})
	}
}
