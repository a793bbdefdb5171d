package syncdev_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

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
