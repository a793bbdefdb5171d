package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestLocalLife: what peers hear of a connection's life, by what happened
// within one delay.
func TestLocalLife(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []string
	}{
		{"begin", func(r *desk) { r.made(tcp(1, pfstate.TCPSynSent)) }, []string{"INS A0 2:0"}},
		{"a handshake is one insert", func(r *desk) {
			r.made(tcp(1, pfstate.TCPSynSent))
			r.changed(tcp(1, pfstate.TCPSynRecv))
			r.changed(tcp(1, pfstate.TCPEstablished))
		}, []string{"INS A0 4:4"}},
		{"nothing of what began and ended", func(r *desk) {
			r.made(tcp(1, pfstate.TCPSynSent))
			r.killed(tcp(1, pfstate.TCPSynSent))
		}, nil},
		{"two connections, in their order", func(r *desk) {
			r.made(udp(2, fresh))
			r.made(udp(1, fresh))
		}, []string{"INS A0 1:0", "INS A1 1:0"}},
		{"udp answered", func(r *desk) {
			r.made(udp(1, fresh))
			r.changed(udp(1, answered))
		}, []string{"INS A0 2:1"}},
		{"an update for what nobody began", func(r *desk) { r.changed(tcp(1, pfstate.TCPEstablished)) }, []string{"INS A0 4:4"}},
		{"the same NEW twice", func(r *desk) {
			r.made(udp(1, fresh))
			r.made(udp(1, fresh))
		}, []string{"INS A0 1:0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.do(r)
			r.expectSent(tc.want...)
			r.expectOps()
		})
	}
}

// TestLocalChange: a state that peers know, told by the shortest message that
// says what changed.
func TestLocalChange(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []string
	}{
		{"moves on", func(r *desk) { r.changed(tcp(1, pfstate.TCPFinWait)) }, []string{"UPD_C A0 7:4"}},
		{"moves on twice", func(r *desk) {
			r.changed(tcp(1, pfstate.TCPFinWait))
			r.changed(tcp(1, pfstate.TCPTimeWait))
		}, []string{"UPD_C A0 9:9"}},
		{"no news", func(r *desk) { r.changed(tcp(1, pfstate.TCPEstablished)) }, nil},
		{"mark alone", func(r *desk) {
			f := tcp(1, pfstate.TCPEstablished)
			f.Mark = 7
			r.changed(f)
		}, []string{"UPD A0 4:4 mark 7"}},
		{"compressed, then the mark", func(r *desk) {
			f := tcp(1, pfstate.TCPFinWait)
			r.changed(f)
			f.Mark = 7
			r.changed(f)
		}, []string{"UPD A0 7:4 mark 7"}},
		{"a timeout unlike the receiver's", func(r *desk) { r.changed(left(tcp(1, pfstate.TCPFinWait), 10)) }, []string{"UPD A0 7:4"}},
		{"expires", func(r *desk) { r.expired(tcp(1, pfstate.TCPEstablished)) }, []string{"DEL_C A0"}},
		{"killed", func(r *desk) { r.killed(tcp(1, pfstate.TCPEstablished)) }, []string{"DEL_C A0 killed"}},
		{"port reused without an end", func(r *desk) { r.made(tcp(1, pfstate.TCPSynSent)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"killed and begun again", func(r *desk) {
			r.killed(tcp(1, pfstate.TCPEstablished))
			r.made(tcp(1, pfstate.TCPSynSent))
		}, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"the kernel goes back", func(r *desk) { r.changed(tcp(1, pfstate.TCPSynSent)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"another translation", func(r *desk) { r.made(masqueraded(tcp(1, pfstate.TCPSynSent), 9)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"the reverse is the same connection", func(r *desk) { r.changed(reversed(tcp(1, pfstate.TCPFinWait))) }, []string{"UPD_C A0 7:4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(tcp(1, pfstate.TCPSynSent))
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.expectSent("INS A0 4:4")
			r.pass(3 * second)
			tc.do(r)
			r.expectSent(tc.want...)
		})
	}
}

// TestMaxDelay: a change leaves at its time and not before.
func TestMaxDelay(t *testing.T) {
	for _, tc := range []struct {
		name  string
		delay int64
	}{{"default", 10 * milli}, {"a second", second}, {"none", 0}} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, func(c *Config) { c.MaxDelay = 0; c.MaxDelay += timeDuration(tc.delay) })
			begin := r.now
			r.made(udp(1, fresh))
			if d := r.e.Deadline(); d != begin+tc.delay {
				t.Errorf("due after %d ms, want %d", (d-begin)/milli, tc.delay/milli)
			}
			if tc.delay > 0 {
				r.pass(tc.delay - 1)
				r.expect("sent early", r.sent())
				r.made(udp(2, fresh)) // does not put it off
				r.pass(1)
				r.expect("sent", r.sent(), "INS A0 1:0", "INS A1 1:0")
				return
			}
			r.expect("sent", r.sent(), "INS A0 1:0")
		})
	}
}

// TestMaxUpd: so many collapsed updates of a TCP state are sent at once.
func TestMaxUpd(t *testing.T) {
	for _, tc := range []struct {
		name    string
		maxupd  int
		changes int
		proto   uint8
		now     bool
	}{
		{"below", 3, 3, pfstate.ProtoTCP, false},
		{"reached", 3, 4, pfstate.ProtoTCP, true},
		{"udp does not count", 3, 10, pfstate.ProtoUDP, false},
		{"zero", 0, 2, pfstate.ProtoTCP, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, func(c *Config) { c.MaxUpd = tc.maxupd })
			f := tcp(1, pfstate.TCPEstablished)
			if tc.proto == pfstate.ProtoUDP {
				f = udp(1, assured)
			}
			r.made(f)
			r.expectSent("INS A0 " + map[uint8]string{pfstate.ProtoTCP: "4:4", pfstate.ProtoUDP: "2:2"}[tc.proto])
			for i := range tc.changes {
				f.Mark = uint32(i + 1)
				r.changed(f)
			}
			if got := len(r.sent()) > 0; got != tc.now {
				t.Errorf("sent at once: %v", got)
			}
		})
	}
}

