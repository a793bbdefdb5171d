package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestNewcomers: a thousand forged sources do not keep a new peer out for
// longer than they go on, nor take the place of one that speaks.
func TestNewcomers(t *testing.T) {
	known := netip.MustParseAddr("10.99.0.77")
	g := newRig(t, func(c *Config) { c.Known = []netip.Addr{known} })
	frame := pfFrame(func(w *syncproto.Builder) { w.AddID(syncproto.ActInsAck, &syncproto.ID{ID: 1, CreatorID: 1}) })
	source := func(n int) (a netip.Addr) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0xac100000|uint32(n))
		return netip.AddrFrom4(b)
	}
	has := func(a netip.Addr) bool {
		for _, p := range g.e.Peers(nil) {
			if p.Addr == a {
				return true
			}
		}
		return false
	}
	pass := func(d int64) { g.now += d; g.e.Tick(g.now) }
	speaks := func(a netip.Addr, d int64) {
		for end := g.now + d; g.now < end; pass(second) {
			g.hear(a, frame)
		}
	}
	speaks(rigBSD, 10*second)
	for n := range 1000 {
		g.hear(source(n), frame)
	}
	newcomer := netip.MustParseAddr("10.99.0.50")
	g.hear(newcomer, frame)
	if has(newcomer) || g.e.Stats.Reason[ReasonTooManyPeers] == 0 {
		t.Error("there was a place at once")
	}
	g.hear(known, frame)
	if !has(known) {
		t.Error("no place for who was known")
	}
	pass(4 * second)
	speaks(newcomer, 10*second)
	pass(600 * second)
	for n := range 1000 {
		g.hear(source(5000+n), frame)
	}
	for _, a := range []netip.Addr{rigBSD, newcomer, known} {
		if !has(a) {
			t.Errorf("%v has lost its place", a)
		}
	}
	if n := g.e.PeerCount(); n != maxPeers {
		t.Errorf("%d peers", n)
	}
	pass(2 * forgetPeer)
	for n := range 1000 {
		g.hear(source(9000+n), frame)
	}
	if has(newcomer) || has(known) {
		t.Error("who is long gone keeps a place")
	}
}

// TestNewcomerDuringCheck: the place of a peer that is being compared with may
// go to another.
func TestNewcomerDuringCheck(t *testing.T) {
	l := newLiar(t, 3)
	r := l.r
	l.answer[syncproto.TLVWantDigests] = digestsOf(func(int) uint64 { return 1 })
	for range 60 {
		l.live(second)
		if r.e.check.on {
			break
		}
	}
	if !r.e.check.on {
		t.Fatal("no check")
	}
	at := r.e.check.peer
	r.e.peers.list[at].Last = r.now - 2*forgetPeer
	for n := range 2 * maxPeers {
		r.e.Remote(r.now, netip.AddrFrom4([4]byte{10, 255, 1, byte(n)}), pfFrame(func(w *syncproto.Builder) {}))
	}
	if r.e.peers.list[at].Addr == l.addr {
		t.Fatal("nobody took the place")
	}
	r.pass(second)
	if r.e.check.on {
		t.Error("the check goes on with another peer")
	}
}
