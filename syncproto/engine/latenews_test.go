package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestLateNews: the event of a last packet is read seconds after it, and its
// time taken for a full one. The next dump puts that right, so that a later
// connection of the tuple, told by who carries it, is known as the later.
func TestLateNews(t *testing.T) {
	over, next := tcp(1, pfstate.TCPTimeWait), masqueraded(tcp(1, pfstate.TCPEstablished), 9)
	for _, tc := range []struct {
		name string
		dump []pfstate.Flow
		ops  []string
		want string
	}{
		{"no dump yet", nil, nil, "A0"},
		{"as late as was thought", []pfstate.Flow{left(over, 110)}, nil, "A0"},
		{"later", []pfstate.Flow{left(over, 100)}, []string{"delete 1", "create 1"}, "B5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(over)
			r.pass(10 * second)
			if tc.dump != nil {
				r.dump(tc.dump...)
			}
			r.sent()
			r.b.say(ins(theirs(5), left(next, 432000-15)))
			r.expectNames(tc.want)
			r.expectOps(tc.ops...)
		})
	}
}

// TestLateTime: our kernel has an entry of the tuple translated otherwise, and
// who carries the one we are told of is asked for its time: the later stays.
func TestLateTime(t *testing.T) {
	ours := left(masqueraded(udp(1, assured), 7), 90)
	theirsNow := udp(1, assured) // 120 s
	for _, tc := range []struct {
		name string
		told pfstate.Flow
		ops  []string
		sent []string
	}{
		{"theirs is the later", theirsNow, []string{"delete 1", "create 1"}, nil},
		{"ours is", left(theirsNow, 85), nil, []string{"DEL_C B5", "INS A0 2:2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.b.say(ins(theirs(5), left(theirsNow, 100)))
			r.expectOps("create 1")
			r.pass(10 * second) // in which the signs of life of theirs got lost
			r.b.say()
			r.done(pfstate.ResultExists)
			r.expectOps("get 1")
			r.doneFlow(pfstate.ResultOK, ours)
			r.expectOps()
			r.expectSent("UPD_REQ B5")
			r.b.say(upd(theirs(5), tc.told))
			r.expectOps("get 1")
			r.doneFlow(pfstate.ResultOK, ours)
			r.expectOps(tc.ops...)
			r.expectSent(tc.sent...)
		})
	}
}

// TestRefusedThenMade: our kernel had no room for a connection that peers have
// seen answered, and makes it of a packet: as one that is not. It is told.
func TestRefusedThenMade(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), udp(1, assured)))
	r.expectOps("create 1")
	r.done(pfstate.ResultFull)
	r.made(udp(1, fresh))
	r.expectOps("update 1")
	r.expectNames("B5")
}

// TestDumpedFirst: a dump tells of an entry before the event of its first packet
// is read. Nothing goes back, in the table or in the kernel.
func TestDumpedFirst(t *testing.T) {
	r := ready(t)
	sctp := func(state uint8, status uint32) pfstate.Flow {
		f := udp(1, status)
		f.Proto, f.ProtoState = pfstate.ProtoSCTP, state
		f.Has |= pfstate.HasProto
		f.Timeout = r.e.cfg.Timeouts.For(f.Proto, state, status)
		return f
	}
	const closed, cookieWait, established = 1, 2, 4
	known := sctp(established, assured)
	r.dump(known)
	r.made(sctp(closed, fresh))
	r.changed(sctp(cookieWait, answered))
	ref, _, ok := r.e.tab.ByTuple(&known.Orig, known.AF, known.Proto, 0)
	if !ok || r.e.tab.At(ref).ProtoState != established {
		t.Errorf("known %t, state %d", ok, r.e.tab.At(ref).ProtoState)
	}
	r.expectOps()
}