// TestRecentPeer: what a peer has just updated, both see: changes go at once.
func TestRecentPeer(t *testing.T) {
	r := ready(t)
	name := r.known(5, tcp(1, pfstate.TCPEstablished))
	r.changed(tcp(1, pfstate.TCPFinWait))
	r.expect("long after the peer's update", r.sent())
	r.expectSent("UPD_C B5 7:4")
	r.b.say(updc(name, tcp(1, pfstate.TCPFinWait)))
	r.pass(second)
	r.changed(tcp(1, pfstate.TCPTimeWait))
	r.expect("soon after", r.sent(), "UPD_C B5 9:9")
}

// TestFullFrame: a frame that is full does not wait for company.
func TestFullFrame(t *testing.T) {
	r := ready(t)
	for i := range byte(8) {
		r.made(udp(i, fresh))
	}
	if got := r.frames(); len(got) == 0 || len(got[0].words) < 4 {
		t.Fatalf("frames: %+v", got)
	}
	r = ready(t)
	for i := range byte(100) {
		r.made(udp(i, fresh))
	}
	r.pass(10 * milli)
	n := 0
	for _, f := range r.frames() {
		if f.bytes > 1500-ipHeader {
			t.Errorf("a frame of %d bytes", f.bytes)
		}
		n += len(f.words)
	}
	if n != 100 {
		t.Errorf("%d states told, want 100", n)
	}
}

// TestHeartbeat: who sent nothing for a second says so, and shows it nowhere.
func TestHeartbeat(t *testing.T) {
	r := ready(t)
	start := r.now
	if d := r.e.Deadline(); d != start+second {
		t.Errorf("due after %d ms", (d-start)/milli)
	}
	var beats []said
	for range 5 {
		r.pass(r.e.Deadline() - r.now)
		beats = append(beats, r.frames()...)
	}
	if len(beats) != 5 || r.now != start+5*second {
		t.Fatalf("%d heartbeats in %d ms", len(beats), (r.now-start)/milli)
	}
	for i, f := range beats {
		if len(f.words) != 0 || f.show || f.info.CreatorID != hostA || i > 0 && f.info.Frame != beats[i-1].info.Frame+1 {
			t.Errorf("heartbeat %d: %+v", i, f)
		}
	}
	r.pass(second / 2)
	r.made(udp(1, fresh))
	r.expectSent("INS A0 1:0")
	if d := r.e.Deadline(); d != r.now+second {
		t.Errorf("after a frame: due in %d ms", (d-r.now)/milli)
	}
	r.linkDown()
	r.pass(10 * second)
	if got := r.frames(); len(got) > 0 {
		t.Errorf("frames without link: %+v", got)
	}
}

