package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestFrameGap: missing frames are asked for after a moment, again until they
// come or are given up.
func TestFrameGap(t *testing.T) {
	gap := func(t *testing.T, lost int) *desk {
		r := ready(t)
		for range lost {
			r.b.lost()
		}
		r.b.say()
		r.expectReason(ReasonFrameLost, uint64(lost))
		r.expect("at once", r.sent())
		if lost > 0 && !r.e.Status(r.now).Diverged {
			t.Error("not diverged")
		}
		return r
	}
	t.Run("none", func(t *testing.T) {
		r := gap(t, 0)
		r.expect("sent", r.until(r.now+second/2))
	})
	t.Run("asked for", func(t *testing.T) {
		r := gap(t, 2)
		r.pass(gapPatience - 1)
		r.expect("early", r.sent())
		r.pass(1)
		r.expect("sent", r.sent(), "want bbbb 3-4")
		r.expectReason(ReasonFrameAsked, 1)
	})
	t.Run("sent again", func(t *testing.T) {
		r := gap(t, 2)
		r.pass(gapPatience)
		r.sent()
		r.b.say(ins(theirs(5), udp(1, fresh)), control(hostA, framesAgain(0xbbbb, 3, 4, false)))
		r.expectOps("create 1")
		if r.e.Status(r.now).Diverged {
			t.Error("diverged")
		}
		r.expect("then", r.until(r.now+2*second))
	})
	t.Run("for another", func(t *testing.T) {
		r := gap(t, 2)
		r.b.say(control(hostC, framesAgain(0xbbbb, 3, 4, false)))
		if !r.e.Status(r.now).Diverged {
			t.Error("another's answer was taken")
		}
	})
	t.Run("of another epoch", func(t *testing.T) {
		r := gap(t, 2)
		r.b.say(control(hostA, framesAgain(0xbbbc, 3, 4, false)))
		if !r.e.Status(r.now).Diverged {
			t.Error("an old answer was taken")
		}
	})
	t.Run("half of it", func(t *testing.T) {
		r := gap(t, 3)
		r.b.say(control(hostA, framesAgain(0xbbbb, 4, 4, false)))
		r.pass(gapPatience)
		r.expect("sent", r.sent(), "want bbbb 3-3", "want bbbb 5-5")
	})
	t.Run("overtaken", func(t *testing.T) {
		r := ready(t)
		late := r.b.bytes(3, syncproto.InfoCarried, []item{ins(theirs(5), udp(1, fresh))})
		r.b.lost()
		r.b.say()
		r.pass(gapPatience / 2)
		r.e.Remote(r.now, r.b.addr, late)
		r.expectOps("create 1")
		r.expect("sent", r.until(r.now+second/2))
		if r.e.Status(r.now).Diverged {
			t.Error("diverged")
		}
	})
	t.Run("by the first one heard", func(t *testing.T) {
		r := newDesk(t)
		r.linkUp()
		r.dump()
		r.sent()
		start := r.b.bytes(1, syncproto.InfoSending, []item{bus(syncproto.BusStart)})
		r.b.frame = 3
		r.b.say()
		r.e.Remote(r.now, r.b.addr, start)
		r.b.say(bus(syncproto.BusEnd))
		r.pass(gapPatience)
		r.expect("sent", r.sent(), "want bbbb 2-3")
	})
	t.Run("forgotten", func(t *testing.T) {
		r := gap(t, 2)
		r.pass(gapPatience)
		r.sent()
		r.b.say(control(hostA, framesAgain(0xbbbb, 3, 4, true)))
		r.pass(0)
		r.expect("sent", r.sent(), "UPD_REQ 0")
		if s := r.e.Status(r.now); s.Demotion != 0 || s.Sync != SyncOK {
			t.Errorf("%+v", s) // what we have is good
		}
	})
	t.Run("never answered", func(t *testing.T) {
		r := gap(t, 1)
		asked, bulk := 0, 0
		for end := r.now + 60*second; r.now < end && bulk == 0; {
			for _, w := range r.sent() {
				switch w {
				case "want bbbb 3-3":
					asked++
				case "UPD_REQ 0":
					bulk++
				default:
					t.Fatalf("sent %s", w)
				}
			}
			r.pass(50 * milli)
			r.b.say()
		}
		if asked != gapTries || bulk != 1 {
			t.Errorf("asked %d times, then for the table %d times", asked, bulk)
		}
	})
	t.Run("more than is remembered", func(t *testing.T) {
		r := ready(t)
		r.b.frame += sentFrames + 1
		r.b.say()
		r.pass(0)
		r.expect("sent", r.sent(), "UPD_REQ 0")
	})
	t.Run("many ranges", func(t *testing.T) {
		r := ready(t)
		for range 3 * maxGaps {
			r.b.lost()
			r.b.say()
		}
		for range 3 * maxGaps { // each request is for two of them
			r.pass(gapAgain * 8)
			for _, w := range r.sent() {
				var epoch, first, last uint32
				if n, _ := fmt.Sscanf(w, "want %x %d-%d", &epoch, &first, &last); n == 3 {
					r.b.say(control(hostA, framesAgain(epoch, first, last, false)))
				}
			}
		}
		if r.e.Status(r.now).Diverged {
			t.Error("something is still missing")
		}
	})
	t.Run("a restart forgets it", func(t *testing.T) {
		r := gap(t, 2)
		r.b.epoch++
		r.b.frame = 0
		r.b.say()
		r.pass(0)
		r.expect("sent", r.sent(), "UPD_REQ 0")
		r.expect("then", r.until(r.now+gapPatience))
	})
}

