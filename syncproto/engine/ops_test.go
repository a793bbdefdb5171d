package engine

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/pfstate"
)

// TestInsAck: INS_ACK means that the kernel has it.
func TestInsAck(t *testing.T) {
	f := tcp(1, pfstate.TCPSynSent)
	asked := func(t *testing.T) *desk {
		r := ready(t)
		r.b.say(askAck(theirs(5), f))
		r.expect("before the kernel was asked", r.sent())
		r.expectOps("create 1")
		r.expect("before the kernel answered", r.sent())
		return r
	}
	t.Run("made", func(t *testing.T) {
		r := asked(t)
		r.done(pfstate.ResultOK)
		r.expect("at once", r.sent(), "INS_ACK B5")
		r.expect("once", r.until(r.now+second))
	})
	t.Run("there already", func(t *testing.T) {
		r := asked(t)
		r.done(pfstate.ResultExists)
		r.expectOps("get 1")
		r.doneFlow(pfstate.ResultOK, f)
		r.expect("at once", r.sent(), "INS_ACK B5")
		r.expectOps()
	})
	t.Run("there already, reversed", func(t *testing.T) {
		r := asked(t)
		r.done(pfstate.ResultExists)
		r.expectOps("get 1")
		r.doneFlow(pfstate.ResultReversed, reversed(f))
		r.expect("at once", r.sent(), "INS_ACK B5")
		r.b.say(updc(theirs(5), tcp(1, pfstate.TCPEstablished)))
		r.expectOps("update 1 reversed")
	})
	t.Run("the tuple is another connection's reply", func(t *testing.T) {
		r := asked(t)
		r.done(pfstate.ResultExists)
		r.ops()
		r.doneFlow(pfstate.ResultReversed, reversed(masqueraded(f, 9)))
		r.expect("never", r.until(r.now+second))
		r.expectReason(ReasonCollision, 1)
	})
	t.Run("asked again by an update", func(t *testing.T) {
		r := asked(t)
		r.done(pfstate.ResultOK)
		r.sent()
		r.b.say(askAck(theirs(5), f))
		r.expect("at once", r.sent(), "INS_ACK B5")
	})
	t.Run("not asked for", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), f))
		r.kernel()
		r.expect("sent", r.sent())
	})
	for code, why := range map[pfstate.ResultCode]Reason{
		pfstate.ResultFull:        ReasonKernelFull,
		pfstate.ResultUnsupported: ReasonKernelUnsupported,
		pfstate.ResultInvalid:     ReasonKernelInvalid,
		pfstate.ResultBusy:        ReasonKernelBusy,
		pfstate.ResultDenied:      ReasonKernelDenied,
		pfstate.ResultError:       ReasonKernelError,
	} {
		t.Run("refused, "+code.String(), func(t *testing.T) {
			r := asked(t)
			r.done(code)
			r.expect("never", r.until(r.now+second))
			r.expectReason(why, 1)
			r.expectOps()
			if s := r.state(theirs(5)); !s.Has(pfstate.FlagRefused) || s.Has(pfstate.FlagInKernel) {
				t.Errorf("flags %b", s.Flags)
			}
		})
	}
}

// TestTableFull: what a full kernel refused is tried again after each
// dump that ended, and the frame goes on.
func TestTableFull(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), udp(1, assured)), ins(theirs(6), udp(2, assured)))
	r.expectOps("create 1", "create 2")
	r.done(pfstate.ResultFull)
	r.expectReason(ReasonKernelFull, 2)
	r.expectNames("B5", "B6")
	r.b.say(updc(theirs(5), udp(1, assured)))
	r.expectOps() // not with every update
	r.local(event(pfstate.EventDumpBegin, pfstate.Flow{}), event(pfstate.EventDumpFail, pfstate.Flow{}))
	r.pass(0)
	r.expectOps() // nor after a dump that failed
	r.dump()
	r.expectOps("create 1", "create 2")
	r.done(pfstate.ResultFull)
	r.dump()
	r.expectOps("create 1", "create 2")
	r.done(pfstate.ResultOK)
	r.pass(3 * second)
	r.dump(udp(1, assured), udp(2, assured))
	r.expectOps()
	if r.state(theirs(5)).Has(pfstate.FlagRefused) {
		t.Error("still refused")
	}
}

