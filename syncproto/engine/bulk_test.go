package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
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

// serving returns a desk with n states, all announced, that B asked for.
func serving(t *testing.T, n int) *desk {
	r := ready(t)
	for i := range n {
		f := udp(byte(i), assured)
		f.Orig.Src[2] = byte(i >> 8)
		f.Reply = f.Orig.Inverse(f.Proto)
		r.made(f)
	}
	r.pass(10 * milli)
	if got := len(r.sent()); got != n {
		t.Fatalf("%d announced", got)
	}
	r.pass(second)
	r.sent()
	r.b.say(ask(pfstate.ID{}))
	return r
}

// TestBulkSend: a start, every state once, an end with the time since the
// request.
func TestBulkSend(t *testing.T) {
	r := serving(t, 20)
	got := r.until(r.now + second/2)
	want := []string{"BUS start"}
	for i := range 20 {
		want = append(want, fmt.Sprintf("UPD A%d 2:2", i))
	}
	r.expect("sent", got, append(want, "BUS end")...)
	for _, f := range r.frames() {
		t.Errorf("then %+v", f)
	}
}

func TestBulkSendEmpty(t *testing.T) {
	r := ready(t)
	r.b.say(ask(pfstate.ID{}))
	frames := r.frames()
	if len(frames) != 2 || len(frames[0].words) != 1 || frames[0].words[0] != "BUS start" || len(frames[1].words) != 1 || frames[1].words[0] != "BUS end" {
		t.Errorf("frames %+v", frames) // of two BUS in a frame a pf reads the first
	}
	if frames[0].info.Flags&syncproto.InfoSending == 0 || frames[1].info.Flags&syncproto.InfoSending != 0 {
		t.Error("the frames do not tell whether more comes")
	}
}

// acknowledge answers the marks of a transfer, which are names of ours.
func (p *speaker) acknowledge(marks []string) {
	for _, m := range marks {
		var no uint64
		_, _ = fmt.Sscanf(m, "A%d", &no)
		p.say(insAck(mine(no)))
	}
}

// TestBulkPacing: every 64th record asks for an acknowledgement; to a BSD four
// marks may be open, beyond that a frame leaves each millisecond; to a Linux
// eight, and it is waited for.
func TestBulkPacing(t *testing.T) {
	states := func(frames []said) (n int, marks []string) {
		for _, f := range frames {
			for _, w := range f.words {
				var name string
				var a, b int
				if k, _ := fmt.Sscanf(w, "UPD %s %d:%d", &name, &a, &b); k == 3 {
					n++
					if w[len(w)-3:] == "ack" {
						marks = append(marks, name)
					}
				}
			}
		}
		return n, marks
	}
	t.Run("Linux that does not acknowledge", func(t *testing.T) {
		r := serving(t, 2000)
		for range 3 {
			n, marks := states(r.frames())
			if len(marks) != maxMarksLinux || n < maxMarksLinux*markEvery-16 || n > maxMarksLinux*markEvery+16 {
				t.Fatalf("%d states and %d marks before any acknowledgement", n, len(marks))
			}
			if d := r.e.Deadline(); d != r.now+markLost {
				t.Errorf("goes on after %d us", (d-r.now)/1000)
			}
			r.pass(markLost - 1)
			if f := r.frames(); len(f) != 0 {
				t.Fatalf("%d frames too early", len(f))
			}
			r.pass(1)
		}
	})
	t.Run("Linux that has gone", func(t *testing.T) {
		r := serving(t, 2000)
		r.c.say(ask(pfstate.ID{}))
		_, marks := states(r.frames())
		r.pass(linuxSilent + second)
		r.frames() // the heartbeat that is due
		for range 30 {
			r.c.acknowledge(marks)
			_, marks = states(r.frames())
		}
		if r.e.serve.active {
			t.Errorf("%d states left for who still is there", r.e.serve.left)
		}
	})
	t.Run("BSD that does not acknowledge", func(t *testing.T) {
		r := serving(t, 1000)
		r.e.serve.by[0].linux = false
		n, marks := states(r.frames())
		if len(marks) != maxMarks || n < maxMarks*markEvery || n > maxMarks*markEvery+16 {
			t.Fatalf("%d states and %d marks before any acknowledgement", n, len(marks))
		}
		if d := r.e.Deadline(); d != r.now+blindPace {
			t.Errorf("goes on after %d us", (d-r.now)/1000)
		}
		for range 10 {
			r.pass(blindPace)
			if f := r.frames(); len(f) != 1 {
				t.Fatalf("%d frames in a millisecond", len(f))
			}
		}
	})
	t.Run("acknowledged", func(t *testing.T) {
		r := serving(t, 1000)
		total, marks := states(r.frames())
		for range 20 {
			r.b.acknowledge(marks)
			var n int
			n, marks = states(r.frames())
			total += n
		}
		if total != 1000 {
			t.Errorf("%d states without time passing, want all", total)
		}
	})
	t.Run("by who did not ask", func(t *testing.T) {
		r := serving(t, 1000)
		_, marks := states(r.frames())
		r.c.acknowledge(marks)
		if f := r.frames(); len(f) != 0 {
			t.Errorf("%d frames", len(f))
		}
	})
	t.Run("the slower of two", func(t *testing.T) {
		r := serving(t, 1000)
		r.c.say(ask(pfstate.ID{}))
		_, marks := states(r.frames())
		r.b.acknowledge(marks)
		if f := r.frames(); len(f) != 0 {
			t.Errorf("%d frames before the slower acknowledged", len(f))
		}
	})
	t.Run("live changes go first", func(t *testing.T) {
		r := serving(t, 1000)
		r.frames()
		f := udp(200, fresh)
		f.Orig.SrcPort = 9
		f.Reply = f.Orig.Inverse(f.Proto)
		r.made(f)
		r.pass(10 * milli)
		if got := r.frames(); len(got) == 0 || got[0].words[0] != "INS A1000 1:0" {
			t.Errorf("first: %+v", got)
		}
	})
}

// TestBulkRequests: a source may ask once a second, and who asks while a
// transfer runs misses nothing.
func TestBulkRequests(t *testing.T) {
	r := serving(t, 600)
	r.b.say(ask(pfstate.ID{}))
	r.expectReason(ReasonRateBulk, 1)
	first := r.sent()
	r.c.say(ask(pfstate.ID{}))
	second := r.until(r.now + 900*milli)
	count := map[string]int{}
	for _, w := range append(first, second...) {
		count[w[:min(len(w), 9)]]++
	}
	if count["BUS start"] != 2 || count["BUS end"] != 1 {
		t.Errorf("%d starts, %d ends", count["BUS start"], count["BUS end"])
	}
	told := map[string]bool{}
	for _, w := range second {
		var name string
		if k, _ := fmt.Sscanf(w, "UPD %s", &name); k == 1 {
			told[name] = true
		}
	}
	if len(told) != 600 {
		t.Errorf("the second was told %d states", len(told))
	}
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
