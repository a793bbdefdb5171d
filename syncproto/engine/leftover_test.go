package engine

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// writtenEntry marks an entry as made by a program.
func writtenEntry(f pfstate.Flow) pfstate.Flow {
	f.Has |= pfstate.HasWritten
	return f
}

// TestLeftover: what an earlier run wrote into the kernel, and a peer that was
// there all the time does not name, has ended; anything less is kept and named.
func TestLeftover(t *testing.T) {
	const down = 20
	b := PeerRun{hostB, 0xbbbb}
	entry := func(age uint32) pfstate.Flow { // of so many seconds ago
		f := tcp(1, pfstate.TCPEstablished)
		return writtenEntry(left(f, f.Timeout-age))
	}
	for _, tc := range []struct {
		name   string
		kernel pfstate.Flow
		last   Settled
		named  bool
		deaf   bool // the kernel was another
		ops    []string
		sent   []string
	}{
		{"ended", entry(60), Settled{Peers: []PeerRun{b}}, false, false, []string{"delete 1"}, nil},
		{"named by the peer", entry(60), Settled{Peers: []PeerRun{b}}, true, false, nil, nil},
		{"made by packets", left(tcp(1, pfstate.TCPEstablished), 432000-60), Settled{Peers: []PeerRun{b}}, false, false, nil, []string{"INS A0 4:4 unsure"}},
		{"a packet has passed since", entry(5), Settled{Peers: []PeerRun{b}}, false, false, nil, []string{"INS A0 4:4 unsure"}},
		{"its time may be over there", entry(300000), Settled{Peers: []PeerRun{b}}, false, false, nil, []string{"INS A0 4:4"}},
		{"the peer is another run", entry(60), Settled{Peers: []PeerRun{{hostB, 0xbbbc}}}, false, false, nil, []string{"INS A0 4:4"}},
		{"the peer goes on with the table it had", entry(60), Settled{Peers: []PeerRun{{hostB, 0xbbba}}}, false, false, []string{"delete 1"}, nil},
		{"nobody was told", entry(60), Settled{}, false, false, nil, []string{"INS A0 4:4"}},
		{"another kernel table", entry(60), Settled{Peers: []PeerRun{b}}, false, true, nil, []string{"INS A0 4:4"}},
		{"the peer may miss what a third told", entry(60), Settled{Peers: []PeerRun{b, {hostC, 0xcccc}}}, false, false, nil, []string{"INS A0 4:4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, func(c *Config) {
				c.KernelKept, c.DownFor, c.LastRun, c.KnownPeers = !tc.deaf, down*time.Second, tc.last, 1
			})
			r.linkUp()
			r.dump(tc.kernel)
			r.expect("asked", r.sent(), "UPD_REQ 0")
			var items []item
			if tc.named {
				items = append(items, upd(theirs(5), tc.kernel))
			}
			r.transfer(0, items...)
			r.expectOps(tc.ops...)
			if len(tc.last.Peers) > 1 { // it may soon know
				r.expectSent()
				r.pass(linuxSilent + second)
			}
			r.expectSent(tc.sent...)
		})
	}
}

// TestDoomed: a dump that begins while a delete waits, or is under way, still
// tells the entry; that makes no state of it.
func TestDoomed(t *testing.T) {
	f := udp(1, assured)
	for _, handed := range []bool{false, true} {
		r := ready(t)
		r.known(5, f)
		r.pass(3 * second)
		r.b.say(kill(theirs(5)))
		if handed {
			r.expectOps("delete 1")
		}
		r.dump(f)
		r.expectNames()
		if !handed {
			r.expectOps("delete 1")
		}
		r.done(pfstate.ResultOK)
		r.dump(f) // made since, by a packet that nobody told of
		r.expectNames("A0")
	}
}

