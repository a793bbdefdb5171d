package engine

import (
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestVerify: what differs is found, named and healed, whoever asks.
func TestVerify(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(f *fleet)
		a, b  string // what a verification at A, at B, says; "" nothing
	}{
		{"equal", func(*fleet) {}, "", ""},
		{"missing at B", func(f *fleet) { f.ships[1].forget(flowN(7)) }, "A7 missing there healed", "A7 missing here healed"},
		{"contents", func(f *fleet) {
			b, flow := f.ships[1], flowN(7)
			flow.Mark = 99
			b.e.tab.At(b.ref(flow)).Mark = 99
			b.kernel[keyOf(&flow)] = flow
		}, "A7 contents healed: mark 0 here, 99 there", "A7 contents healed: mark 99 here, 0 there"},
		{"gone from B's kernel", func(f *fleet) {
			flow := flowN(7)
			delete(f.ships[1].kernel, keyOf(&flow))
		}, "A7 gone there healed", "A7 gone here healed"},
		{"changed in A's kernel", func(f *fleet) {
			flow := flowN(7)
			flow.Mark = 5
			f.ships[0].kernel[keyOf(&flow)] = flow
		}, "A7 changed here healed", "A7 changed there healed"},
		{"over at A", func(f *fleet) { // A forgot to say so
			b := f.ships[1]
			b.e.setCarried(b.e.tab.At(b.ref(flowN(7))), false)
			f.ships[0].forget(flowN(7))
		}, "A7 missing here healed (unknown)", "A7 missing there healed"},
	} {
		for i, want := range []string{tc.a, tc.b} {
			t.Run(tc.name+" asked at "+string(rune('A'+i)), func(t *testing.T) {
				f := newFleet(t, 2)
				f.fill(100)
				tc.spoil(f)
				v := f.verify(f.ships[i])
				if want == "" {
					f.expectList(v)
				} else {
					f.expectList(v, want)
				}
				if p := v.Peers[0]; p.Outcome != VerifyEqual || p.Differed != p.Healed || p.States < 99 {
					t.Errorf("%+v", p)
				}
				f.pass(2 * second)
				f.expectEqual()
				for _, s := range f.ships {
					if s.e.Status(f.now).Diverged {
						t.Error("diverged")
					}
				}
			})
		}
	}
}

// TestVerifyOldStateGiven: a state that neither carries, and that began before
// the peer did, may live: it is given to the peer, not deleted.
func TestVerifyOldStateGiven(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(10)
	b := f.ships[1]
	s := b.e.tab.At(b.ref(flowN(7)))
	b.e.setCarried(s, false)
	b.e.tab.SetName(b.ref(flowN(7)), s.MainSide(), pfstate.ID{ID: firstID - 7, CreatorID: hostA}) // of an earlier run
	s.Created -= 100 * second
	f.ships[0].forget(flowN(7))
	f.verify(b)
	f.pass(2 * second)
	f.expectEqual()
	if f.ships[0].ref(flowN(7)) == 0 {
		t.Error("an idle connection was deleted")
	}
}

// TestVerifyLiving: a state that the peer lacks and that packets of pass here
// is not deleted, though no event has told of them.
func TestVerifyLiving(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(10)
	a, b := f.ships[0], f.ships[1]
	flow := flowN(7)
	b.e.setCarried(b.e.tab.At(b.ref(flow)), false)
	a.forget(flow)
	r := b.ref(flow)
	if err := b.e.Verify(f.now, a.addr); err != nil {
		t.Fatal(err)
	}
	f.until(60*second, "judged", func() bool { return b.e.tab.At(r).Tries > 0 })
	b.ends[keyOf(&flow)] = f.now + 2*int64(flow.Timeout)*second // a packet
	f.until(60*second, "verified", func() bool { return !b.e.verify.Running })
	f.pass(5 * second)
	f.expectEqual()
	if a.ref(flow) == 0 || b.ref(flow) == 0 {
		t.Error("a living connection was deleted")
	}
}

// TestCheckSlow: without anybody asking, a difference is healed.
func TestCheckSlow(t *testing.T) {
	f := newFleet(t, 3)
	f.fill(50)
	f.ships[1].forget(flowN(3))
	f.ships[2].forget(flowN(4))
	f.until(90*second, "healed", func() bool { return f.equal() == "" })
	for i, s := range f.ships {
		if n := s.e.Stats.Reason[ReasonChecks]; (n > 0) != (i > 0) {
			t.Errorf("%c has compared %d times", 'A'+i, n) // the highest of two asks
		}
	}
}