// TestLinkDown: what changes while the link is down collapses, and leaves
// when it is back.
func TestLinkDown(t *testing.T) {
	r := ready(t)
	r.linkDown()
	r.made(tcp(1, pfstate.TCPSynSent))
	r.pass(second)
	r.changed(tcp(1, pfstate.TCPEstablished))
	r.made(udp(2, fresh))
	r.killed(udp(2, fresh))
	r.pass(second)
	r.expect("without link", r.sent())
	r.linkUp()
	r.expect("with link", r.sent(), "UPD_REQ 0", "INS A0 4:4")
}

// TestNoSync: what a filter keeps here is never told, and what becomes such is
// withdrawn.
func TestNoSync(t *testing.T) {
	filter := func(c *Config) {
		c.Filter.Marks = []pfstate.MarkMatch{{Value: 1, Mask: 1}}
		c.Filter.Labels = []uint8{0}
	}
	marked, plain := udp(1, assured), udp(1, assured)
	marked.Mark = 1
	t.Run("never told", func(t *testing.T) {
		r := ready(t, filter)
		r.made(marked)
		r.changed(marked)
		r.dump(marked)
		r.killed(marked)
		r.expectSent()
		r.expectNames()
	})
	t.Run("withdrawn by an event", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.expectSent("INS A0 2:2")
		r.changed(marked)
		r.expectSent("DEL_C A0 killed")
		r.expectOps() // the kernel's entry stays
		r.expectNames()
	})
	t.Run("withdrawn by a dump", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.expectSent("INS A0 2:2")
		r.dump(marked)
		r.expectSent("DEL_C A0 killed")
		r.expectOps()
	})
	t.Run("withdrawn before it was told", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.changed(marked)
		r.expectSent()
	})
	t.Run("a peer's with the mark", func(t *testing.T) {
		r := ready(t, filter)
		it := ins(theirs(5), plain)
		it.tlvs = markTLV(1)
		r.b.say(it)
		r.expectOps()
		r.expectNames()
	})
	t.Run("a peer's with the label", func(t *testing.T) {
		r := ready(t, filter)
		it := ins(theirs(5), plain)
		it.tlvs = labelTLV(0)
		r.b.say(it)
		r.expectOps()
		r.expectNames()
	})
	t.Run("a peer's of a protocol never synchronised", func(t *testing.T) {
		r := ready(t)
		f := udp(1, assured)
		f.Proto = pfstate.ProtoVRRP
		r.b.say(ins(theirs(5), f))
		r.expectOps()
	})
	t.Run("comes back", func(t *testing.T) {
		r := ready(t, filter)
		r.made(marked)
		r.changed(plain) // it does not tell labels, which the filter looks at
		r.expectSent()
		r.dump(plain)
		r.expectSent("INS A0 2:2")
	})
}

// TestLiveness: a dump that finds a timeout refreshed is a sign of life. It is
// told within a second, and not each time.
func TestLiveness(t *testing.T) {
	f := tcp(1, pfstate.TCPEstablished) // 432000 s
	r := ready(t)
	r.made(f)
	r.expectSent("INS A0 4:4")

	r.pass(10 * second)
	r.dump(f)
	r.expectSent()
	r.expect("refreshed a little", r.until(r.now+2*second))

	r.pass(60_000 * second) // more than an eighth of the timeout
	r.dump(left(f, 432000-60_000))
	r.expect("not refreshed", r.until(r.now+2*second))
	r.dump(f)
	begin := r.now
	r.expectSent()
	r.expect("refreshed", r.until(begin+second), "UPD_C A0 4:4")
	r.dump(f)
	r.expect("again", r.until(r.now+2*second))

	r.pass(100_000 * second)
	r.dump(left(f, 200_000))
	r.expect("to a timeout unlike the receiver's", r.until(r.now+2*second))
	r.dump(left(f, 320_000))
	r.expect("to a timeout still unlike", r.until(r.now+2*second))
}

// TestLivenessTakesOver: the first sign of life of what a peer carried is told
// whatever the time.
func TestLivenessTakesOver(t *testing.T) {
	r := ready(t)
	name := r.known(5, udp(1, assured))
	if r.state(name).Carried() {
		t.Fatal("carried before a packet was seen")
	}
	r.pass(20 * second)
	r.b.say()
	r.dump(udp(1, assured))
	r.expect("told", r.until(r.now+second), "UPD_C B5 2:2")
	if !r.state(name).Carried() {
		t.Error("not carried")
	}
}