// TestResend: who misses frames is told what they named, as it is now.
func TestResend(t *testing.T) {
	sent := func(t *testing.T) (r *desk, no uint32) {
		r = ready(t)
		r.made(udp(1, fresh))
		r.made(tcp(2, pfstate.TCPSynSent))
		r.made(udp(3, fresh))
		r.pass(10 * milli)
		fs := r.frames()
		if len(fs) != 1 || len(fs[0].words) != 3 {
			t.Fatalf("frames %+v", fs)
		}
		r.pass(2 * second)
		r.frames()
		return r, fs[0].info.Frame
	}
	words := func(fs []said) (out []string) {
		for _, f := range fs {
			out = append(out, f.words...)
		}
		return out
	}
	t.Run("as it is now", func(t *testing.T) {
		r, no := sent(t)
		r.changed(tcp(2, pfstate.TCPEstablished))
		r.killed(udp(3, fresh))
		r.b.say(control(hostB, nil), control(hostA, wantFrames(0xaaaa, no, no)))
		got := words(r.frames())
		r.expect("sent", got, "DEL_C A2 killed", "UPD A0 1:0", "UPD A1 4:4", fmt.Sprintf("again aaaa %d-%d", no, no))
		r.expectReason(ReasonFrameResent, 1)
	})
	t.Run("a delete", func(t *testing.T) {
		r, _ := sent(t)
		r.killed(udp(3, fresh))
		r.pass(10 * milli)
		no := r.frames()[0].info.Frame
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no)))
		r.expect("sent", words(r.frames()), "DEL_C A2 killed", fmt.Sprintf("again aaaa %d-%d", no, no))
	})
	t.Run("a delete for two", func(t *testing.T) {
		r, _ := sent(t)
		r.killed(udp(3, fresh))
		r.pass(10 * milli)
		no := r.frames()[0].info.Frame
		again := fmt.Sprintf("again aaaa %d-%d", no, no)
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no)))
		r.c.say(control(hostA, wantFrames(0xaaaa, no, no)))
		r.expect("sent", words(r.frames()), "DEL_C A2 killed", again, again)
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no)))
		r.expect("sent", words(r.frames()), again) // what it was in since is known to be missing, or is not
	})
	t.Run("for another firewall", func(t *testing.T) {
		r, no := sent(t)
		r.b.say(control(hostC, wantFrames(0xaaaa, no, no)))
		r.expect("sent", words(r.frames()))
	})
	t.Run("of an earlier run", func(t *testing.T) {
		r, no := sent(t)
		r.b.say(control(hostA, wantFrames(0xaaa9, no, no)))
		r.expect("sent", words(r.frames()))
	})
	t.Run("not sent yet", func(t *testing.T) {
		r, no := sent(t)
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no+1000)))
		r.expect("sent", words(r.frames()))
	})
	t.Run("forgotten", func(t *testing.T) {
		r, no := sent(t)
		for range sentFrames {
			r.pass(second)
			r.frames()
		}
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no)))
		r.pass(0)
		got := words(r.frames())
		want := fmt.Sprintf("again aaaa %d-%d forgotten", no, no)
		if len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("sent %v, want %s", got, want)
		}
	})
	t.Run("the answer comes after what it is about", func(t *testing.T) {
		r := ready(t)
		for i := range byte(100) {
			r.made(udp(i, fresh))
		}
		r.pass(10 * milli)
		fs := r.frames()
		first, last := fs[0].info.Frame, fs[len(fs)-1].info.Frame
		r.pass(2 * second)
		r.frames()
		r.b.say(control(hostA, wantFrames(0xaaaa, first, last)))
		again, n := fmt.Sprintf("again aaaa %d-%d", first, last), 0
		var before int
		for _, w := range words(r.frames()) {
			if w == again {
				n++
				before = 0
				continue
			}
			before++
		}
		if n != 1 || before != 0 {
			t.Errorf("%d answers, %d states after it", n, before)
		}
	})
}