// TestCheckCost: equal tables cost little to keep comparing.
func TestCheckCost(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(2000)
	f.pass(60 * second)
	was := f.bytes
	f.pass(100 * second)
	perSecond := (f.bytes - was) / 100
	t.Logf("%d bytes a second with heartbeats", perSecond)
	if perSecond > 400 {
		t.Errorf("%d bytes a second", perSecond)
	}
}

// TestCheckDoubt: frames that are lost for good are made up for at once, and
// until then the tables are said to differ.
func TestCheckDoubt(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(200)
	a, b := f.ships[0], f.ships[1]
	a.mute = true
	for i := 200; i < 210; i++ {
		f.made(a, flowN(i))
	}
	f.pass(20 * milli)
	a.mute = false
	a.e.repair.frames = [sentFrames]sentFrame{} // it has forgotten what it sent
	f.until(5*second, "frames missed", func() bool { return b.e.Stats.Reason[ReasonFrameLost] > 0 })
	f.until(5*second, "doubt", func() bool { return b.e.peers.list[0].doubt })
	if !b.e.Status(f.now).Diverged {
		t.Error("not diverged")
	}
	bulk := a.e.Stats.In[2]
	f.until(20*second, "equal", func() bool { return f.equal() == "" && !b.e.Status(f.now).Diverged })
	if a.e.Stats.In[2] != bulk {
		t.Error("the whole table was asked for")
	}
}

// TestCheckMass: where too much differs a transfer is cheaper.
func TestCheckMass(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(2000)
	b := f.ships[1]
	for i := range 1500 {
		b.forget(flowN(i))
	}
	b.e.doubtAll(f.now)
	f.until(30*second, "equal", func() bool { return f.equal() == "" })
	if n := b.e.Stats.Reason[ReasonCheckDiffered]; n > 100 {
		t.Errorf("%d states were named one by one", n)
	}
}

// TestVerifyMany: more differences than fit are named as far as that goes, and
// all are healed.
func TestVerifyMany(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(6000)
	b := f.ships[1]
	for i := range 5000 {
		b.forget(flowN(i))
	}
	v := f.verify(b)
	f.pass(2 * second)
	f.expectEqual()
	if p := v.Peers[0]; p.Differed != 5000 || p.Healed != 5000 || len(v.List) != maxDiffering || v.More != 4000 {
		t.Errorf("%+v, %d named, %d more", p, len(v.List), v.More)
	}
}

// TestVerifyRefused: what the peer's kernel, or ours, does not take is a
// difference with a name, and does not keep them talking.
func TestVerifyRefused(t *testing.T) {
	no := flowN(7)
	for i, want := range []string{"A7 refused there unhealed", "A7 refused here unhealed"} {
		f := newFleet(t, 2)
		f.ships[1].refuses = func(flow *pfstate.Flow) bool { return flow.Orig == no.Orig }
		for n := range 20 {
			f.made(f.ships[0], flowN(n))
		}
		f.pass(20 * second)
		f.expectList(f.verify(f.ships[i]), want)
		if !f.ships[i].e.Status(f.now).Diverged {
			t.Error("not diverged")
		}
		f.pass(200 * second)
		was := f.bytes
		f.pass(100 * second)
		if n := (f.bytes - was) / 100; n > 400 {
			t.Errorf("%d bytes a second of a difference that stays", n)
		}
		f.ships[1].refuses = nil
		f.expectList(f.verify(f.ships[i])) // B's look at its kernel lets it try again
		f.pass(second)
		f.expectEqual()
		if f.ships[i].e.Status(f.now).Diverged {
			t.Error("diverged")
		}
	}
}

// TestDivergedEnds: a difference that stays is said to be there as long as it
// is, and hardly longer, by either side.
func TestDivergedEnds(t *testing.T) {
	no := flowN(7)
	for i := range 2 {
		f := newFleet(t, 2)
		f.ships[1].refuses = func(flow *pfstate.Flow) bool { return flow.Orig == no.Orig }
		for n := range 20 {
			f.made(f.ships[0], flowN(n))
		}
		f.pass(20 * second)
		f.verify(f.ships[i])
		f.pass(60 * second)
		if !f.ships[i].e.Status(f.now).Diverged {
			t.Fatal("not diverged")
		}
		f.ships[1].refuses = nil
		f.dump(f.ships[1]) // after which it is tried again
		f.pass(2*differsEvery + 5*second)
		f.expectEqual()
		if f.ships[i].e.Status(f.now).Diverged {
			t.Error("still diverged")
		}
	}
}

