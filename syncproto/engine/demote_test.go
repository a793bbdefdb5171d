package engine

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestDemotionOfReturn: who was away while the link was gone is fully demoted
// until it has been told; who carried the connections is not, for then the
// master would change.
func TestDemotionOfReturn(t *testing.T) {
	packet := func(r *desk) { r.made(tcp(9, pfstate.TCPSynSent)) }
	down, up := (*desk).linkDown, (*desk).linkUp
	for _, tc := range []struct {
		name string
		do   []func(*desk)
		want int
	}{
		{"nothing passed here meanwhile", []func(*desk){packet, wait(2 * second), down, wait(60 * second), up}, 240},
		{"something passed here meanwhile", []func(*desk){down, wait(60 * second), packet, up}, 1},
		{"kept alive here meanwhile", []func(*desk){packet, down, wait(60 * second), func(r *desk) { r.dump(tcp(9, pfstate.TCPSynSent)) }, up}, 1},
		{"it passes now", []func(*desk){down, wait(60 * second), up, packet}, 1},
		{"a blink", []func(*desk){down, wait(900 * milli), up}, 1},
		{"running", []func(*desk){down, wait(60 * second), up, func(r *desk) { r.b.sending(bus(syncproto.BusStart)) }}, 240},
		{"told", []func(*desk){down, wait(60 * second), up, func(r *desk) { r.transfer(0) }}, 0},
		{"stopped, then down and up at once", []func(*desk){packet, sleep(60 * second), down, up}, 240},
		{"stopped, and told of the time before", []func(*desk){packet, sleep(60 * second), down, up, packet}, 240},
		{"stopped, and packets pass", []func(*desk){packet, sleep(60 * second), down, up, wait(second), packet}, 1},
		{"another address", []func(*desk){wait(60 * second), func(r *desk) { r.e.Link(r.now, Link{Up: true, Self: r.c.addr, MTU: 1500}) }}, 1},
		{"asked by hand", []func(*desk){down, wait(60 * second), up, func(r *desk) { r.transfer(0); r.pass(60 * second); r.e.Bulk(r.now) }}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.until(r.now + 2*second)
			for _, do := range tc.do {
				do(r)
			}
			if got := r.e.Status(r.now).Demotion; got != tc.want {
				t.Errorf("%d, want %d (sync %v)", got, tc.want, r.e.Status(r.now).Sync)
			}
		})
	}
}

func wait(d int64) func(*desk) { return func(r *desk) { r.until(r.now + d) } }

// sleep is time in which nothing runs here.
func sleep(d int64) func(*desk) { return func(r *desk) { r.now += d } }

// TestDemotionOfRestart: a daemon that starts over a table that it knows leaves
// the demotion until it has seen that table; then it is not fully demoted if
// the connections went on here without it.
func TestDemotionOfRestart(t *testing.T) {
	run := func(downFor time.Duration, demoted int) func(*Config) {
		return func(c *Config) { c.KernelKept, c.DownFor, c.Demoted, c.KnownPeers = true, downFor, demoted, 1 }
	}
	full := tcp(1, pfstate.TCPEstablished).Timeout
	dump := func(age uint32) func(*desk) {
		return func(r *desk) { r.dump(left(tcp(1, pfstate.TCPEstablished), full-age)) }
	}
	for _, tc := range []struct {
		name string
		cfg  func(*Config)
		do   []func(*desk)
		want int
	}{
		{"not looked yet, was not demoted", run(3*time.Second, 0), nil, 0},
		{"not looked yet, was demoted", run(3*time.Second, 240), nil, 240},
		{"a moment without a daemon", run(3*time.Second, 0), []func(*desk){dump(100)}, 1},
		{"a minute, and packets passed", run(time.Minute, 0), []func(*desk){dump(2)}, 1},
		{"a minute, and none did", run(time.Minute, 0), []func(*desk){dump(59)}, 240},
		{"an hour, and they passed before", run(time.Hour, 0), []func(*desk){dump(3500)}, 240},
		{"an hour, and they pass now", run(time.Hour, 0), []func(*desk){dump(3500), func(r *desk) { r.made(tcp(2, pfstate.TCPSynSent)) }}, 1},
		{"not known how long", run(0, 0), []func(*desk){dump(100)}, 240},
		{"another kernel", func(c *Config) { c.DownFor = 3 * time.Second }, []func(*desk){dump(2)}, 240},
		{"in sync", run(time.Minute, 0), []func(*desk){dump(59), func(r *desk) { r.transfer(0) }}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, tc.cfg)
			r.linkUp()
			for _, do := range tc.do {
				do(r)
			}
			if got := r.e.Status(r.now).Demotion; got != tc.want {
				t.Errorf("%d, want %d (sync %v)", got, tc.want, r.e.Status(r.now).Sync)
			}
		})
	}
}