// TestSweepUnnamed: what a whole transfer did not name, and nobody carries, is
// asked for one by one, then left to its own timeout.
func TestSweepUnnamed(t *testing.T) {
	old := udp(1, assured)
	again := func(t *testing.T, items ...item) *desk {
		r := ready(t)
		r.known(5, old)
		r.made(udp(2, assured))
		r.expectSent("INS A0 2:2")
		r.pass(2 * second)
		r.e.Bulk(r.now)
		r.expect("asked", r.sent(), "UPD_REQ 0")
		r.pass(milli)
		r.transfer(0, items...)
		return r
	}
	t.Run("named", func(t *testing.T) {
		r := again(t, upd(theirs(5), old))
		r.expect("sent", r.until(r.now+10*second))
		r.expectNames("A0", "B5")
	})
	t.Run("not named", func(t *testing.T) {
		r := again(t)
		r.expect("sent", r.sent(), "UPD_REQ B5")
		r.expectReason(ReasonLost, 1)
		r.expect("again, and no more", r.until(r.now+20*second), "UPD_REQ B5")
		r.expectOps() // nobody knows it: its own timeout decides
		r.expectNames("A0", "B5")
		r.expired(old)
		r.expect("sent", r.until(r.now+20*second))
		r.expectNames("A0")
	})
	t.Run("not named, and passes here", func(t *testing.T) {
		r := again(t)
		r.expect("sent", r.until(r.now+10*second), "UPD_REQ B5", "UPD_REQ B5")
		r.dump(old, udp(2, assured))
		r.expect("told", r.until(r.now+second), "UPD_C B5 2:2")
	})
	t.Run("answered", func(t *testing.T) {
		r := again(t)
		r.sent()
		r.b.hearsay(upd(theirs(5), old))
		r.expect("sent", r.until(r.now+10*second))
		r.expectNames("A0", "B5")
	})
	t.Run("not while frames are missing", func(t *testing.T) {
		r := ready(t)
		r.known(5, old)
		r.e.Bulk(r.now)
		r.sent()
		r.pass(milli)
		r.b.sending(bus(syncproto.BusStart))
		r.b.lost()
		r.b.say(bus(syncproto.BusEnd))
		r.pass(0)
		r.expect("sent", r.sent())
		r.b.hearsay(upd(theirs(5), old), control(hostA, framesAgain(0xbbbb, r.b.frame-1, r.b.frame-1, false)))
		r.expect("sent", r.until(r.now+10*second))
		r.expectNames("B5")
	})
	t.Run("a bsd's transfer proves nothing", func(t *testing.T) {
		r := ready(t)
		r.known(5, old)
		r.e.Bulk(r.now)
		r.sent()
		r.bsd.say(busOf(0xd000, syncproto.BusStart))
		r.bsd.say(busOf(0xd000, syncproto.BusEnd))
		r.expect("sent", r.until(r.now+10*second))
	})
}

// TestOvertakenDelete: an insert that a later delete has overtaken makes no
// state.
func TestOvertakenDelete(t *testing.T) {
	r := ready(t)
	late := r.b.bytes(3, syncproto.InfoCarried, []item{ins(theirs(5), udp(1, fresh))})
	r.b.lost()
	r.b.say(kill(theirs(5)))
	r.e.Remote(r.now, r.b.addr, late)
	r.expectOps()
	r.expectNames()
	r.expectReason(ReasonDeleteLate, 1)
}
