package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

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
