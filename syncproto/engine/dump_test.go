package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestDumpAgainstEvents: a record for a tuple that had an event since the dump
// began is ignored, and so is one of the dead.
func TestDumpAgainstEvents(t *testing.T) {
	begin, end := event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDumpEnd, pfstate.Flow{})
	rec := func(f pfstate.Flow) pfstate.Event { return event(pfstate.EventDump, f) }
	est, fin := tcp(1, pfstate.TCPEstablished), tcp(1, pfstate.TCPFinWait)
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		sent []string
		ops  []string
	}{
		{"a record older than an event", func(r *desk) {
			r.local(begin)
			r.changed(fin)
			r.local(rec(est), end)
		}, []string{"UPD_C A0 7:4"}, nil},
		{"a record of one destroyed", func(r *desk) {
			r.local(begin)
			r.killed(est)
			r.local(rec(est), end)
		}, []string{"DEL_C A0 killed"}, nil},
		{"a record of one destroyed and made again", func(r *desk) {
			r.local(begin)
			r.killed(est)
			r.made(tcp(1, pfstate.TCPSynSent))
			r.local(rec(est), end)
		}, []string{"DEL_C A0 killed", "INS A1 2:0"}, nil},
		{"a record of one that is dying", func(r *desk) {
			dying := tcp(2, pfstate.TCPEstablished)
			dying.Status |= pfstate.StatusDying
			r.local(begin, rec(est), rec(dying), end)
		}, nil, nil},
		{"a record that brings an event lost", func(r *desk) { r.local(begin, rec(fin), end) }, []string{"UPD_C A0 7:4"}, nil},
		{"a record of one unknown", func(r *desk) { r.local(begin, rec(est), rec(udp(2, fresh)), end) }, []string{"INS A1 1:0"}, nil},
		{"a record of a later connection", func(r *desk) { r.local(begin, rec(tcp(1, pfstate.TCPSynRecv)), end) },
			[]string{"DEL_C A0 killed", "INS A1 2:2"}, nil},
		{"a record with another translation", func(r *desk) { r.local(begin, rec(masqueraded(est, 9)), end) },
			[]string{"DEL_C A0 killed", "INS A1 4:4"}, nil},
		{"absence", func(r *desk) { r.local(begin, end) }, nil, []string{"get 1"}},
		{"absence after an event", func(r *desk) {
			r.local(begin)
			r.changed(est)
			r.local(end)
		}, nil, nil},
		{"absence from one that failed", func(r *desk) { r.local(begin, event(pfstate.EventDumpFail, pfstate.Flow{})) }, nil, nil},
		{"absence from one that was filtered", func(r *desk) {
			partial := end
			partial.Partial = true
			r.local(begin, partial)
		}, nil, nil},
		{"absence from one with an overrun", func(r *desk) { r.local(begin, event(pfstate.EventOverrun, pfstate.Flow{}), end) }, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(est)
			r.expectSent("INS A0 4:4")
			r.pass(3 * second)
			r.b.say()
			tc.do(r)
			r.pass(0)
			r.expectOps(tc.ops...)
			r.expectSent(tc.sent...)
		})
	}
}

// TestAbsence: a GET confirms before anything is deleted or sent.
func TestAbsence(t *testing.T) {
	absent := func(t *testing.T) *desk {
		r := ready(t)
		r.made(tcp(1, pfstate.TCPEstablished))
		r.expectSent("INS A0 4:4")
		r.pass(3 * second)
		r.b.say()
		r.dump()
		r.expectSent()
		r.expectOps("get 1")
		return r
	}
	t.Run("it is gone", func(t *testing.T) {
		r := absent(t)
		r.done(pfstate.ResultMissing)
		r.expectSent("DEL_C A0 killed")
	})
	t.Run("it is there", func(t *testing.T) {
		r := absent(t)
		r.doneFlow(pfstate.ResultOK, tcp(1, pfstate.TCPEstablished))
		r.expectSent()
		r.expectOps()
		r.expectNames("A0")
	})
	t.Run("it is there and has moved on", func(t *testing.T) {
		r := absent(t)
		r.doneFlow(pfstate.ResultOK, tcp(1, pfstate.TCPFinWait))
		r.expectSent("UPD_C A0 7:4")
	})
	t.Run("it is not carried here", func(t *testing.T) {
		r := ready(t)
		r.known(5, udp(1, assured))
		r.pass(3 * second)
		r.b.say()
		r.dump()
		r.expectOps("get 1")
		r.done(pfstate.ResultMissing)
		r.expect("asked", r.sent(), "UPD_REQ B5")
	})
	t.Run("the kernel does not say", func(t *testing.T) {
		r := absent(t)
		r.done(pfstate.ResultError)
		r.expectSent()
		r.expectNames("A0")
		r.expectReason(ReasonKernelError, 1)
	})
}

// TestOverrun: lost events are counted, shown, and made up for by a dump.
func TestOverrun(t *testing.T) {
	r := ready(t)
	r.made(udp(1, fresh))
	r.made(udp(2, fresh))
	r.expectSent("INS A0 1:0", "INS A1 1:0")
	r.pass(3 * second)
	r.b.say()
	if r.e.NeedDump() || r.e.Status(r.now).Diverged {
		t.Error("diverged before")
	}
	r.local(event(pfstate.EventOverrun, pfstate.Flow{}))
	r.local(event(pfstate.EventOverrun, pfstate.Flow{}))
	r.expectReason(ReasonOverrun, 2)
	if !r.e.NeedDump() || !r.e.Status(r.now).Diverged {
		t.Error("no dump wanted, or not diverged")
	}
	r.pass(0)
	if f := r.frames(); len(f) > 0 && f[0].info.Flags&syncproto.InfoInSync != 0 {
		t.Error("peers are told that we are in sync")
	}
	r.local(event(pfstate.EventDumpBegin, pfstate.Flow{}))
	if r.e.NeedDump() {
		t.Error("another dump wanted while one runs")
	}
	r.local(event(pfstate.EventDumpFail, pfstate.Flow{}))
	if !r.e.NeedDump() {
		t.Error("no dump wanted after one that failed")
	}
	r.dump(udp(1, answered), udp(3, fresh)) // 2 is gone, 3 is new
	if r.e.NeedDump() || r.e.Status(r.now).Diverged {
		t.Error("diverged after")
	}
	r.expectOps("get 2")
	r.done(pfstate.ResultMissing)
	r.expectSent("DEL_C A1 killed", "UPD_C A0 2:1", "INS A2 1:0")
}