// TestEndedBetweenRuns: a name of an earlier run of ours that our kernel has no
// entry for is over if that run had all such entries.
func TestEndedBetweenRuns(t *testing.T) {
	f := udp(1, assured)
	old := pfstate.ID{ID: 7, CreatorID: hostA}
	for _, tc := range []struct {
		name    string
		kept    bool
		last    Settled
		peers   int
		carried bool
		sent    []string
		ops     []string
	}{
		{"over", true, Settled{Whole: true}, 1, false, []string{"DEL_C " + shortName(old)}, nil},
		{"carried by the peer", true, Settled{Whole: true}, 1, true, nil, []string{"create 1"}},
		{"the last run was killed in its first transfer", true, Settled{}, 1, false, nil, []string{"create 1"}},
		{"another kernel table", false, Settled{Whole: true}, 1, false, nil, []string{"create 1"}},
		{"a third may carry it", true, Settled{Whole: true}, 2, false, nil, []string{"create 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, func(c *Config) { c.KernelKept, c.LastRun, c.KnownPeers = tc.kept, tc.last, tc.peers })
			r.linkUp()
			r.dump()
			r.sent()
			flags := uint8(0)
			if tc.carried {
				flags = syncproto.InfoCarried
			}
			r.transfer(flags, upd(old, f))
			r.expectOps(tc.ops...)
			r.expectSent(tc.sent...)
		})
	}
}

// TestLeftoverNaming: a peer that has been restarted too and has not named what
// it found has not told all.
func TestLeftoverNaming(t *testing.T) {
	f := tcp(1, pfstate.TCPEstablished)
	r := newDesk(t, func(c *Config) {
		c.KernelKept, c.DownFor, c.KnownPeers = true, 20*time.Second, 1
		c.LastRun = Settled{Peers: []PeerRun{{hostB, 0xbbba}}}
	})
	r.linkUp()
	r.dump(writtenEntry(left(f, f.Timeout-60)))
	r.sent()
	r.b.frameOf(syncproto.InfoSending|syncproto.InfoNaming, []item{bus(syncproto.BusStart)})
	r.b.frameOf(syncproto.InfoNaming, []item{bus(syncproto.BusEnd)})
	r.pass(0)
	r.expectOps()
	r.expectSent("INS A0 4:4")
	if st := r.e.Status(r.now); st.Sync != SyncOK || !st.Diverged {
		t.Errorf("while the peer has not told all: %+v", st)
	}
	r.b.frameOf(syncproto.InfoNaming|syncproto.InfoCarried, []item{ins(theirs(5), udp(2, assured))})
	r.b.say()
	if !r.e.Status(r.now).Diverged {
		t.Error("not diverged while the kernel has not taken what it told")
	}
	r.kernel()
	if r.e.Status(r.now).Diverged {
		t.Error("diverged when it has")
	}
}

// TestKilledBetweenRuns: what a peer holds without carrying it, and our kernel
// had and has no more, was killed here while no daemon ran, unless it may be
// later, or over by time alone.
func TestKilledBetweenRuns(t *testing.T) {
	const down = 20
	old := pfstate.ID{ID: 7, CreatorID: hostA}
	est := func(idle uint32) pfstate.Flow {
		f := tcp(1, pfstate.TCPEstablished)
		return left(f, f.Timeout-idle)
	}
	aged := func(name pfstate.ID, f pfstate.Flow, age uint32) item {
		w := wire(name, f)
		w.Creation = age
		return item{name: name, put: func(b *syncproto.Builder) { b.AddState(syncproto.ActUpd, syncproto.Format6, &w) }}
	}
	unsure := func(it item) item {
		it.tlvs = syncproto.AppendTLV(it.tlvs, syncproto.TLVUnsure, nil)
		return it
	}
	for _, tc := range []struct {
		name  string
		peers int
		flags uint8
		rec   item
		dead  bool
	}{
		{"of ours, a third is gone", 2, 0, upd(old, est(30)), true},
		{"of ours, refreshed since by whom we do not hear", 2, 0, upd(old, est(5)), false},
		{"of ours, its time may be over here", 2, 0, upd(old, est(300000)), false},
		{"of ours, carried there", 2, syncproto.InfoCarried, upd(old, est(30)), false},
		{"of theirs, and older", 2, 0, aged(theirs(5), est(30), 60), true},
		{"of theirs, and later", 2, 0, aged(theirs(5), est(30), 10), false},
		{"of theirs, with nobody else to have carried it", 1, 0, upd(theirs(5), est(0)), true},
		{"of theirs, for want of another", 1, 0, unsure(upd(theirs(5), est(30))), false},
		{"begun there", 1, 0, ins(theirs(5), est(30)), false},
		{"found there by a daemon that starts", 1, syncproto.InfoNaming, ins(theirs(5), est(30)), true},
		{"found there, for want of another", 1, syncproto.InfoNaming, unsure(ins(theirs(5), est(30))), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, func(c *Config) {
				c.KernelKept, c.DownFor, c.LastRun, c.KnownPeers = true, down*time.Second, Settled{Whole: true}, tc.peers
			})
			r.linkUp()
			r.dump()
			r.sent()
			r.transfer(tc.flags, tc.rec)
			if tc.dead {
				r.expectOps()
				r.expectSent("DEL_C " + shortName(tc.rec.name))
			} else {
				r.expectOps("create 1")
				r.expectSent()
			}
		})
	}
}

