package engine

import (
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// fill has a peer tell of n connections, of names and ports from first on, and
// the kernel take them.
func (r *desk) fill(p *speaker, first, n int) {
	for i := first; i < first+n; i++ {
		f := udp(1, assured)
		f.Orig.SrcPort = uint16(i)
		f.Reply = f.Orig.Inverse(f.Proto)
		p.say(ins(pfstate.ID{ID: uint64(i), CreatorID: p.creator}, f))
	}
	r.kernel()
}

// held counts the states of a creator.
func (r *desk) held(creator uint32) (n int) {
	for ref := pfstate.Ref(1); ref < r.e.tab.End(); ref++ {
		if r.e.tab.InUse(ref) && !r.e.tab.At(ref).Has(pfstate.FlagDead) && r.e.tab.At(ref).MainName().CreatorID == creator {
			n++
		}
	}
	return n
}

// TestSenior: where there is no more room, states of a peer that came later make
// room for those of one that came before, and never the other way.
func TestSenior(t *testing.T) {
	const most = 100
	start := func(t *testing.T, change func(*Config)) *desk {
		r := ready(t, func(c *Config) { c.MaxStates = most }, change)
		r.pass(second)
		return r
	}
	none := func(*Config) {}
	t.Run("who came before", func(t *testing.T) {
		r := start(t, none)
		r.fill(r.b, 5000, 1) // was there first
		r.pass(second)
		r.fill(r.c, 1000, 2*most)
		if n := r.held(hostC); n != most-1 {
			t.Fatalf("%d states of the later", n)
		}
		r.fill(r.b, 6000, 60)
		if b, c := r.held(hostB), r.held(hostC); b != 61 || c != most-61 {
			t.Errorf("%d states of the earlier, %d of the later", b, c)
		}
		r.expectReason(ReasonEvicted, 60)
		r.fill(r.c, 3000, most)
		if b := r.held(hostB); b != 61 {
			t.Errorf("%d states of the earlier are left", b)
		}
		r.fill(r.b, 7000, most)
		if b, c := r.held(hostB), r.held(hostC); b != most || c != 0 {
			t.Errorf("%d states of the earlier, %d of the later", b, c)
		}
		for _, w := range r.until(r.now + second) {
			if w[:3] == "DEL" {
				t.Errorf("sent %s", w)
			}
		}
	})
	t.Run("one among many that make no room", func(t *testing.T) {
		const many = 5000
		r := start(t, func(c *Config) { c.MaxStates = many })
		r.fill(r.b, 1000, many-1)
		r.pass(second)
		r.fill(r.c, 10000, 1)
		r.fill(r.b, 20000, 1)
		if b, c := r.held(hostB), r.held(hostC); b != many || c != 0 {
			t.Errorf("%d states of the earlier, %d of the later", b, c)
		}
	})
	t.Run("who was known before this start", func(t *testing.T) {
		r := start(t, func(c *Config) { c.Known = []netip.Addr{netip.MustParseAddr("10.255.0.3")} })
		r.fill(r.b, 1000, most)
		r.fill(r.c, 3000, 10)
		if c := r.held(hostC); c != 10 {
			t.Errorf("%d states of the known", c)
		}
	})
	t.Run("what passes here, and what an earlier one tells of too", func(t *testing.T) {
		r := start(t, none)
		r.pass(second)
		r.fill(r.c, 1000, most)
		for i := 1000; i < 1010; i++ {
			f := udp(1, assured)
			f.Orig.SrcPort = uint16(i)
			f.Reply = f.Orig.Inverse(f.Proto)
			if i%2 == 0 {
				r.changed(f)
			} else {
				r.b.say(upd(pfstate.ID{ID: uint64(i), CreatorID: hostC}, f))
			}
		}
		r.fill(r.b, 6000, 2*most)
		if b, c := r.held(hostB), r.held(hostC); c != 10 || b != most-5 {
			t.Errorf("%d states of the earlier, %d of the later", b, c)
		}
	})
	t.Run("what passes at a peer, and what it has only heard of", func(t *testing.T) {
		r := start(t, none)
		for i := range most {
			f := udp(1, assured)
			f.Orig.SrcPort = uint16(i)
			f.Reply = f.Orig.Inverse(f.Proto)
			r.b.hearsay(ins(pfstate.ID{ID: uint64(i + 1), CreatorID: hostC}, f))
		}
		r.kernel()
		r.fill(r.b, 5000, 40)
		r.fill(r.c, 6000, 40) // came later
		if b, c := r.held(hostB), r.held(hostC); b != 40 || c != most-40 {
			t.Errorf("%d that pass, %d others", b, c)
		}
		r.expectReason(ReasonEvicted, 40)
	})
	t.Run("a kernel that does not answer", func(t *testing.T) {
		r := start(t, func(c *Config) { c.MaxStates = 2 * evictsAtOnce })
		r.fill(r.c, 1000, 2*evictsAtOnce)
		for i := range 3 * evictsAtOnce {
			f := udp(2, assured)
			f.Orig.SrcPort = uint16(i)
			f.Reply = f.Orig.Inverse(f.Proto)
			r.b.say(ins(theirs(uint64(1e6+i)), f))
		}
		if n := r.e.tab.Len(); n > 3*evictsAtOnce {
			t.Errorf("%d states, at most %d wanted", n, 2*evictsAtOnce)
		}
	})
}
