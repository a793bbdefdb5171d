package syncdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

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

// TestHeaderFields shows what is reported, not checked: a TTL that is not 255,
// IP options, the interface a frame came by, a frame that was cut.
func TestHeaderFields(t *testing.T) {
	bed := nstest.New(t)
	a, b := bed.NS("fw1"), bed.NS("fw2")
	cable(t, bed, a, b)
	bed.Veth(a, "eth0", b, "eth0")
	a.Addr(t, "eth0", "10.0.1.2/24")
	b.Addr(t, "eth0", "10.0.1.3/24")
	c := open(t, b, "")
	raw := a.ListenPacket(t, "ip4:240", "0.0.0.0")
	rc, err := ipv4.NewRawConn(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		dst     string
		ttl     int
		options []byte
		payload string
		want    got
	}{
		{"ttl", "10.0.3.3", 64, nil, "frame", got{"frame", "10.0.3.2", "10.0.3.3", 64, b.Interface(t, "eth2").Index}},
		{"options", "10.0.3.3", 255, []byte{1, 1, 1, 0}, "frame", got{"frame", "10.0.3.2", "10.0.3.3", 255, b.Interface(t, "eth2").Index}},
		{"empty", "10.0.3.3", 255, nil, "", got{"", "10.0.3.2", "10.0.3.3", 255, b.Interface(t, "eth2").Index}},
		{"other interface", "10.0.1.3", 255, nil, "frame", got{"frame", "10.0.1.2", "10.0.1.3", 255, b.Interface(t, "eth0").Index}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &ipv4.Header{Version: 4, Len: 20 + len(tt.options), TotalLen: 20 + len(tt.options) + len(tt.payload),
				TTL: tt.ttl, Protocol: 240, Dst: net.ParseIP(tt.dst), Options: tt.options}
			if err := rc.WriteTo(h, []byte(tt.payload), nil); err != nil {
				t.Fatal(err)
			}
			p := buffers(1, syncdev.MaxPacket)
			if _, err := c.ReadBatch(p); err != nil {
				t.Fatal(err)
			}
			g := got{string(p[0].Data), p[0].Src.String(), p[0].Dst.String(), p[0].TTL, p[0].IfIndex}
			if g != tt.want || p[0].Cut {
				t.Errorf("got %+v, want %+v", g, tt.want)
			}
		})
	}
	t.Run("cut", func(t *testing.T) {
		send(t, open(t, a, ""), strings.Repeat("x", 200))
		p := buffers(1, 120)
		if n, err := c.ReadBatch(p); n != 1 || err != nil || !p[0].Cut || len(p[0].Data) != 100 {
			t.Errorf("n %d, err %v, cut %v, %d bytes", n, err, p[0].Cut, len(p[0].Data))
		}
	})
}

// TestExtensionHeaders: FreeBSD looks for the frame right behind the IPv6
// header; here it is where the kernel finds it, behind hop-by-hop or
// destination options. None are sent.
func TestExtensionHeaders(t *testing.T) {
	a, b := pair(t)
	if !a.HasIPv6() {
		t.Skip("kernel without IPv6")
	}
	linkLocal(t, a)
	c := open(t, b, "fd00:3::2")
	padding := []byte{0, 0, 1, 4, 0, 0, 0, 0} // next header, length, PadN
	for _, tt := range []struct {
		name string
		opt  int
	}{
		{"none", 0},
		{"hop-by-hop", unix.IPV6_HOPOPTS},
		{"destination", unix.IPV6_DSTOPTS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := a.ListenPacket(t, "ip6:240", "fd00:3::2").(*net.IPConn)
			rc, err := raw.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var opts [2]error
			if err := rc.Control(func(fd uintptr) {
				opts[0] = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
				if tt.opt != 0 {
					opts[1] = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, tt.opt, string(padding))
				}
			}); err != nil || errors.Join(opts[:]...) != nil {
				t.Fatal(err, opts)
			}
			if _, err := raw.WriteTo([]byte("frame"), &net.IPAddr{IP: net.ParseIP("fd00:3::3")}); err != nil {
				t.Fatal(err)
			}
			p := buffers(1, syncdev.MaxPacket)
			if _, err := c.ReadBatch(p); err != nil {
				t.Fatal(err)
			}
			want := got{"frame", "fd00:3::2", "fd00:3::3", 255, b.Interface(t, "eth2").Index}
			if g := (got{string(p[0].Data), p[0].Src.String(), p[0].Dst.String(), p[0].TTL, p[0].IfIndex}); g != want {
				t.Errorf("got %+v, want %+v", g, want)
			}
		})
	}
}

// TestOnTheWire shows the header of what is sent to tcpdump on the other side.
func TestOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name, peer, expr string
		want             []string
	}{
		{"ipv4", "", `^IP |IP \(`, []string{"tos 0x10", "ttl 255", "flags [DF]"}},
		{"ipv6", "ff12::f0", `IP6 \(`, []string{"hlim 255", "payload length: 5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bed := nstest.New(t, "tcpdump")
			a, b := bed.NS("fw1"), bed.NS("fw2")
			cable(t, bed, a, b)
			if tt.peer != "" {
				linkLocal(t, a)
			}
			dump := b.Tcpdump(t, "eth2", "-v", "proto", "240", "or", "ip6", "proto", "240")
			send(t, open(t, a, tt.peer), "frame")
			line := dump.WaitFor(t, within, tt.expr)
			for _, w := range tt.want {
				if !strings.Contains(line, w) {
					t.Errorf("%q lacks %q", line, w)
				}
			}
		})
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

func TestOpenErrors(t *testing.T) {
	a, _ := pair(t)
	a.Run(t, "ip", "link", "add", "bare", "type", "bridge")
	a.Run(t, "ip", "link", "set", "bare", "addrgenmode", "none")
	a.Run(t, "ip", "link", "set", "bare", "up")
	for _, tt := range []struct {
		name string
		cfg  syncdev.Config
		want error
		hint string
	}{
		{"absent", syncdev.Config{Dev: "eth9"}, syncdev.ErrNoDevice, "eth9"},
		{"impossible name", syncdev.Config{Dev: "a-name-longer-than-any"}, syncdev.ErrNoDevice, "a-name"},
		{"empty name", syncdev.Config{}, syncdev.ErrNoDevice, ""},
		{"no address", syncdev.Config{Dev: "bare"}, syncdev.ErrNoAddress, "ip addr add ADDRESS/24 dev bare"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			a.Do(func() { _, err = syncdev.Open(tt.cfg) })
			var op *syncdev.OpError
			if !errors.Is(err, tt.want) || !errors.As(err, &op) || op.Dev != tt.cfg.Dev {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("%q lacks %q", err, tt.hint)
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

func TestWarn(t *testing.T) {
	a, _ := pair(t)
	var warned []any
	var c *syncdev.Conn
	var err error
	a.Do(func() {
		c, err = syncdev.Open(syncdev.Config{Dev: "eth2", RcvBuf: 1 << 20, Warn: func(msg string, args ...any) {
			warned = append(append(warned, msg), args...)
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(warned) > 0 {
		t.Errorf("as root: %v", warned)
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