// TestSettled: what is left for the next run, and when.
func TestSettled(t *testing.T) {
	check := func(t *testing.T, r *desk, wantOK, whole bool, peers ...PeerRun) {
		t.Helper()
		s, ok := r.e.Settled(r.now, nil)
		if want := (Settled{Whole: whole, Peers: peers}); ok != wantOK || ok && !s.Equal(&want) {
			t.Errorf("%+v, %v; want %+v, %v", s, ok, want, wantOK)
		}
	}
	b := PeerRun{hostB, 0xbbbb}
	t.Run("a kernel that nobody wrote to", func(t *testing.T) {
		r := newDesk(t)
		r.linkUp()
		check(t, r, false, false)
		r.dump()
		check(t, r, true, false)
		r.b.sending(bus(syncproto.BusStart))
		check(t, r, true, false, b)
		r.b.sending(upd(theirs(5), udp(1, assured)))
		r.b.say(bus(syncproto.BusEnd))
		r.pass(0)
		check(t, r, true, false, b) // the kernel does not have it yet
		r.kernel()
		check(t, r, true, true, b)
		r.c.say() // has not been told of it
		check(t, r, true, true, b)
		r.c.frameOf(syncproto.InfoInSync, nil)
		check(t, r, true, true, b, PeerRun{hostC, 0xcccc})
	})
	t.Run("a silent peer", func(t *testing.T) {
		r := ready(t)
		check(t, r, true, true, b)
		r.pass(10 * second)
		check(t, r, true, true, b) // nothing was written since
		r.c.say(ins(pfstate.ID{ID: 7, CreatorID: hostC}, udp(1, assured)))
		r.kernel()
		check(t, r, true, true, PeerRun{hostC, 0xcccc})
	})
	t.Run("one that somebody wrote to", func(t *testing.T) {
		r := newDesk(t, func(c *Config) { c.KernelKept, c.LastRun.Whole = true, true })
		r.linkUp()
		r.dump(writtenEntry(udp(1, assured)))
		r.sent()
		r.b.sending(bus(syncproto.BusStart))
		check(t, r, false, false)
		r.b.say(bus(syncproto.BusEnd))
		r.pass(0)
		r.expectSent("INS A0 2:2")
		r.b.frameOf(syncproto.InfoInSync, nil)
		check(t, r, true, true, b)
	})
	t.Run("what did not fit", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), udp(1, assured)))
		r.ops()
		r.done(pfstate.ResultFull)
		check(t, r, true, false, b)
	})
}

