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

// TestClaimTime: of what is further here than the peer knows, the time is our
// kernel's too.
func TestClaimTime(t *testing.T) {
	r := starting(t, left(udp(1, assured), 117))
	r.transfer(0, upd(theirs(5), left(udp(1, answered), 27)))
	if s := r.state(theirs(5)); s.Expire != s.KernExpire {
		t.Errorf("ends in %d s, in the kernel in %d s", (s.Expire-r.now)/second, (s.KernExpire-r.now)/second)
	}
	r.expectSent("UPD B5 2:2")
	r.pass(60 * second)
	r.b.say(ask(theirs(5)))
	r.expectSent("UPD B5 2:2")
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

// TestClaimPairOver: of an earlier connection both names are told to be over.
func TestClaimPairOver(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	old := left(masqueraded(est, 8), 432000-100)
	r := starting(t, masqueraded(est, 7))
	r.transfer(0, paired(upd(theirs(5), left(est, 432000-100)), theirs(6), old))
	r.expectSent("DEL_C B5", "DEL_C B6", "INS A0 4:4 unsure")
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
				r.e.claim.tombs = map[entryKey]tomb{keyOf(&pfstate.Flow{Orig: udp(2, 0).Orig, AF: f.AF, Proto: f.Proto}): {killed: true}}
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
	for _, end := range []func(r *desk){func(r *desk) { r.expired(f) }, func(r *desk) { r.killed(f) }} {
		r := starting(t, f)
		end(r)
		r.transfer(syncproto.InfoCarried, upd(theirs(5), tcp(1, pfstate.TCPEstablished)))
		r.expectOps("create 1")
		r.expectSent()
	}
}

// TestClaimTombstoneOutlived: an entry expires here of which a packet passed
// elsewhere while no daemon ran: it lives on though its carrier does not say so,
// for that has just been started again too.
func TestClaimTombstoneOutlived(t *testing.T) {
	f := udp(1, assured)
	r := starting(t, left(f, 1))
	r.expired(f)
	r.transfer(0, upd(theirs(5), left(f, 40)))
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