// TestForwardingDelay: a switch that does not forward for 30 s after the link
// came up. Who knows that there is a peer waits for it, demoted, and asks as
// soon as it is heard.
func TestForwardingDelay(t *testing.T) {
	r := newDesk(t, func(c *Config) { c.KnownPeers = 1 })
	r.linkUp()
	r.dump()
	for start := r.now; r.now < start+30*second; {
		r.until(r.now + second)
		if s := r.e.Status(r.now); s.Demotion != 240 {
			t.Fatalf("%v and %d after %d s", s.Sync, s.Demotion, (r.now-start)/second)
		}
	}
	r.b.say()
	r.expect("heard", r.sent(), "UPD_REQ 0")
	r.transfer(3)
	if s := r.e.Status(r.now); s.Sync != SyncOK || s.Demotion != 0 {
		t.Errorf("told: %v and %d", s.Sync, s.Demotion)
	}
}

// TestLatePeer: who found that it is alone asks a peer that is heard then, and
// is not demoted for it.
func TestLatePeer(t *testing.T) {
	r := newDesk(t)
	r.linkUp()
	r.dump()
	r.until(r.now + 30*second)
	if s := r.e.Status(r.now).Sync; s != SyncAlone {
		t.Fatalf("sync is %v", s)
	}
	r.b.frame = 30 // nobody heard those before
	r.b.say()
	r.expect("heard", r.until(r.now+second), "UPD_REQ 0")
	if s := r.e.Status(r.now); s.Demotion != 0 {
		t.Errorf("%v and %d", s.Sync, s.Demotion)
	}
}

// TestDemotion is the table of design section 6, row by row.
func TestDemotion(t *testing.T) {
	bulking := func(r *desk) { r.b.sending(bus(syncproto.BusStart)) }
	inSync := func(r *desk) { r.transfer(0) }
	down := func(r *desk) { r.linkDown() }
	wait := func(d int64) func(*desk) { return func(r *desk) { r.pass(d) } }
	for _, tc := range []struct {
		name string
		do   []func(*desk)
		cold bool // the link was never up
		want int
	}{
		{"asked", nil, false, 240},
		{"running", []func(*desk){bulking}, false, 240},
		{"in sync", []func(*desk){inSync}, false, 0},
		{"alone", []func(*desk){func(r *desk) { r.until(r.now + 5*second) }}, false, 0},
		{"failed", []func(*desk){func(r *desk) {
			for range 60 {
				r.b.say()
				r.until(r.now + second)
			}
		}}, false, 0},
		{"diverged", []func(*desk){inSync, func(r *desk) { r.local(event(pfstate.EventOverrun, pfstate.Flow{})) }}, false, 0},
		{"frames missing", []func(*desk){inSync, func(r *desk) { r.b.lost(); r.b.say() }}, false, 0},
		{"asked with the link down", nil, true, 240},
		{"for 29 s", []func(*desk){wait(29 * second)}, true, 240},
		{"for 30 s", []func(*desk){wait(30 * second)}, true, 1},
		{"link lost while asked", []func(*desk){down}, false, 240},
		{"link lost while asked, 30 s ago", []func(*desk){down, wait(30 * second)}, false, 1},
		{"link lost once in sync", []func(*desk){inSync, down}, false, 1},
		{"link lost once in sync, long ago", []func(*desk){inSync, down, wait(3600 * second)}, false, 1},
		{"link back once in sync", []func(*desk){inSync, down, func(r *desk) { r.linkUp() }}, false, 1}, // not 240 on both ends of a cut cable
		{"in sync again", []func(*desk){inSync, down, func(r *desk) { r.linkUp() }, inSync}, false, 0},
		{"asked anew in sync, for a doubt", []func(*desk){inSync, func(r *desk) { r.b.epoch++; r.b.frame = 0; r.b.say() }}, false, 0},
		{"another syncdev", []func(*desk){inSync, func(r *desk) { r.setConfig(func(*Config) {}, true) }}, false, 240},
		{"no syncdev", []func(*desk){inSync, func(r *desk) { r.setConfig(func(c *Config) { c.Sync = false }, true) }}, false, 0},
		{"another value", []func(*desk){func(r *desk) { r.setConfig(func(c *Config) { c.Demotion = 7 }, false) }}, false, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t)
			if !tc.cold {
				r.linkUp()
			}
			r.dump()
			r.sent()
			for _, do := range tc.do {
				do(r)
			}
			if got := r.e.Status(r.now).Demotion; got != tc.want {
				t.Errorf("%d, want %d (sync %v)", got, tc.want, r.e.Status(r.now).Sync)
			}
		})
	}
}