// TestDeleteReversed: an entry that turns out to run the other way is deleted
// all the same, and once.
func TestDeleteReversed(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, assured))
	r.pass(3 * second)
	r.b.say(kill(theirs(5)))
	for _, op := range []string{"delete 1", "delete 1 reversed"} {
		r.expectOps(op)
		r.done(pfstate.ResultReversed)
	}
	r.expectOps()
	r.expectNames()
}

// TestGetReversed: the answer of the kernel says which way its entry runs,
// whatever was thought when it was asked, or has been told since.
func TestGetReversed(t *testing.T) {
	f := udp(1, assured)
	for _, tc := range []struct {
		name string
		told bool // by an event before the answer
		code pfstate.ResultCode
	}{
		{"not known", false, pfstate.ResultReversed},
		{"told by an event meanwhile", true, pfstate.ResultReversed},
		{"told by an event before", true, pfstate.ResultOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.b.say(ins(theirs(5), f))
			r.expectOps("create 1")
			if tc.told && tc.code == pfstate.ResultOK {
				r.changed(f.Reversed())
			}
			r.done(pfstate.ResultExists)
			r.ops()
			if tc.told && tc.code != pfstate.ResultOK {
				r.changed(f.Reversed())
			}
			r.doneFlow(tc.code, f.Reversed())
			r.expectReason(ReasonCollision, 0)
			r.expectNames("B5")
			r.pass(3 * second)
			r.b.say(kill(theirs(5)))
			r.expectOps("delete 1 reversed")
		})
	}
}

// TestUntold: what begins between the start and the syncdev is announced when
// there is somebody to hear it.
func TestUntold(t *testing.T) {
	r := newDesk(t, func(c *Config) { c.Sync = false })
	r.dump()
	r.made(udp(1, fresh))
	r.made(udp(2, fresh))
	r.expect("shown", r.until(r.now+second/4), "INS A0 1:0", "INS A1 1:0")
	r.killed(udp(2, fresh))
	r.expect("shown", r.until(r.now+second/4), "DEL_C A1 killed")
	r.setConfig(func(c *Config) { c.Sync = true }, true)
	r.linkUp()
	r.expect("told", r.until(r.now+second/4), "UPD_REQ 0", "INS A0 1:0")
	r.setConfig(func(c *Config) { c.MaxUpd = 7 }, false)
	r.expect("told once", r.until(r.now+second/4))
}

// TestDeleteBehind: an entry that still is at an earlier step, with the time of
// that, is no living connection.
func TestDeleteBehind(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), left(tcp(1, pfstate.TCPClose), 5)))
	r.expectOps("create 1")
	r.done(pfstate.ResultExists)
	r.b.say(del(theirs(5)))
	r.expectOps("delete 1")
	r.doneFlow(pfstate.ResultLiving, tcp(1, pfstate.TCPEstablished))
	r.expectOps("delete 1")
	r.done(pfstate.ResultOK)
	r.expectNames()
	r.expectReason(ReasonDelRefused, 0)
}

// TestLateWitness: of three firewalls one is restarted while the others miss
// something. What has ended meanwhile is left until they have found that out.
func TestLateWitness(t *testing.T) {
	f := newFleet(t, 3)
	a, b, c := f.ships[0], f.ships[1], f.ships[2]
	f.fill(100)
	b.deaf, b.mute = true, true
	for i := range 50 {
		flow := flowN(i)
		delete(a.kernel, keyOf(&flow))
		flow.Has |= pfstate.HasTimeout
		a.e.Local(f.now, []pfstate.Event{event(pfstate.EventDestroy, flow)})
	}
	f.pass(2 * second)
	b.deaf, b.mute = false, false
	missing := func(n int) {
		for _, s := range []*ship{a, c} {
			s.e.peers.list[0].unhealed += n
		}
	}
	missing(1)
	f.restart(b, 3*second)
	f.pass(3 * second)
	missing(-1)
	f.until(10*second, "equal tables", func() bool { return f.equal() == "" })
	if len(b.kernel) != 50 {
		t.Errorf("%d entries of 50", len(b.kernel))
	}
}
