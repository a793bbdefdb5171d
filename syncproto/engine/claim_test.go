package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// starting returns a desk whose kernel had entries, and that has asked B for
// its table.
func starting(t testing.TB, fs ...pfstate.Flow) *desk {
	r := newDesk(t)
	r.linkUp()
	r.dump(fs...)
	r.expect("asked", r.sent(), "UPD_REQ 0")
	return r
}

// transfer lets B send its table.
func (r *desk) transfer(flags uint8, items ...item) {
	r.b.sending(bus(syncproto.BusStart))
	r.b.frameOf(flags|syncproto.InfoSending, items)
	r.b.say(bus(syncproto.BusEnd))
	r.pass(0)
}

// TestClaim: what the bulk transfer says of entries found at start.
func TestClaim(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	for _, tc := range []struct {
		name    string
		kernel  pfstate.Flow
		record  item
		carried bool // by the peer
		names   []string
		sent    []string
		ops     []string
	}{
		{"by the peer's name", est, upd(theirs(5), est), true, []string{"B5"}, nil, nil},
		{"by our name of an earlier run", est, upd(pfstate.ID{ID: 9, CreatorID: hostA}, est), false, []string{shortName(pfstate.ID{ID: 9, CreatorID: hostA})}, nil, nil},
		{"by the name of a third", est, upd(pfstate.ID{ID: 7, CreatorID: hostC}, est), true, []string{"C7"}, nil, nil},
		{"by an insert", est, ins(theirs(5), est), true, []string{"B5"}, nil, nil},
		{"udp", udp(1, assured), upd(theirs(5), udp(1, assured)), true, []string{"B5"}, nil, nil},
		{"translated alike", masqueraded(est, 7), upd(theirs(5), masqueraded(est, 7)), true, []string{"B5"}, nil, nil},
		{"kernel found it reversed", est.Reversed(), upd(theirs(5), est), true, []string{"B5"}, nil, nil},

		{"kernel behind what is long idle there", tcp(1, pfstate.TCPSynSent), upd(theirs(5), left(est, 432000-100)), false,
			[]string{"A0"}, []string{"DEL_C B5", "INS A0 2:0 unsure"}, nil},
		{"kernel behind what is long idle there, carried", tcp(1, pfstate.TCPSynSent), upd(theirs(5), left(est, 432000-100)), true,
			[]string{"A0"}, []string{"DEL_C B5", "INS A0 2:0 unsure"}, nil},
		{"kernel behind what moved on there", left(tcp(1, pfstate.TCPSynRecv), 20), upd(theirs(5), est), true,
			[]string{"B5"}, nil, []string{"update 1"}},
		{"kernel ahead of hearsay", tcp(1, pfstate.TCPFinWait), upd(theirs(5), left(est, 432000-100)), false,
			[]string{"B5"}, []string{"UPD B5 7:4"}, nil},
		{"kernel has what is left of an earlier one", left(tcp(1, pfstate.TCPTimeWait), 60), upd(theirs(5), est), true,
			[]string{"B5"}, nil, []string{"delete 1", "create 1"}},
		{"kernel has what is left of an earlier one, by hearsay", left(tcp(1, pfstate.TCPTimeWait), 60), upd(theirs(5), est), false,
			[]string{"B5"}, nil, []string{"delete 1", "create 1"}},
		{"kernel translates otherwise, and is younger", masqueraded(est, 7), upd(theirs(5), left(masqueraded(est, 8), 432000-100)), true,
			[]string{"A0"}, []string{"DEL_C B5", "INS A0 4:4 unsure"}, nil},
		{"kernel translates otherwise, and is older", left(masqueraded(est, 7), 432000-100), upd(theirs(5), masqueraded(est, 8)), true,
			[]string{"B5"}, nil, []string{"delete 1", "create 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := starting(t, tc.kernel)
			r.expectNames("")
			flags := uint8(0)
			if tc.carried {
				flags = syncproto.InfoCarried
			}
			r.transfer(flags, tc.record)
			r.expectSent(tc.sent...)
			var ops []string
			for got := r.ops(); len(got) > 0; got = r.ops() {
				ops = append(ops, got...)
				r.done(pfstate.ResultOK)
			}
			r.expect("operations", ops, tc.ops...)
			r.expectNames(tc.names...)
			if r.e.claim.active || r.e.claim.waiting != 0 {
				t.Errorf("still waiting for %d names", r.e.claim.waiting)
			}
		})
	}
}

// TestClaimZone: a name for the tuple in another zone is another connection's.
func TestClaimZone(t *testing.T) {
	r := starting(t, udp(1, assured))
	it := upd(theirs(5), udp(1, assured))
	it.tlvs = syncproto.AppendZone(nil, &syncproto.Zone{Orig: 3, Reply: 3})
	r.transfer(syncproto.InfoCarried, it)
	r.expectOps("create 1")
	r.expectSent("INS A0 2:2 unsure")
	r.expectNames("A0", "B5")
}

