package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestPeerMoves: a firewall whose interface got another address is one peer,
// under the new one, as soon as the old one has been silent.
func TestPeerMoves(t *testing.T) {
	r := ready(t)
	addrs := func() (list []string) {
		for _, p := range r.e.Peers(nil) {
			list = append(list, p.Addr.String())
		}
		slices.Sort(list)
		return list
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := addrs(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	r.c.say()
	old, moved := r.b.addr, netip.MustParseAddr("10.255.0.22")
	r.b.addr = moved
	r.b.say()
	expect("at first nobody knows", "10.255.0.2", "10.255.0.22", "10.255.0.3")
	for range 5 {
		r.pass(second)
		r.b.say()
	}
	expect("the old one is silent", "10.255.0.22", "10.255.0.3") // so is C, which has no other address
	r.b.addr = old
	r.b.say()
	expect("it speaks again", "10.255.0.2", "10.255.0.22", "10.255.0.3")
}

// TestHostidClash: a machine with our hostid is shown and what it says not
// taken.
func TestHostidClash(t *testing.T) {
	clash := func(t *testing.T) *desk {
		r := ready(t)
		r.c.creator = hostA
		r.c.say(ins(pfstate.ID{ID: 77, CreatorID: hostA}, udp(1, assured)))
		return r
	}
	t.Run("a linux", func(t *testing.T) {
		r := clash(t)
		r.expectOps()
		r.expectNames()
		r.expectReason(ReasonHostidClash, 1)
		if got := r.e.Status(r.now).Clash; got != r.c.addr {
			t.Errorf("clash with %v", got)
		}
	})
	t.Run("a bsd", func(t *testing.T) {
		r := ready(t)
		r.bsd.say(busOf(hostA, syncproto.BusStart))
		r.bsd.say(ins(pfstate.ID{ID: 77, CreatorID: hostA}, udp(1, assured)))
		r.expectOps()
		if got := r.e.Status(r.now).Clash; got != r.bsd.addr {
			t.Errorf("clash with %v", got)
		}
	})
	t.Run("others are heard", func(t *testing.T) {
		r := clash(t)
		r.b.say(ins(theirs(5), udp(2, assured)))
		r.expectOps("create 2")
	})
	t.Run("over when it is gone", func(t *testing.T) {
		r := clash(t)
		r.pass(linuxSilent + 1)
		if r.e.Status(r.now).Clash.IsValid() {
			t.Error("still there")
		}
	})
	t.Run("over when we are renamed", func(t *testing.T) {
		r := clash(t)
		r.setConfig(func(c *Config) { c.HostID = 0xabcd }, false)
		if r.e.Status(r.now).Clash.IsValid() {
			t.Error("still there")
		}
		r.c.say(ins(pfstate.ID{ID: 78, CreatorID: hostA}, udp(1, assured)))
		r.expectOps("create 1")
	})
}

// TestOwnFrame: what comes back from our own address is ours.
func TestOwnFrame(t *testing.T) {
	r := ready(t)
	r.made(udp(1, fresh))
	r.pass(10 * milli)
	fr, ok := r.e.NextFrame(r.now, make([]byte, 0, 2048))
	if !ok {
		t.Fatal("no frame")
	}
	r.e.Remote(r.now, selfAddr, fr.Data)
	r.expectReason(ReasonOwnFrame, 1)
	r.expectReason(ReasonHostidClash, 0)
	r.expectOps()
}

// TestPeers: who is known, and for how long one lives.
func TestPeers(t *testing.T) {
	r := ready(t)
	r.bsd.say()
	living := func(a netip.Addr) bool {
		for _, p := range r.e.Peers(nil) {
			if p.Addr == a {
				return p.Living(r.now)
			}
		}
		t.Fatalf("%v is not known", a)
		return false
	}
	r.pass(linuxSilent)
	if !living(r.b.addr) || !living(r.bsd.addr) {
		t.Error("silent too early")
	}
	r.pass(1)
	if living(r.b.addr) || !living(r.bsd.addr) {
		t.Error("after 3 s")
	}
	r.pass(bsdSilent - linuxSilent)
	if living(r.bsd.addr) {
		t.Error("after 60 s")
	}
	r.b.say()
	if !living(r.b.addr) {
		t.Error("heard again")
	}
}

// TestTooManyPeers: sixteen sources are listened to; those long silent give
// way.
func TestTooManyPeers(t *testing.T) {
	r := ready(t)
	from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 1, byte(i)}) }
	for i := range 15 {
		r.e.Remote(r.now, from(i), (&speaker{bsd: true}).bytes(0, 0, nil))
	}
	r.e.Remote(r.now, from(99), (&speaker{bsd: true}).bytes(0, 0, nil))
	r.expectReason(ReasonTooManyPeers, 1)
	if n := len(r.e.Peers(nil)); n != maxPeers {
		t.Errorf("%d peers", n)
	}
	r.pass(forgetPeer + 1)
	r.e.Remote(r.now, from(99), (&speaker{bsd: true}).bytes(0, 0, nil))
	r.expectReason(ReasonTooManyPeers, 1)
}