// TestRefusedForGood: what the kernel never takes goes when its time is over,
// though the peer never says so.
func TestRefusedForGood(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), udp(1, assured)), ins(theirs(6), udp(2, assured)))
	r.ops()
	r.done(pfstate.ResultUnsupported)
	r.dump()
	r.ops()
	r.done(pfstate.ResultUnsupported)
	r.pass(100 * second)
	r.b.say(updc(theirs(6), udp(2, assured))) // lives
	r.pass(100 * second)
	r.dump()
	r.expectNames("B6")
	r.expectOps("create 2")
	r.done(pfstate.ResultUnsupported)
	r.pass(200 * second)
	r.dump()
	r.expectNames()
	r.expectOps()
}

// TestRefusedSeenHere: what the kernel refused, and then has by itself.
func TestRefusedSeenHere(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), udp(1, answered)))
	r.ops()
	r.done(pfstate.ResultFull)
	r.pass(3 * second)
	r.changed(udp(1, assured))
	r.expectSent("UPD_C B5 2:2")
	if s := r.state(theirs(5)); s.Has(pfstate.FlagRefused) || !s.Has(pfstate.FlagInKernel) || !s.Carried() {
		t.Errorf("flags %b", s.Flags)
	}
}

// TestOpsOrder: the delete of an earlier connection comes before the create of
// the later one with its tuple, whatever is under way.
func TestOpsOrder(t *testing.T) {
	end, begin := tcp(1, pfstate.TCPTimeWait), tcp(1, pfstate.TCPSynSent)
	t.Run("delete and insert in one frame", func(t *testing.T) {
		r := ready(t)
		r.known(5, end)
		r.b.say(kill(theirs(5)), ins(theirs(6), begin))
		r.expectOps("delete 1", "create 1")
		r.done(pfstate.ResultOK)
		r.expectNames("B6")
	})
	t.Run("insert under a later name", func(t *testing.T) {
		r := ready(t)
		r.known(5, end)
		r.b.say(ins(theirs(6), begin))
		r.expectOps("delete 1", "create 1")
	})
	t.Run("an update of the earlier under way", func(t *testing.T) {
		r := ready(t)
		r.known(5, tcp(1, pfstate.TCPEstablished))
		r.b.say(updc(theirs(5), end))
		r.expectOps("update 1")
		r.b.say(kill(theirs(5)), ins(theirs(6), begin))
		r.expectOps() // neither before the kernel has answered
		r.done(pfstate.ResultOK)
		r.expectOps("delete 1")
		r.done(pfstate.ResultOK)
		r.expectOps("create 1")
		r.done(pfstate.ResultOK)
		r.expectNames("B6")
	})
	t.Run("the create of the earlier under way", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), end))
		r.expectOps("create 1")
		r.b.say(kill(theirs(5)), ins(theirs(6), begin))
		r.expectOps()
		r.done(pfstate.ResultOK)
		r.expectOps("delete 1")
		r.done(pfstate.ResultOK)
		r.expectOps("create 1")
	})
	t.Run("the later ends before the earlier is deleted", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), end))
		r.ops()
		r.b.say(kill(theirs(5)), ins(theirs(6), begin), kill(theirs(6)))
		r.done(pfstate.ResultOK)
		r.expectOps("delete 1")
		r.done(pfstate.ResultOK)
		r.expectOps()
		r.expectNames()
		if n := r.e.tab.Len(); n != 0 {
			t.Errorf("%d states left", n)
		}
	})
	t.Run("never handed out", func(t *testing.T) {
		r := ready(t)
		r.b.say(ins(theirs(5), begin), kill(theirs(5)))
		r.expectOps()
		r.expectNames()
	})
	t.Run("a guarded delete that finds the later one", func(t *testing.T) {
		r := ready(t)
		r.known(5, end)
		r.b.say(del(theirs(5)), ins(theirs(6), begin))
		r.expectOps("delete 1", "create 1")
		r.asked = r.asked[:1]
		r.doneFlow(pfstate.ResultLiving, begin) // a packet was faster
		r.expectReason(ReasonDelRefused, 0)
		r.expectNames("B6")
	})
}

// TestOpsCollapse: one operation for a state is wanted at most and one under
// way; what the kernel is told is what the state is when it is handed out.
func TestOpsCollapse(t *testing.T) {
	r := ready(t)
	r.b.say(ins(theirs(5), tcp(1, pfstate.TCPSynSent)))
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPSynRecv)))
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expectOps("create 1")
	if got := r.asked[0].Flow.ProtoState; got != pfstate.TCPEstablished {
		t.Errorf("made in state %d", got)
	}
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPFinWait)))
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPTimeWait)))
	r.expectOps()
	r.done(pfstate.ResultOK)
	r.expectOps("update 1") // not a create: what is there would refuse it, and then have another time than we think
	if got := r.asked[0].Flow.ProtoState; got != pfstate.TCPTimeWait {
		t.Errorf("updated to state %d", got)
	}
	r.done(pfstate.ResultOK)
	r.expectOps()
}

