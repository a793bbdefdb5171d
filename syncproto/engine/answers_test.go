package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestUpdateResults: what becomes of an update.
func TestUpdateResults(t *testing.T) {
	updated := func(t *testing.T) *desk {
		r := ready(t)
		r.known(5, tcp(1, pfstate.TCPEstablished))
		r.b.say(updc(theirs(5), tcp(1, pfstate.TCPFinWait)))
		r.expectOps("update 1")
		return r
	}
	t.Run("missing", func(t *testing.T) {
		r := updated(t)
		r.done(pfstate.ResultMissing)
		r.expectOps("create 1")
	})
	t.Run("reversed", func(t *testing.T) {
		r := updated(t)
		r.doneFlow(pfstate.ResultReversed, reversed(tcp(1, pfstate.TCPEstablished)))
		r.expectOps("update 1 reversed")
		r.done(pfstate.ResultOK)
		r.expectOps()
	})
	t.Run("busy", func(t *testing.T) {
		r := updated(t)
		r.done(pfstate.ResultBusy)
		r.expectOps()
		r.expectReason(ReasonKernelBusy, 1)
		r.expectNames("B5")
	})
}

// TestCreateFinds: the create finds the tuple taken.
func TestCreateFinds(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	finds := func(t *testing.T, f pfstate.Flow) *desk {
		r := ready(t)
		r.b.say(ins(theirs(5), f))
		r.expectOps("create 1")
		r.done(pfstate.ResultExists)
		r.expectOps("get 1")
		r.expectReason(ReasonKernelExists, 1)
		return r
	}
	t.Run("behind", func(t *testing.T) {
		r := finds(t, est)
		r.doneFlow(pfstate.ResultOK, tcp(1, pfstate.TCPSynRecv))
		r.expectOps("update 1")
		if left := r.asked[0].Flow.Timeout; left != 432000 {
			t.Errorf("updated to %d s", left)
		}
		r.expectSent()
	})
	t.Run("ahead", func(t *testing.T) {
		r := finds(t, est)
		r.doneFlow(pfstate.ResultOK, tcp(1, pfstate.TCPFinWait))
		r.expectOps()
		r.expectSent("UPD_C B5 7:4")
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		r := finds(t, est)
		r.done(pfstate.ResultMissing)
		r.expectOps("create 1")
		r.done(pfstate.ResultOK)
		r.expectOps()
	})
	t.Run("translated otherwise, older", func(t *testing.T) {
		r := finds(t, masqueraded(est, 7))
		r.doneFlow(pfstate.ResultOK, left(masqueraded(est, 8), 432000-100))
		r.expectOps("delete 1", "create 1")
	})
	t.Run("translated otherwise, as young", func(t *testing.T) {
		r := finds(t, masqueraded(est, 7))
		r.doneFlow(pfstate.ResultOK, masqueraded(est, 8))
		r.expectOps()
		r.expectReason(ReasonCollision, 1)
		if !r.state(theirs(5)).Has(pfstate.FlagRefused) {
			t.Error("not refused")
		}
	})
	t.Run("translated otherwise, younger", func(t *testing.T) {
		r := finds(t, left(masqueraded(est, 7), 432000-100))
		r.doneFlow(pfstate.ResultOK, masqueraded(est, 8))
		r.expectOps()
		r.expectReason(ReasonCollision, 1)
		r.expectSent("DEL_C B5", "INS A0 4:4")
	})
}

// TestDestroyAgainstOps: a DESTROY while an operation is under way, or just
// after, may be old news: the kernel is asked.
func TestDestroyAgainstOps(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	t.Run("under way", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), est))
		r.expectOps("create 1")
		r.killed(est)
		r.expectOps()
		r.expectNames("B5")
		r.done(pfstate.ResultOK)
		r.expectOps("get 1")
		r.doneFlow(pfstate.ResultOK, est)
		r.expectSent()
		r.expectNames("B5")
	})
	t.Run("just after, and true", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), est))
		r.kernel()
		r.pass(second / 2)
		r.killed(est)
		r.expectOps("get 1")
		r.done(pfstate.ResultMissing)
		r.expectSent("DEL_C B5 killed")
	})
	t.Run("long after", func(t *testing.T) {
		r := ready(t)
		r.known(5, est)
		r.killed(est)
		r.expectOps()
		r.expectSent("DEL_C B5 killed")
	})
}

// TestStrangeAnswers: what was not asked changes nothing.
func TestStrangeAnswers(t *testing.T) {
	r := ready(t)
	name := r.known(5, udp(1, assured))
	ref, _, _ := r.e.tab.ByName(name)
	for _, res := range []pfstate.Result{
		{Kind: pfstate.OpDelete, Ref: uint64(ref)},
		{Kind: pfstate.OpGet, Ref: uint64(ref), Code: pfstate.ResultMissing},
		{Kind: pfstate.OpCreate, Ref: 0},
		{Kind: pfstate.OpCreate, Ref: 1 << 20},
	} {
		r.e.Done(r.now, []pfstate.Result{res})
	}
	r.expectNames("B5")
	r.expectOps()
}

// TestLaggingNews: what the kernel says of the time before an operation of
// ours does not take an established state back.
func TestLaggingNews(t *testing.T) {
	for _, tc := range []struct {
		name string
		say  func(r *desk)
	}{
		{"an event", func(r *desk) { r.changed(tcp(1, pfstate.TCPSynRecv)) }},
		{"a dump", func(r *desk) { r.dump(tcp(1, pfstate.TCPSynRecv)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.b.say(ins(theirs(5), tcp(1, pfstate.TCPSynRecv)))
			r.kernel()
			r.b.say(updc(theirs(5), tcp(1, pfstate.TCPEstablished)))
			r.kernel()
			r.pass(opSettle / 2)
			tc.say(r)
			r.expectSent()
			if s := r.state(theirs(5)); s.Expire < r.now+86400*second {
				t.Errorf("ends in %d s", (s.Expire-r.now)/second)
			}
		})
	}
}