// TestDeaf: an entry first met in a dump may never send an event. Dumps tell
// its changes, and that is nothing to be counted as wrong.
func TestDeaf(t *testing.T) {
	r := ready(t)
	r.dump(tcp(1, pfstate.TCPEstablished))
	r.expectReason(ReasonReconciled, 1)
	r.expectSent("INS A0 4:4")
	if !r.state(mine(0)).Has(pfstate.FlagDeaf) {
		t.Error("not taken for deaf")
	}
	r.pass(10 * second)
	r.dump(tcp(1, pfstate.TCPFinWait))
	r.expectSent("UPD_C A0 7:4")
	r.expectReason(ReasonReconciled, 1)

	r.pass(10 * second)
	r.made(tcp(2, pfstate.TCPEstablished)) // one that does tell
	r.expectSent("INS A1 4:4")
	r.pass(10 * second)
	r.dump(left(tcp(1, pfstate.TCPFinWait), 100), tcp(2, pfstate.TCPFinWait))
	r.expectSent("UPD_C A1 7:4")
	r.expectReason(ReasonReconciled, 2)
}

// TestDeafUntilItsEvent: the first event ends that.
func TestDeafUntilItsEvent(t *testing.T) {
	r := ready(t)
	r.dump(tcp(1, pfstate.TCPEstablished))
	r.changed(tcp(1, pfstate.TCPFinWait))
	if r.state(mine(0)).Has(pfstate.FlagDeaf) {
		t.Error("still taken for deaf after an event")
	}
}

// TestCarrierExpiry: what expires here and was not carried here may live
// elsewhere: only its carrier knows.
func TestCarrierExpiry(t *testing.T) {
	expire := func(t *testing.T) (*desk, pfstate.ID) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.pass(120 * second)
		r.b.say()
		r.expired(udp(1, assured))
		r.expect("asked at once", r.sent(), "UPD_REQ B5")
		r.expectReason(ReasonLost, 1)
		return r, name
	}
	t.Run("alive elsewhere", func(t *testing.T) {
		r, name := expire(t)
		r.b.say(upd(name, udp(1, assured)))
		r.expectOps("create 1")
		r.done(pfstate.ResultOK)
		r.expectReason(ReasonRevived, 1)
		r.expectSent()
		r.expectNames("B5")
	})
	t.Run("nobody answers", func(t *testing.T) {
		r, name := expire(t)
		words := r.until(r.now + lostWait)
		r.expect("asked again", words, "UPD_REQ B5")
		r.expect("then no more", r.until(r.now+2*lostWait))
		r.expectOps() // the kernel has none
		r.gone(name)
	})
	t.Run("over there too", func(t *testing.T) {
		r, name := expire(t)
		r.b.hearsay(upd(name, left(udp(1, assured), 1)))
		r.expectOps()
	})
	t.Run("the carrier says it is over", func(t *testing.T) {
		r, name := expire(t)
		r.b.say(del(name))
		r.expectOps()
		r.gone(name)
		r.expect("nothing more", r.until(r.now+3*lostWait))
	})
	t.Run("the tuple begins anew here", func(t *testing.T) {
		r, name := expire(t)
		r.made(udp(1, fresh))
		r.expectSent("DEL_C B5 killed", "INS A0 1:0")
		r.gone(name)
	})
	t.Run("no living peer", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.pass(120 * second)
		r.sent()
		r.expired(udp(1, assured))
		r.expect("sent", r.sent())
		r.gone(name)
	})
	t.Run("carried here", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, answered))
		r.changed(udp(1, assured))
		r.expectSent("UPD_C B5 2:2")
		r.pass(120 * second)
		r.b.say()
		r.expired(udp(1, assured))
		r.expectSent("DEL_C B5")
		r.gone(name)
	})
	t.Run("killed, whoever carries it", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.killed(udp(1, assured))
		r.expectSent("DEL_C B5 killed")
		r.gone(name)
	})
}