// TestFollow: the kernel is told of contents at once, and of mere signs of
// life only when its own time runs short.
func TestFollow(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	mark := func(f pfstate.Flow) item {
		it := upd(theirs(5), f)
		it.tlvs = markTLV(4)
		return it
	}
	for _, tc := range []struct {
		name  string
		after int64
		say   item
		ops   []string
	}{
		{"moves on", 0, updc(theirs(5), tcp(1, pfstate.TCPFinWait)), []string{"update 1"}},
		{"a mark", 0, mark(est), []string{"update 1"}},
		{"the same again", 0, upd(theirs(5), est), nil},
		{"lives", 1000, updc(theirs(5), est), nil},
		{"lives, a quarter of the time gone", 108_100, updc(theirs(5), est), []string{"update 1"}},
		{"ends much sooner than the kernel thinks", 0, upd(theirs(5), left(est, 300)), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.known(5, est)
			r.pass(tc.after * second)
			r.b.say(tc.say)
			r.expectOps(tc.ops...)
		})
	}
	t.Run("a storm of signs of life", func(t *testing.T) {
		r := ready(t)
		r.known(5, est)
		for range 10_000 {
			r.pass(milli / 10)
			r.b.say(updc(theirs(5), est))
		}
		r.expectOps()
		r.expect("sent", r.sent())
	})
}

// TestMaxStates: peers' states beyond the limit are not taken; what is carried
// here does not count.
func TestMaxStates(t *testing.T) {
	r := ready(t, func(c *Config) { c.MaxStates = 2 })
	r.made(udp(9, fresh))
	r.b.say(ins(theirs(1), udp(1, fresh)), ins(theirs(2), udp(2, fresh)), ins(theirs(3), udp(3, fresh)))
	r.expectOps("create 1", "create 2")
	r.expectReason(ReasonMaxStates, 1)
	r.expectNames("A0", "B1", "B2")
}

