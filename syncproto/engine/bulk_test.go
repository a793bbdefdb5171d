package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestBulkRetries: a request is sent twelve times, every two seconds; when
// nobody is heard at all, more and more patiently.
func TestBulkRetries(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		heard  bool // a Linux peer is there and does not answer
		asked  int
		end    Sync
		slowly int64 // seconds more between requests after the sixth
	}{
		{"nobody ever known", nil, false, 2, SyncAlone, 0},
		{"peers known from before", func(c *Config) { c.KnownPeers = 1 }, false, 12, SyncAlone, 4},
		{"a syncpeer", func(c *Config) { c.Unicast = true }, false, 12, SyncAlone, 4},
		{"a peer that does not answer", nil, true, 12, SyncFailed, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, func(c *Config) {
				if tc.change != nil {
					tc.change(c)
				}
			})
			if tc.heard {
				r.b.say()
			}
			start := r.now
			r.linkUp()
			r.dump()
			var at []int64
			for r.now < start+80*second && !r.e.bulk.over() {
				for _, w := range r.sent() {
					if w != "UPD_REQ 0" {
						t.Fatalf("sent %s", w)
					}
					at = append(at, (r.now-start)/milli)
				}
				if tc.heard {
					r.b.say()
				}
				r.pass(100 * milli)
			}
			var want []int64
			for i := range tc.asked {
				want = append(want, int64(i)*2000+int64(max(0, i-6))*tc.slowly*1000)
			}
			if !slices.Equal(at, want) {
				t.Errorf("asked after %v ms, want %v", at, want)
			}
			if s := r.e.Status(r.now).Sync; s != tc.end || r.now-start != int64(tc.asked)*2*second+int64(max(0, tc.asked-6))*tc.slowly*second {
				t.Errorf("%v after %d ms", s, (r.now-start)/milli)
			}
			r.expect("then no more", r.until(r.now+60*second))
		})
	}
}

// TestBulkFSM: the request goes from state to state by what comes.
func TestBulkFSM(t *testing.T) {
	start, end := bus(syncproto.BusStart), bus(syncproto.BusEnd)
	bsdStart, bsdEnd := busOf(0xd000, syncproto.BusStart), busOf(0xd000, syncproto.BusEnd)
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want Sync
	}{
		{"asked", func(*desk) {}, SyncSent},
		{"started", func(r *desk) { r.b.sending(start) }, SyncBulk},
		{"ended", func(r *desk) { r.b.sending(start); r.b.sending(end) }, SyncOK},
		{"the end of a linux without a start", func(r *desk) { r.b.say(end) }, SyncSent},
		{"the end of a bsd without a start", func(r *desk) { r.bsd.say(bsdEnd) }, SyncOK},
		{"a bsd's transfer", func(r *desk) { r.bsd.say(bsdStart); r.bsd.say(bsdEnd) }, SyncOK},
		{"another's end", func(r *desk) { r.b.sending(start); r.c.say(busOf(hostC, syncproto.BusEnd)) }, SyncBulk},
		{"first of two to end", func(r *desk) {
			r.b.sending(start)
			r.c.sending(busOf(hostC, syncproto.BusStart))
			r.c.say(busOf(hostC, syncproto.BusEnd))
		}, SyncOK},
		{"the frame with the end got lost", func(r *desk) { r.b.sending(start); r.b.lost(); r.b.say() }, SyncOK},
		{"an older frame does not say so", func(r *desk) {
			old := r.b.bytes(1, 0, nil)
			r.b.lost()
			r.b.sending(start)
			r.e.Remote(r.now, r.b.addr, old)
		}, SyncBulk},
		{"progress", func(r *desk) {
			r.b.sending(start)
			for i := range 20 {
				r.pass(9 * second)
				r.b.sending(upd(theirs(uint64(i+1)), udp(byte(i), assured)))
			}
		}, SyncBulk},
		{"no progress", func(r *desk) { r.b.sending(start); r.pass(bulkProgress) }, SyncSent},
		{"link down", func(r *desk) { r.linkDown() }, SyncStart},
		{"link down while receiving", func(r *desk) { r.b.sending(start); r.linkDown() }, SyncStart},
		{"link back", func(r *desk) { r.linkDown(); r.linkUp() }, SyncSent},
		{"syncdev taken away", func(r *desk) { r.setConfig(func(c *Config) { c.Sync = false }, true) }, SyncNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := starting(t)
			tc.do(r)
			if s := r.e.Status(r.now).Sync; s != tc.want {
				t.Errorf("%v, want %v", s, tc.want)
			}
		})
	}
}

func (r *desk) setConfig(change func(*Config), resync bool) {
	cfg := r.e.Config()
	change(&cfg)
	r.e.Set(r.now, cfg, resync)
}

// TestBulkAgain: what asks for another transfer, and what does not.
func TestBulkAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []string
	}{
		{"the same configuration", func(r *desk) { r.setConfig(func(*Config) {}, false) }, nil},
		{"another maxupd", func(r *desk) { r.setConfig(func(c *Config) { c.MaxUpd = 3 }, false) }, nil},
		{"another syncdev", func(r *desk) { r.setConfig(func(*Config) {}, true) }, []string{"UPD_REQ 0"}},
		{"by hand", func(r *desk) { r.e.Bulk(r.now) }, []string{"UPD_REQ 0"}},
		{"the link is told again", func(r *desk) { r.linkUp() }, nil},
		{"the link was down", func(r *desk) { r.linkDown(); r.linkUp() }, []string{"UPD_REQ 0"}},
		{"another address", func(r *desk) {
			r.e.Link(r.now, Link{Up: true, Self: netip.MustParseAddr("10.255.0.9"), MTU: 1500})
		}, []string{"UPD_REQ 0"}},
		{"a peer was started anew", func(r *desk) { r.b.epoch++; r.b.frame = 0; r.b.say() }, []string{"UPD_REQ 0"}},
		{"a peer was silent", func(r *desk) { r.pass(5 * second); r.sent(); r.b.say() }, nil},
		{"a dump ends", func(r *desk) { r.dump() }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.do(r)
			r.pass(0)
			r.expect("sent", r.sent(), tc.want...)
		})
	}
}

// TestBulkPercent: received by table size.
func TestBulkPercent(t *testing.T) {
	r := starting(t)
	r.b.size = 8
	r.b.sending(bus(syncproto.BusStart))
	for i, want := range []int{0, 12, 25, 37, 50} {
		if got := r.e.Status(r.now).Percent; got != want {
			t.Errorf("after %d: %d %%, want %d", i, got, want)
		}
		r.b.sending(upd(theirs(uint64(i+1)), udp(byte(i), assured)))
	}
	for i := range 20 {
		r.b.sending(upd(theirs(uint64(i+100)), udp(byte(i+100), assured)))
	}
	if got := r.e.Status(r.now).Percent; got != 99 {
		t.Errorf("before the end: %d %%", got)
	}
}