// TestCarrierDelete: what a peer deletes and who obeys.
func TestCarrierDelete(t *testing.T) {
	t.Run("not carried here", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.b.say(del(name))
		r.expect("operation", r.ops(), "delete 1")
		if r.asked[0].MaxLeft == 0 {
			t.Error("the delete is not guarded")
		}
		r.done(pfstate.ResultOK)
		r.expectSent()
		r.expectNames()
	})
	t.Run("refreshed since the sender could know", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.b.say(del(name))
		r.ops()
		r.doneFlow(pfstate.ResultLiving, left(udp(1, assured), 119))
		r.expectReason(ReasonDelRefused, 1)
		r.expect("answered at once", r.sent(), "UPD B5 2:2")
		if !r.state(name).Carried() {
			t.Error("not carried")
		}
	})
	t.Run("carried here", func(t *testing.T) {
		r := ready(t)
		r.made(udp(1, assured))
		r.expectSent("INS A0 2:2")
		r.pass(2 * second)
		r.b.say(del(mine(0)))
		r.expectOps()
		r.expectReason(ReasonDelRefused, 1)
		r.expect("answered at once", r.sent(), "UPD A0 2:2")
		r.expectNames("A0")
	})
	t.Run("carried here and about to expire", func(t *testing.T) {
		r := ready(t)
		r.made(udp(1, assured))
		r.expectSent("INS A0 2:2")
		r.pass(119 * second)
		r.b.say(del(mine(0)))
		r.expectOps("delete 1")
	})
	t.Run("a kill is always obeyed", func(t *testing.T) {
		r := ready(t)
		r.made(udp(1, assured))
		r.expectSent("INS A0 2:2")
		r.b.say(kill(mine(0)))
		r.expect("operation", r.ops(), "delete 1")
		if r.asked[0].MaxLeft != 0 {
			t.Error("the kill is guarded")
		}
		r.done(pfstate.ResultOK)
		r.expectSent()
		r.expectNames()
	})
	t.Run("unknown", func(t *testing.T) {
		r := ready(t)
		r.b.say(del(theirs(99)))
		r.expectOps()
		r.expectSent()
		if r.e.Stats.Count[CountBadState] != 1 {
			t.Error("not counted")
		}
	})
	t.Run("crosses ours", func(t *testing.T) {
		r := ready(t)
		name := r.known(5, udp(1, assured))
		r.killed(udp(1, assured))
		r.b.say(kill(name))
		r.expectSent()
		r.expectOps()
		r.expectNames()
	})
}

// TestClear: a CLR ends its creator's states but those that pass here.
func TestClear(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, assured))
	carried := r.known(6, udp(2, answered))
	r.changed(udp(2, assured))
	r.made(udp(3, fresh))
	r.expectSent("UPD_C B6 2:2", "INS A0 1:0")
	r.pass(2 * second)
	r.b.say(clr(hostB))
	r.expectOps("delete 1")
	r.done(pfstate.ResultOK)
	r.expect("announced again", r.sent(), "UPD B6 2:2")
	r.expectNames("A0", "B6")
	if r.state(carried).Has(pfstate.FlagDead) {
		t.Error("the carried one is dead")
	}
	r.b.say(clr(0))
	r.expectOps()
}

// TestRebroadcast: what came from a peer is never told as ours.
func TestRebroadcast(t *testing.T) {
	r := ready(t)
	name := theirs(5)
	r.b.say(ins(name, tcp(1, pfstate.TCPSynSent)))
	r.kernel()
	r.b.say(updc(name, tcp(1, pfstate.TCPEstablished)))
	r.kernel()
	r.b.say(upd(name, tcp(1, pfstate.TCPFinWait)))
	r.kernel()
	r.b.say(del(name))
	r.kernel()
	r.expect("sent", r.until(r.now+5*second))
}

// TestStale: who lags behind is told where we are, once a second.
func TestStale(t *testing.T) {
	r := ready(t)
	r.made(tcp(1, pfstate.TCPSynSent))
	r.changed(tcp(1, pfstate.TCPFinWait))
	r.expectSent("INS A0 7:4")
	r.pass(2 * second)
	r.b.say(updc(mine(0), tcp(1, pfstate.TCPEstablished)))
	r.expect("answered", r.sent(), "UPD_C A0 7:4")
	if r.e.Stats.Count[CountStale] != 1 {
		t.Error("not counted")
	}
	r.b.say(updc(mine(0), tcp(1, pfstate.TCPEstablished)))
	r.expect("at once again", r.sent())
	r.expectOps()
}

// TestUnknownUpdate: a compressed update for a name we do not know is asked
// for.
func TestUnknownUpdate(t *testing.T) {
	r := ready(t)
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expect("asked", r.sent(), "UPD_REQ B5")
	r.b.say(upd(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expectOps("create 1")
}

// TestRequest: an UPD_REQ is answered at once, of what lives.
func TestRequest(t *testing.T) {
	r := ready(t)
	r.made(udp(1, assured))
	r.expectSent("INS A0 2:2")
	heard := r.known(5, udp(2, assured))
	r.b.say(ask(mine(0)), ask(heard), ask(theirs(99)))
	got := fmt.Sprint(r.sent())
	if want := "[UPD A0 2:2 carried UPD B5 2:2]"; got != want && got != "[UPD A0 2:2 UPD B5 2:2]" {
		t.Errorf("answer: %s, want %s", got, want)
	}
	r.pass(119 * second)
	r.b.say(ask(heard))
	r.expect("hearsay that is over", r.sent())
}