// TestTravel: between Linux peers all of an entry travels: the other kernel is
// told to make what this one has.
func TestTravel(t *testing.T) {
	v6 := func(f pfstate.Flow) pfstate.Flow {
		f.AF = pfstate.AFInet6
		f.Orig.Src = pfstate.Addr{0xfd, 15: 1}
		f.Orig.Dst = pfstate.Addr{0x20, 0x01, 15: 2}
		f.Reply = f.Orig.Inverse(f.Proto)
		return f
	}
	other := func(proto uint8, change func(*pfstate.Flow)) pfstate.Flow {
		f := udp(1, assured)
		f.Proto = proto
		f.Orig.SrcPort, f.Orig.DstPort = 0, 0
		if change != nil {
			change(&f)
		}
		f.Reply = f.Orig.Inverse(proto)
		return f
	}
	with := func(f pfstate.Flow, change func(*pfstate.Flow)) pfstate.Flow {
		change(&f)
		return f
	}
	est := tcp(1, pfstate.TCPEstablished)
	for _, tc := range []struct {
		name string
		flow pfstate.Flow
	}{
		{"tcp", est},
		{"tcp ipv6", v6(est)},
		{"tcp window scale", with(est, func(f *pfstate.Flow) {
			f.WScale = [2]uint8{7, 0}
			f.TCPFlags = [2]uint8{pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm, pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm}
		})},
		{"tcp closed by the answering side", with(tcp(1, pfstate.TCPFinWait), func(f *pfstate.Flow) {
			f.TCPFlags = [2]uint8{pfstate.TCPFlagSackPerm, pfstate.TCPFlagSackPerm | pfstate.TCPFlagCloseInit}
		})},
		{"snat", masqueraded(est, 7)},
		{"dnat with port", with(est, func(f *pfstate.Flow) { f.Reply.Src, f.Reply.SrcPort = pfstate.Addr{10, 9, 9, 9}, 8443 })},
		{"both", with(masqueraded(est, 7), func(f *pfstate.Flow) { f.Reply.Src, f.Reply.DstPort = pfstate.Addr{10, 9, 9, 9}, 61000 })},
		{"snat ipv6", with(v6(est), func(f *pfstate.Flow) { f.Reply.Dst = pfstate.Addr{0x20, 0x01, 15: 9} })},
		{"udp fresh", udp(1, fresh)},
		{"udp answered", udp(1, answered)},
		{"udp assured", udp(1, assured)},
		{"udp with a fixed timeout", udp(1, assured|pfstate.StatusFixedTimeout)},
		{"udp of an odd timeout", left(udp(1, assured), 1234)},
		{"udplite", other(pfstate.ProtoUDPLite, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 5, 6 })},
		{"icmp echo", other(pfstate.ProtoICMP, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 77, 8<<8 })},
		{"icmp of another type and code", other(pfstate.ProtoICMP, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 77, 13<<8|5 })},
		{"icmp fresh", with(other(pfstate.ProtoICMP, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 77, 8<<8 }), func(f *pfstate.Flow) { f.Status = fresh })},
		{"icmpv6", v6(other(pfstate.ProtoICMPv6, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 77, 128<<8 }))},
		{"icmp translated", with(other(pfstate.ProtoICMP, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 77, 8<<8 }), func(f *pfstate.Flow) {
			f.Reply.Dst, f.Reply.SrcPort = pfstate.Addr{203, 0, 113, 1}, 99
		})},
		{"gre", other(pfstate.ProtoGRE, func(f *pfstate.Flow) { f.Orig.SrcPort, f.Orig.DstPort = 0, 4711 })},
		{"esp", other(pfstate.ProtoESP, nil)},
		{"any protocol", other(99, nil)},
		{"sctp", other(pfstate.ProtoSCTP, func(f *pfstate.Flow) {
			f.Orig.SrcPort, f.Orig.DstPort = 5, 6
			f.Has |= pfstate.HasProto
			f.ProtoState, f.VTag = 4, [2]uint32{0x11111111, 0x22222222}
		})},
		{"dccp", other(pfstate.ProtoDCCP, func(f *pfstate.Flow) {
			f.Orig.SrcPort, f.Orig.DstPort = 5, 6
			f.Has |= pfstate.HasProto
			f.ProtoState, f.DCCPRole, f.DCCPSeq = 4, 1, 0x123456789abc
		})},
		{"mark", with(est, func(f *pfstate.Flow) { f.Mark = 0xdeadbeef })},
		{"zone", with(est, func(f *pfstate.Flow) { f.Zone = [2]uint16{3, 3} })},
		{"zone of one direction", with(est, func(f *pfstate.Flow) { f.Zone = [2]uint16{3, 0} })},
		{"labels", with(est, func(f *pfstate.Flow) { f.Has |= pfstate.HasLabels; f.Labels = [16]byte{0: 1, 15: 0x80} })},
		{"helper", with(est, func(f *pfstate.Flow) { f.Has |= pfstate.HasHelper; copy(f.Helper[:], "ftp") })},
		{"sequence adjustment", with(est, func(f *pfstate.Flow) {
			f.Has |= pfstate.HasSeqAdj
			f.SeqAdj = [2]pfstate.SeqAdj{{Pos: 1 << 31, Before: -4, After: 8}, {Pos: 7, Before: 0, After: -8}}
		})},
		{"synproxy", with(est, func(f *pfstate.Flow) {
			f.Has |= pfstate.HasSeqAdj | pfstate.HasSynproxy
			f.SeqAdj[1] = pfstate.SeqAdj{Before: -5, After: -5}
			f.Proxy = pfstate.Synproxy{ISN: 1, ITS: 2, TSOff: 1 << 31}
		})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, p := ready(t), ready(t, func(c *Config) { c.HostID = hostC })
			r.made(tc.flow)
			ref, _, ok := r.e.tab.ByName(mine(0))
			if !ok {
				t.Fatal("not entered")
			}
			want := r.e.tab.FlowOf(r.e.tab.At(ref), r.now)
			r.pass(10 * milli)
			fr, ok := r.e.NextFrame(r.now, make([]byte, 0, 2048))
			if !ok {
				t.Fatal("nothing sent")
			}
			p.now = r.now
			p.e.Remote(p.now, netip.MustParseAddr("10.255.0.99"), fr.Data)
			var ops [2]pfstate.Op
			if n := p.e.Ops(p.now, ops[:]); n != 1 || ops[0].Kind != pfstate.OpCreate {
				t.Fatalf("%d operations, %v", n, ops[0])
			}
			if diff := cmp.Diff(want, ops[0].Flow); diff != "" {
				t.Errorf("the other kernel is told (-ours +theirs):\n%s", diff)
			}
		})
	}
}
