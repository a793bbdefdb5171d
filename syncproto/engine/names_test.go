package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestTwoNames: one connection under two names keeps the lower on every
// firewall; whoever made the other deletes it once.
func TestTwoNames(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	lowerOf := func(t *testing.T, f pfstate.Flow) *desk {
		r := ready(t)
		r.made(est)
		r.expectSent("INS A0 4:4")
		r.pass(3 * second)
		r.b.say(ins(lower(5), f))
		return r
	}
	t.Run("ours is higher", func(t *testing.T) {
		r := lowerOf(t, est)
		r.expectNames("Z5")
		r.expectSent("DEL_C A0")
		r.expectReason(ReasonAlias, 1)
		r.b.say(ins(lower(5), est))
		r.expectSent() // once
		r.changed(tcp(1, pfstate.TCPFinWait))
		r.expectSent("UPD_C Z5 7:4")
	})
	t.Run("ours is higher, and untold", func(t *testing.T) {
		r := ready(t)
		r.made(est)
		r.b.say(ins(lower(5), est))
		r.expectNames("Z5")
		r.pass(10 * milli)
		for _, w := range r.sent() {
			if w != "DEL_C A0" && w != "UPD Z5 4:4" {
				t.Errorf("sent %s", w)
			}
		}
	})
	t.Run("the exact reverse", func(t *testing.T) {
		r := lowerOf(t, est.Reversed())
		r.expectNames("Z5")
		r.expectSent("DEL_C A0")
		if s := r.state(lower(5)); s.Orig != est.Orig {
			t.Error("our direction was turned")
		}
	})
	t.Run("theirs is higher", func(t *testing.T) {
		r := ready(t)
		r.made(est)
		r.expectSent("INS A0 4:4")
		r.pass(3 * second)
		r.b.say(ins(theirs(5), est))
		r.expectNames("A0=B5")
		r.expect("its maker learns ours", r.sent(), "UPD A0 4:4")
		r.b.say(del(theirs(5)))
		r.expectNames("A0")
		r.expectSent()
		r.expectOps()
	})
	t.Run("a kill of the alias is not one of the state", func(t *testing.T) {
		r := ready(t)
		r.made(est)
		r.b.say(ins(theirs(5), est))
		r.b.say(kill(theirs(5)))
		r.expectNames("A0")
		r.expectOps()
	})
	t.Run("an update of the alias counts", func(t *testing.T) {
		r := ready(t)
		r.made(est)
		r.b.say(ins(theirs(5), est))
		r.pass(2 * second)
		r.sent()
		r.pass(2 * second)
		r.b.say(upd(theirs(5), tcp(1, pfstate.TCPFinWait)))
		r.expect("answered", r.sent(), "UPD A0 7:4")
		r.expectNames("A0=B5")
		r.expectOps("update 1")
	})
	t.Run("both are others'", func(t *testing.T) {
		r := ready(t)
		r.known(5, est)
		r.c.say(ins(pfstate.ID{ID: 7, CreatorID: hostC}, est))
		r.expectNames("B5=C7")
		r.pass(3 * second)
		r.b.say(del(pfstate.ID{ID: 7, CreatorID: hostC}))
		r.expectNames("B5")
		r.expectOps()
	})
	t.Run("the same maker's higher is a later connection", func(t *testing.T) {
		r := ready(t)
		r.known(5, tcp(1, pfstate.TCPTimeWait))
		r.b.say(ins(theirs(6), tcp(1, pfstate.TCPSynSent)))
		r.expectNames("B6")
		r.expectOps("delete 1", "create 1")
	})
	t.Run("the same maker's lower is an earlier connection", func(t *testing.T) {
		r := ready(t)
		r.known(5, est)
		r.b.say(ins(theirs(4), est))
		r.expectNames("B5")
		r.expectReason(ReasonLater, 1)
		r.expectOps()
	})
}

// TestSharedReply: of two connections only the reply tuple is the same. Both
// keep their names, the kernel can have one.
func TestSharedReply(t *testing.T) {
	r := ready(t)
	one := masqueraded(udp(1, assured), 9)
	one.Reply.DstPort = 5000
	two := masqueraded(udp(2, assured), 9)
	two.Reply.DstPort = 5000
	r.made(one)
	r.expectSent("INS A0 2:2")
	r.b.say(ins(theirs(5), two))
	r.expectNames("A0", "B5")
	r.expectOps("create 2")
	r.done(pfstate.ResultExists)
	r.expectOps("get 2")
	r.done(pfstate.ResultMissing) // the original tuple is free
	r.expectOps("create 2")       // it might have been in passing
	r.done(pfstate.ResultExists)
	r.expectOps("get 2")
	r.done(pfstate.ResultMissing)
	r.expectOps()
	r.expectReason(ReasonCollision, 1)
	r.expectNames("A0", "B5")
	r.changed(func() pfstate.Flow { f := one; f.Mark = 3; return f }())
	r.expectSent("UPD A0 2:2 mark 3")
}

// TestTimeOfStale: a record of an earlier step than ours does not bring the
// long timeout of that step.
func TestTimeOfStale(t *testing.T) {
	fin, est := tcp(1, pfstate.TCPFinWait), tcp(1, pfstate.TCPEstablished)
	for _, tc := range []struct {
		name string
		say  func(r *desk)
	}{
		{"claimed by hearsay", func(r *desk) {
			*r = *starting(r.t, fin)
			r.transfer(0, upd(theirs(5), left(est, 432000-100)))
		}},
		{"from its carrier", func(r *desk) {
			r.known(5, fin)
			r.b.say(upd(theirs(5), est))
		}},
		{"hearsay of what nobody carries", func(r *desk) {
			r.known(5, fin)
			r.b.hearsay(upd(theirs(5), est))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.say(r)
			if s := r.state(theirs(5)); s.Src.State != pfstate.PFClosing || s.Expire > r.now+120*second {
				t.Errorf("half %d, ends in %d s", s.Src.State, (s.Expire-r.now)/second)
			}
		})
	}
}
