package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// look is a filtered dump, and what is done after it.
func (r *desk) look(fs ...pfstate.Flow) {
	begin, end := event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDumpEnd, pfstate.Flow{})
	begin.Partial, end.Partial = true, true
	r.local(begin)
	for _, f := range fs {
		ev := event(pfstate.EventDump, f)
		ev.Partial = true
		r.local(ev)
	}
	r.local(end)
	r.pass(0)
}

// TestFilteredDump: a filtered dump tells of life; that it does not tell of a
// state means nothing, and what the last whole one did not tell is still asked for.
func TestFilteredDump(t *testing.T) {
	r := ready(t)
	query, session := udp(1, pfstate.StatusConfirmed), tcp(2, pfstate.TCPEstablished)
	r.made(query)
	r.made(session)
	r.pass(20 * second)
	r.sent()
	r.look(left(query, 29))
	r.expectOps()
	r.pass(second)
	r.expectSent("UPD_C A0 1:0")
	r.expectReason(ReasonReconciled, 0)
	r.pass(20 * second)
	r.dump(left(query, 15)) // without the session
	r.expectOps("get 2")
}

// TestFullTableAfterLook: what a full kernel refused is tried again after a
// filtered dump too, and not all of it once one is refused again.
func TestFullTableAfterLook(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), tcp(5, pfstate.TCPEstablished)), ins(theirs(6), tcp(6, pfstate.TCPEstablished)))
	r.ops()
	r.done(pfstate.ResultFull)
	r.pass(10 * second)
	r.look()
	r.expectOps("create 5", "create 6")
	r.done(pfstate.ResultFull)
	r.expectOps()
	begin, end := event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDumpEnd, pfstate.Flow{})
	r.local(begin, end)
	r.e.dump.full = true // a create was refused meanwhile
	r.pass(0)
	r.expectOps()
	r.look()
	r.expectOps("create 5", "create 6")
}

// TestAskedForWhatIsLate: a peer asks for a state that passes here and that
// has not been looked at since its time ran out: the kernel is asked.
func TestAskedForWhatIsLate(t *testing.T) {
	for _, tc := range []struct {
		name string
		code pfstate.ResultCode
		left uint32
		want []string
	}{
		{"it lives", pfstate.ResultOK, 25, []string{"UPD A0 1:0"}},
		{"it is over", pfstate.ResultMissing, 0, []string{"DEL_C A0"}},
		{"nobody knows", pfstate.ResultOK, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			query := udp(1, pfstate.StatusConfirmed)
			r.made(query)
			r.pass(29 * second)
			r.sent()
			r.b.say(ask(mine(0)))
			r.expectSent()
			r.expectOps("get 1")
			r.doneFlow(tc.code, left(query, tc.left))
			r.pass(second)
			r.expectSent(tc.want...)
		})
	}
}

// TestLookWithin: while a dump of the whole table takes its time, a filtered one
// tells of life, also of what began meanwhile; either may end first.
func TestLookWithin(t *testing.T) {
	begin := func(partial bool) pfstate.Event {
		return pfstate.Event{Kind: pfstate.EventDumpBegin, Partial: partial}
	}
	end := func(partial bool) pfstate.Event { return pfstate.Event{Kind: pfstate.EventDumpEnd, Partial: partial} }
	older, newer, gone := udp(1, pfstate.StatusConfirmed), udp(2, pfstate.StatusConfirmed), udp(3, pfstate.StatusConfirmed)
	prepare := func(t *testing.T) *desk {
		r := ready(t)
		r.made(older)
		r.made(gone)
		r.pass(10 * second)
		r.local(begin(false), event(pfstate.EventDump, left(older, 20)))
		r.made(newer)
		r.local(event(pfstate.EventDestroy, gone))
		r.pass(20 * second)
		r.sent()
		r.local(begin(true), event(pfstate.EventDump, left(newer, 28)))
		r.pass(second)
		r.expectSent("UPD_C A2 1:0")
		return r
	}
	t.Run("ends first", func(t *testing.T) {
		r := prepare(t)
		r.local(end(true))
		r.made(tcp(4, pfstate.TCPEstablished)) // later than the inner began
		r.local(event(pfstate.EventDump, gone))
		r.local(end(false))
		r.expectOps() // nothing is missing, or dead and told again
		if r.e.dump.running || r.e.tab.Len() != 3 {
			t.Errorf("running %v, %d states", r.e.dump.running, r.e.tab.Len())
		}
	})
	t.Run("ends last", func(t *testing.T) {
		r := prepare(t)
		r.local(end(false))
		r.pass(0)
		if !r.e.dump.running {
			t.Error("nothing is running")
		}
		r.local(event(pfstate.EventDump, gone))
		r.local(end(true))
		r.expectOps()
		if r.e.dump.running || r.e.tab.Len() != 2 {
			t.Errorf("running %v, %d states", r.e.dump.running, r.e.tab.Len())
		}
	})
}

// TestOverrunLasts: while events are still being lost no dump is asked for, one
// under way proves nothing, and the whole is one overrun.
func TestOverrunLasts(t *testing.T) {
	r := ready(t)
	begin, end := event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDumpEnd, pfstate.Flow{})
	first := pfstate.Event{Kind: pfstate.EventOverrun, Partial: true}
	r.local(begin, first, end)
	if r.e.NeedDump() || !r.e.Status(r.now).Diverged {
		t.Errorf("a dump wanted: %v, diverged: %v", r.e.NeedDump(), r.e.Status(r.now).Diverged)
	}
	r.local(event(pfstate.EventOverrun, pfstate.Flow{}))
	if !r.e.NeedDump() {
		t.Error("no dump is wanted")
	}
	r.expectReason(ReasonOverrun, 1)
	r.local(begin, end)
	if r.e.NeedDump() || r.e.Status(r.now).Diverged {
		t.Error("not reconciled")
	}
}
