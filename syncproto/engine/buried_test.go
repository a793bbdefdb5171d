package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestBuried: what a peer remembers of a connection whose end we told does not
// bring it back; what passes there does, unless it was killed.
func TestBuried(t *testing.T) {
	f := udp(1, answered)
	for _, tc := range []struct {
		name  string
		end   func(r *desk)
		again func(r *desk)
		want  []string // what is said
		back  bool
	}{
		{"expired, remembered", func(r *desk) { r.expired(f) }, func(r *desk) { r.b.hearsay(upd(mine(0), f)) }, []string{"DEL_C A0"}, false},
		{"expired, passes there", func(r *desk) { r.expired(f) }, func(r *desk) { r.b.say(upd(mine(0), f)) }, nil, true},
		{"expired, would pass there", func(r *desk) { r.expired(f) }, func(r *desk) { r.b.hearsay(unsure(mine(0), f)) }, nil, true},
		{"expired, asked for", func(r *desk) { r.expired(f) }, func(r *desk) { r.b.say(ask(mine(0))) }, []string{"DEL_C A0"}, false},
		{"killed, remembered", func(r *desk) { r.killed(f) }, func(r *desk) { r.b.hearsay(upd(mine(0), f)) }, []string{"DEL_C A0 killed"}, false},
		{"killed, passes there", func(r *desk) { r.killed(f) }, func(r *desk) { r.b.say(upd(mine(0), f)) }, []string{"DEL_C A0 killed"}, false},
		{"killed, would pass there", func(r *desk) { r.killed(f) }, func(r *desk) { r.b.hearsay(unsure(mine(0), f)) }, []string{"DEL_C A0 killed"}, false},
		{"never heard of", func(r *desk) { r.expired(f) }, func(r *desk) { r.b.say(ask(mine(9))) }, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(f)
			r.pass(2 * second)
			r.sent()
			tc.end(r)
			r.pass(second / 2)
			r.sent()
			tc.again(r)
			r.expect("said", r.until(r.now+second/4), tc.want...)
			if got := len(r.names()) > 0; got != tc.back {
				t.Errorf("it is back %v, want %v", got, tc.back)
			}
		})
	}
}

// TestBuriedPF: a pf whose transfer still tells of it is believed, but not of what
// both ends have closed.
func TestBuriedPF(t *testing.T) {
	for _, tc := range []struct {
		half uint8
		want []string
		back bool
	}{
		{pfstate.PFEstablished, nil, true},
		{pfstate.PFFinWait2, []string{"DEL_C D5", "DEL_C D6"}, false},
	} {
		in, out := sloppyPair(nil, tc.half, 80)
		r := ready(t)
		r.transferPF(in, out)
		r.kernel()
		r.b.say(del(pfstate.ID(in.StateID())), del(pfstate.ID(out.StateID())))
		r.kernel()
		r.sent()
		r.transferPF(in, out)
		r.expect("said", r.until(r.now+second/4), tc.want...)
		if got := len(r.names()) > 0; got != tc.back {
			t.Errorf("%d:%d is back %v, want %v", tc.half, tc.half, got, tc.back)
		}
	}
}

// TestBuriedInsists: who says it again and again is believed.
func TestBuriedInsists(t *testing.T) {
	r := ready(t)
	f := udp(1, answered)
	r.made(f)
	r.pass(2 * second)
	r.sent()
	r.expired(f)
	for range buriedAgain + 1 {
		r.until(r.now + 2*second)
		r.expectNames()
		r.b.hearsay(upd(mine(0), f))
	}
	r.expectNames("A0")
}

// TestUndead: a state that was deleted because another firewall had not seen it
// live comes back when the one where it passes speaks up, though its kernel
// entry is still on its way out.
func TestUndead(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, answered))
	r.c.say(del(theirs(5)))
	r.b.say(upd(theirs(5), udp(1, answered)))
	r.kernel()
	r.expectNames("B5")
}

// TestUndeadPair: so does one with two names, as one state.
func TestUndeadPair(t *testing.T) {
	r := ready(t)
	f := udp(1, answered)
	r.b.say(ins(theirs(5), f))
	r.kernel()
	ref, _, _ := r.e.tab.ByName(theirs(5))
	r.e.tab.SetName(ref, pfstate.SideOut, theirs(6))
	r.c.say(del(theirs(5)), del(theirs(6)))
	r.b.say(upd(theirs(5), f), upd(theirs(6), f))
	r.kernel()
	if n := r.e.tab.Len(); n != 1 {
		t.Errorf("%d states of one connection", n)
	}
}

// TestBuriedPair: of a state with two names the end of each is remembered.
func TestBuriedPair(t *testing.T) {
	f := udp(1, answered)
	for n := range uint64(2) {
		r := ready(t)
		r.b.say(paired(ins(theirs(5), f), theirs(6), f))
		r.kernel()
		ref, _, _ := r.e.tab.ByName(theirs(5))
		r.e.tab.SetName(ref, pfstate.SideOut, theirs(6))
		r.b.say(kill(theirs(5)), kill(theirs(6)))
		r.kernel()
		r.sent()
		r.c.hearsay(upd(theirs(5+n), f))
		r.expect("said", r.until(r.now+second/4), "DEL_C B"+string('5'+rune(n))+" killed")
		r.expectNames()
	}
}