// TestClaimTombstone: an entry ends before the transfer names it.
func TestClaimTombstone(t *testing.T) {
	f := udp(1, assured)
	for _, tc := range []struct {
		name    string
		end     func(*desk)
		insert  bool
		carried bool
		sent    []string
		ops     []string
	}{
		{"killed", func(r *desk) { r.killed(f) }, false, false, []string{"DEL_C B5 killed"}, nil},
		{"killed, carried there", func(r *desk) { r.killed(f) }, false, true, []string{"DEL_C B5 killed"}, nil},
		{"expired", func(r *desk) { r.expired(f) }, false, false, []string{"DEL_C B5"}, nil},
		{"expired, carried there", func(r *desk) { r.expired(f) }, false, true, nil, []string{"create 1"}},
		{"expired, begun anew there", func(r *desk) { r.expired(f) }, true, true, nil, []string{"create 1"}},
		{"another ended", func(r *desk) { r.killed(udp(2, assured)) }, false, false, nil, []string{"create 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := starting(t, f, udp(2, assured))
			tc.end(r)
			if tc.name == "another ended" {
				r.killed(f)
				r.e.claim.tombs = map[entryKey]bool{keyOf(&pfstate.Flow{Orig: udp(2, 0).Orig, AF: f.AF, Proto: f.Proto}): true}
			} else {
				r.killed(udp(2, assured))
			}
			r.expect("told of what had no name", r.sent())
			flags := uint8(0)
			if tc.carried {
				flags = syncproto.InfoCarried
			}
			it := upd(theirs(5), f)
			if tc.insert {
				it = ins(theirs(5), f)
			}
			r.transfer(flags, it)
			r.expectOps(tc.ops...)
			r.expectSent(tc.sent...)
		})
	}
}

// TestClaimTombstoneClosed: what had closed when it ended tells nothing of what
// passes there: the port may be used again.
func TestClaimTombstoneClosed(t *testing.T) {
	f := tcp(1, pfstate.TCPClose)
	r := starting(t, f)
	r.expired(f)
	r.transfer(syncproto.InfoCarried, upd(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expectOps("create 1")
	r.expectSent()
}

// TestClaimEvents: what happens to an entry while its name is waited for.
func TestClaimEvents(t *testing.T) {
	t.Run("a change is not told", func(t *testing.T) {
		r := starting(t, tcp(1, pfstate.TCPEstablished))
		r.changed(tcp(1, pfstate.TCPFinWait))
		r.expectSent()
		r.transfer(syncproto.InfoCarried)
		r.expectSent("INS A0 7:4")
	})
	t.Run("an event for what the dump did not tell", func(t *testing.T) {
		r := starting(t)
		r.changed(udp(1, assured))
		r.expectSent()
		r.expectNames("")
	})
	t.Run("what begins gets our name at once", func(t *testing.T) {
		r := starting(t)
		r.made(udp(1, fresh))
		r.expectSent("INS A0 1:0")
	})
	t.Run("what begins again too", func(t *testing.T) {
		r := starting(t, tcp(1, pfstate.TCPTimeWait))
		r.made(tcp(1, pfstate.TCPSynSent))
		r.expectSent("INS A0 2:0")
		r.expectNames("A0")
		if r.e.claim.waiting != 0 {
			t.Errorf("waiting for %d", r.e.claim.waiting)
		}
	})
}

// TestNaming: when what nobody claimed gets our names.
func TestNaming(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	t.Run("when the transfer ends", func(t *testing.T) {
		r := starting(t, est, udp(2, assured))
		r.b.sending(bus(syncproto.BusStart))
		r.b.sending(upd(theirs(5), est))
		r.pass(second)
		r.expectNames("", "B5")
		r.b.say(bus(syncproto.BusEnd))
		r.pass(0)
		r.expectNames("A0", "B5")
		r.expectSent("INS A0 2:2 unsure")
	})
	t.Run("not while frames are missing", func(t *testing.T) {
		r := starting(t, est)
		r.b.sending(bus(syncproto.BusStart))
		r.b.lost()
		r.b.say(bus(syncproto.BusEnd))
		r.pass(0)
		r.expectNames("")
		r.b.say(control(hostA, framesAgain(0xbbbb, 2, 2, false)))
		r.pass(0)
		r.expectNames("A0")
	})
	t.Run("when alone", func(t *testing.T) {
		r := starting(t, est)
		said := r.until(r.now + 5*second)
		r.expectNames("A0")
		r.expect("told", said, "UPD_REQ 0", "INS A0 4:4 unsure")
	})
	t.Run("when it failed", func(t *testing.T) {
		r := starting(t, est)
		r.b.say()
		for range 40 {
			r.until(r.now + second)
			r.b.say()
		}
		if s := r.e.Status(r.now).Sync; s != SyncFailed {
			t.Fatalf("sync is %v", s)
		}
		r.expectNames("A0")
	})
	t.Run("when the link has been down for long", func(t *testing.T) {
		r := newDesk(t)
		r.dump(est)
		r.until(r.now + linkHold - second)
		r.expectNames("")
		r.until(r.now + 2*second)
		r.expectNames("A0")
	})
	t.Run("not before the first dump has ended", func(t *testing.T) {
		r := newDesk(t)
		r.linkUp()
		r.local(event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDump, est))
		r.expect("asked", r.until(r.now+linkHold+second))
		r.expectNames("")
		r.local(event(pfstate.EventDumpEnd, pfstate.Flow{}))
		r.expect("asked after it", r.sent(), "UPD_REQ 0")
	})
}

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