// TestVerifyWithheld: what a filter keeps out is no fault.
func TestVerifyWithheld(t *testing.T) {
	f := newFleet(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.Filter.Marks = []pfstate.MarkMatch{{Value: 8, Mask: 0xffffffff}}
		}
	})
	for n := range 20 {
		flow := flowN(n)
		if n == 7 {
			flow.Mark = 8
		}
		f.made(f.ships[0], flow)
	}
	f.pass(20 * second)
	v := f.verify(f.ships[1])
	f.expectList(v, "A7 missing here unhealed nosync")
	if p := v.Peers[0]; p.Unhealed != 1 || p.Withheld != 1 {
		t.Errorf("%+v", p)
	}
	if f.ships[1].e.Status(f.now).Diverged {
		t.Error("diverged")
	}
}

// TestMaxStatesRaised: what there was no room for is fetched when there is.
func TestMaxStatesRaised(t *testing.T) {
	f := newFleet(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.MaxStates = 90
		}
	})
	for n := range 100 {
		f.made(f.ships[0], flowN(n))
	}
	f.pass(20 * second)
	b := f.ships[1]
	v := f.verify(b)
	if p := v.Peers[0]; p.Unhealed != 10 || v.List[0].Why != "maxstates" || !v.List[0].Known {
		t.Errorf("%+v %+v", p, v.List)
	}
	if st := b.e.Status(f.now); !st.Diverged || st.Lasting != 10 {
		t.Errorf("%+v", st)
	}
	cfg := b.e.Config()
	cfg.MaxStates = 0
	b.e.Set(f.now, cfg, false)
	f.until(20*second, "equal", func() bool { return f.equal() == "" && !b.e.Status(f.now).Diverged })
}

// TestVerifyLinkLost: a verification ends when the link does.
func TestVerifyLinkLost(t *testing.T) {
	f := newFleet(t, 3)
	f.fill(20)
	a := f.ships[0]
	if err := a.e.Verify(f.now, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if err := a.e.Verify(f.now, netip.Addr{}); err != nil {
		t.Errorf("the same again: %v", err)
	}
	f.pass(20 * milli)
	a.e.Link(f.now, Link{Self: a.addr, MTU: 1500})
	f.until(5*second, "over", func() bool { return !a.e.verify.Running })
	for _, p := range a.e.Verification().Peers {
		if p.Outcome != VerifyBroken {
			t.Errorf("%+v", p)
		}
	}
}

// TestVerifyOutcomes: who cannot be compared with is told apart.
func TestVerifyOutcomes(t *testing.T) {
	r := ready(t)
	r.bsd.say(ins(pfstate.ID{ID: 1, CreatorID: 0xd000}, udp(9, assured)))
	r.c.say()
	r.pass(4 * second)
	r.b.say()
	r.bsd.say()
	if err := r.e.Verify(r.now, netip.MustParseAddr("10.9.9.9")); err != ErrUnknownPeer {
		t.Error(err)
	}
	if err := r.e.Verify(r.now, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	want := map[netip.Addr]Outcome{r.b.addr: VerifyOld, r.c.addr: VerifySilent, r.bsd.addr: VerifyBSD}
	v := r.e.Verification()
	for _, p := range v.Peers {
		if p.Outcome != want[p.Addr] {
			t.Errorf("%s: %s, want %s", p.Addr, p.Outcome, want[p.Addr])
		}
	}
	if v.Running || len(v.Peers) != len(want) {
		t.Errorf("%+v", v)
	}
	if err := newDesk(t).e.Verify(r.now, netip.Addr{}); err != ErrNoPeer {
		t.Error(err)
	}
	if err := newDesk(t, func(c *Config) { c.Format = syncproto.Format1400 }).e.Verify(r.now, netip.Addr{}); err != ErrNoDigests {
		t.Error(err)
	}
}

// TestVerifyReplaced: a verification is over when the place of its peer is given
// to another, too, and the next one can begin.
func TestVerifyReplaced(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(100)
	b := f.ships[1]
	if err := b.e.Verify(f.now, f.ships[0].addr); err != nil {
		t.Fatal(err)
	}
	f.until(5*second, "it to begin", func() bool { return b.e.check.on && b.e.check.why == checkDemand })
	f.ships[0].mute = true
	b.e.peers.list[b.e.check.peer] = Peer{used: true, Addr: netip.MustParseAddr("10.255.0.77"), First: f.now, Last: f.now}
	f.until(10*second, "its end", func() bool { return !b.e.verify.Running })
	f.ships[0].mute = false
	f.until(30*second, "the peer", func() bool { return b.e.Verify(f.now, f.ships[0].addr) == nil })
}