// TestDoubt: hearsay that is further than what passes here renames nothing while
// another firewall that lets it pass may speak up.
func TestDoubt(t *testing.T) {
	est, fin := tcp(1, pfstate.TCPEstablished), tcp(1, pfstate.TCPTimeWait)
	start := func(t *testing.T) *desk {
		r := ready(t)
		r.made(tcp(1, pfstate.TCPSynSent))
		r.changed(est)
		r.pass(5 * second)
		r.sent()
		r.b.hearsay(updc(mine(0), fin))
		r.expect("said", r.until(r.now+second), "UPD A0 4:4")
		return r
	}
	t.Run("nobody", func(t *testing.T) {
		r := start(t)
		r.until(r.now + doubtWait)
		r.expectNames("A1")
	})
	t.Run("another", func(t *testing.T) {
		r := start(t)
		r.c.say(updc(mine(0), fin))
		r.until(r.now + doubtWait)
		r.expectNames("A0")
	})
	t.Run("an end after the last packet", func(t *testing.T) {
		r := ready(t)
		r.made(est)
		r.pass(10 * second)
		r.sent()
		r.b.hearsay(upd(mine(0), left(fin, 118)))
		r.expectOps("update 1")
		r.expectNames("A0")
	})
	t.Run("a packet", func(t *testing.T) {
		r := start(t)
		r.changed(fin)
		r.until(r.now + doubtWait)
		r.expectNames("A0")
	})
}

// TestDisown: a connection that passes here keeps living when its name turns
// out to be another's too.
func TestDisown(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, answered))
	r.pass(2 * second)
	r.changed(udp(1, assured))
	r.sent()
	r.b.say(ins(theirs(5), udp(2, answered)))
	r.expectOps("create 2")
	r.expectNames("A0", "B5")
}

// TestClashOver: what was not heard during a hostid clash is asked for.
func TestClashOver(t *testing.T) {
	r := ready(t)
	r.c.creator = hostA
	r.c.say()
	r.c.creator = hostC
	r.c.say(ins(theirs(7), udp(1, answered)))
	r.pass(0)
	got := r.until(r.now + second/4)
	if len(got) == 0 || got[0] != "UPD_REQ 0" {
		t.Errorf("said %q", got)
	}
}

// TestRequestLost: a request in a frame that got lost is sent again, once.
func TestRequestLost(t *testing.T) {
	r := ready(t)
	r.b.say(updc(theirs(5), udp(1, answered)))
	r.expectSent("UPD_REQ B5")
	no := r.e.frameNo
	for range 2 {
		r.b.say(control(hostA, wantFrames(0xaaaa, no, no)))
	}
	got := r.until(r.now + second/4)
	if n := len(got); n == 0 || got[0] != "UPD_REQ B5" {
		t.Errorf("said %q", got)
	}
}

// TestEndedBeforeDump: an entry that ends before the first dump has told it was
// there at start too, and a peer that only remembers it hears that it is over.
func TestEndedBeforeDump(t *testing.T) {
	r := newDesk(t)
	r.linkUp()
	r.local(pfstate.Event{Kind: pfstate.EventDumpBegin})
	r.expired(udp(1, answered))
	r.local(pfstate.Event{Kind: pfstate.EventDumpEnd})
	r.sent()
	r.b.hearsay(upd(mine(0), left(udp(1, answered), 2)))
	r.expect("said", r.until(r.now+second/4), "UPD_REQ 0", "DEL_C A0")
	r.expectNames()
}

// TestOutlived: that a name of ours has ended is known however long ago that
// was, but for what may have been living when it got lost here, and names of
// others.
func TestOutlived(t *testing.T) {
	f := udp(1, answered)
	for _, tc := range []struct {
		name string
		lose func(r *desk) pfstate.ID
		say  func(r *desk, id pfstate.ID)
		back bool
	}{
		{"expired", (*desk).endMine, (*desk).remember, false},
		{"expired, passes there", (*desk).endMine, func(r *desk, id pfstate.ID) { r.b.say(upd(id, f)) }, true},
		{"expired, begins there", (*desk).endMine, func(r *desk, id pfstate.ID) { r.b.hearsay(ins(id, f)) }, true},
		{"not given yet", func(r *desk) pfstate.ID { return mine(9) }, (*desk).remember, true},
		{"of an earlier run", func(r *desk) pfstate.ID { return pfstate.ID{ID: firstID - 1, CreatorID: hostA} }, (*desk).remember, true},
		{"of another", func(r *desk) pfstate.ID { return theirs(5) }, (*desk).remember, true},
		{"passed elsewhere, and nobody was there to ask", func(r *desk) pfstate.ID {
			r.made(f)
			r.until(r.now + second)
			r.e.setCarried(r.state(mine(0)), false)
			r.until(r.now + 2*linuxSilent)
			r.expired(f)
			r.gone(mine(0))
			return mine(0)
		}, (*desk).remember, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			id := tc.lose(r)
			r.until(r.now + second)
			r.e.buried = buried{} // so many have ended since
			tc.say(r, id)
			if got := len(r.names()) > 0; got != tc.back {
				t.Errorf("it is back %v, want %v", got, tc.back)
			}
			if !tc.back {
				r.expect("said", r.until(r.now+second/4), "DEL_C "+shortName(id))
			}
		})
	}
}

// endMine begins and ends a connection here.
func (r *desk) endMine() pfstate.ID {
	r.made(udp(1, answered))
	r.until(r.now + 2*second)
	r.expired(udp(1, answered))
	return mine(0)
}

// remember has B tell of it, where it does not pass.
func (r *desk) remember(id pfstate.ID) { r.b.hearsay(upd(id, udp(1, answered))) }
