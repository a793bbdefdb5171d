package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestValueChecks: pfsync-protocol.md section 9.3, the table of value checks:
// which values count badval, by action and format; UPD leaves direction and
// family to the import.
func TestValueChecks(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*syncproto.State)
		ins, upd [2]int // badval; OpenBSD, FreeBSD
		updc     bool   // the same for UPD_C as for UPD; else it has no such field
	}{
		{"good", func(*syncproto.State) {}, [2]int{}, [2]int{}, true},
		{"last timeout of OpenBSD", func(s *syncproto.State) { s.Timeout = 19 }, [2]int{}, [2]int{}, true},
		{"first timeout of FreeBSD only", func(s *syncproto.State) { s.Timeout = 20 }, [2]int{1, 0}, [2]int{1, 0}, true},
		{"last timeout of FreeBSD", func(s *syncproto.State) { s.Timeout = 24 }, [2]int{1, 0}, [2]int{1, 0}, true},
		{"no timeout", func(s *syncproto.State) { s.Timeout = 25 }, [2]int{1, 1}, [2]int{1, 1}, true},
		{"purged, as OpenBSD sends after a flush", func(s *syncproto.State) { s.Timeout = 22 }, [2]int{1, 0}, [2]int{1, 0}, true},
		{"source state 13", func(s *syncproto.State) { s.Src.State = 13 }, [2]int{1, 1}, [2]int{1, 1}, true},
		{"destination state 255", func(s *syncproto.State) { s.Dst.State = 255 }, [2]int{1, 1}, [2]int{1, 1}, true},
		{"direction 3", func(s *syncproto.State) { s.Direction = 3 }, [2]int{1, 1}, [2]int{}, false},
		{"family 10, Linux's own", func(s *syncproto.State) { s.AF, s.Key[0].AF, s.Key[1].AF = 10, 10, 10 }, [2]int{1, 1}, [2]int{}, false},
		{"family 24", func(s *syncproto.State) { s.AF, s.Key[0].AF, s.Key[1].AF = 24, 24, 24 }, [2]int{0, 1}, [2]int{}, false},
		{"family 28", func(s *syncproto.State) { s.AF, s.Key[0].AF, s.Key[1].AF = 28, 28, 28 }, [2]int{1, 0}, [2]int{}, false},
		{"one key of family 0", func(s *syncproto.State) { s.Key[1].AF = 0 }, [2]int{1, 0}, [2]int{}, false},
		{"both keys of family 0", func(s *syncproto.State) { s.Key[0].AF, s.Key[1].AF = 0, 0 }, [2]int{}, [2]int{}, false},
	}
	for _, tt := range tests {
		for k, f := range []syncproto.Format{syncproto.Format6, syncproto.Format1301, syncproto.Format1400, syncproto.Format1500} {
			kind := min(k, 1)
			t.Run(tt.name+" "+f.String(), func(t *testing.T) {
				g := newRig(t, nil)
				st, _ := strictPair(nil, 4, 4)
				tt.change(&st)
				st.StackAF = st.AF
				frame := func(fill func(*syncproto.Builder)) {
					var w syncproto.Builder
					w.Begin(nil, f.Version(), 1480, nil)
					fill(&w)
					g.hear(rigBSD, w.End())
				}
				expect := func(what string, want int) {
					t.Helper()
					if got := int(g.count(CountBadVal)); got != want {
						t.Errorf("%s: badval %d, want %d", what, got, want)
					}
					g.e.Stats.Count[CountBadVal] = 0
				}
				frame(func(w *syncproto.Builder) { w.AddState(syncproto.ActIns, f, &st) })
				expect("INS", tt.ins[kind])
				if tt.ins[kind] > 0 && g.e.tab.Len() != 0 {
					t.Error("imported all the same")
				}
				frame(func(w *syncproto.Builder) { w.AddState(syncproto.ActUpd, f, &st) })
				expect("UPD", tt.upd[kind])
				frame(func(w *syncproto.Builder) {
					w.AddUpdC(&syncproto.UpdC{ID: 77, CreatorID: pfHost, Src: st.Src, Dst: st.Dst, Timeout: st.Timeout})
				})
				if tt.updc {
					expect("UPD_C", min(1, tt.upd[0]*(1-kind)+tt.upd[kind]))
				}
			})
		}
	}
}

// TestImportRules: pfsync-protocol.md section 10, row by row, for INS and UPD:
// what is imported, and what counts where it is not. Rows 3 to 9 and 11 are of
// interfaces, rules and tables, which the kernel here does not have.
func TestImportRules(t *testing.T) {
	name := syncproto.MakeName
	tests := []struct {
		row, name string
		format    syncproto.Format
		change    func(*syncproto.State)
		imported  bool
		reason    Reason
	}{
		{"1", "ifname without zero", syncproto.Format1400, func(s *syncproto.State) {
			for i := range s.IfName {
				s.IfName[i] = 'x'
			}
		}, true, 0},
		{"2", "creatorid 0", syncproto.Format6, func(s *syncproto.State) { s.CreatorID = 0 }, false, ReasonCreatorZero},
		{"2", "creatorid 0, FreeBSD", syncproto.Format1301, func(s *syncproto.State) { s.CreatorID = 0 }, false, ReasonCreatorZero},
		{"3", "interface unknown", syncproto.Format1301, func(s *syncproto.State) { s.IfName = name("em7") }, true, 0},
		{"3", "no interface", syncproto.Format6, func(s *syncproto.State) { s.IfName = name("") }, true, 0},
		{"4", "orig_ifname unknown", syncproto.Format1500, func(s *syncproto.State) { s.OrigIfName = name("em7") }, true, 0},
		{"6", "a rule", syncproto.Format1301, func(s *syncproto.State) { s.Rule, s.Anchor = 99, 1 }, true, 0},
		{"7", "1301 with a route", syncproto.Format1301, func(s *syncproto.State) { s.RtAddr[0] = 10 }, true, 0},
		{"8", "a route to an unknown interface", syncproto.Format1400, func(s *syncproto.State) { s.Rt, s.RtIfName = 2, name("em7") }, true, 0},
		{"8", "route-to", syncproto.Format6, func(s *syncproto.State) { s.Rt, s.RtAddr[0] = 1, 10 }, true, 0},
		{"10", "families that differ", syncproto.Format1500, func(s *syncproto.State) { s.StackAF = 28 }, false, ReasonAfTo},
		{"11", "a table beyond all", syncproto.Format1400, func(s *syncproto.State) { s.RTableID[0] = 9999 }, true, 0},
		{"12", "SCTP without tags", syncproto.Format1400, func(s *syncproto.State) { s.Proto = pfstate.ProtoSCTP }, true, 0},
		{"13", "id 0", syncproto.Format1301, func(s *syncproto.State) { s.ID = 0 }, true, 0},
		{"13", "our own creatorid", syncproto.Format6, func(s *syncproto.State) { s.CreatorID = rigHost }, true, 0},
		{"", "no-sync", syncproto.Format6, func(s *syncproto.State) { s.StateFlags = syncproto.FlagNoSync }, false, ReasonNoSync},
		{"", "a routing domain", syncproto.Format6, func(s *syncproto.State) { s.Key[0].RDomain = 3 }, false, ReasonRDomain},
		{"", "a proxied handshake", syncproto.Format6, func(s *syncproto.State) { s.Src.State = 11 }, false, ReasonSynproxy},
		{"", "multicast", syncproto.Format6, func(s *syncproto.State) {
			s.Key[0].Addr[1], s.Key[1].Addr[1] = pfstate.Addr{224, 0, 0, 1}, pfstate.Addr{224, 0, 0, 1}
		}, false, ReasonNoSync},
		{"", "VRRP", syncproto.Format6, func(s *syncproto.State) { s.Proto = 112 }, false, ReasonNoSync},
		{"", "pfsync itself", syncproto.Format6, func(s *syncproto.State) { s.Proto = 240 }, false, ReasonNoSync},
		{"", "direction in-out", syncproto.Format6, func(s *syncproto.State) { s.Direction = syncproto.DirInOut }, true, 0},
	}
	for _, tt := range tests {
		for _, a := range []syncproto.Action{syncproto.ActIns, syncproto.ActUpd} {
			t.Run(tt.row+" "+tt.name+" "+a.String(), func(t *testing.T) {
				g := newRig(t, nil)
				st, _ := strictPair(nil, 4, 4)
				st.StackAF, st.StackProto = st.AF, st.Proto
				tt.change(&st)
				var w syncproto.Builder
				w.Begin(nil, tt.format.Version(), 1480, nil)
				w.AddState(a, tt.format, &st)
				g.hear(rigBSD, w.End())
				kept := tt.reason >= ReasonAfTo && tt.reason <= ReasonSynproxy
				if (g.e.KeptLen() == 1) != kept {
					t.Errorf("%d kept", g.e.KeptLen())
				}
				if got := g.e.tab.Len() == 1; got != tt.imported {
					t.Errorf("imported %v", got)
				}
				badstate := 0
				if !tt.imported {
					if g.e.Stats.Reason[tt.reason] != 1 {
						t.Errorf("%s not counted", tt.reason)
					}
					if a == syncproto.ActUpd && tt.reason != ReasonNoSync && !kept || a == syncproto.ActUpd && tt.name == "no-sync" {
						badstate = 1
					}
				}
				if got := int(g.count(CountBadState)); got != badstate || g.count(CountBadAct) != 0 {
					t.Errorf("badstate %d, want %d; badact %d", got, badstate, g.count(CountBadAct))
				}
			})
		}
	}
}

// TestImported: pfsync-protocol.md section 10, what a new state gets.
func TestImported(t *testing.T) {
	g := newRig(t, nil)
	in, out := strictPair(snat, 4, 4)
	in.Creation, out.Creation, in.Expire, out.Expire = 500, 500, 0, 1234
	in.Packets[0], in.Bytes[1] = 7, 8
	in.StateFlags |= syncproto.FlagAck
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	s := g.find(pfstate.ID(in.StateID()))
	if s == nil || len(g.ops) != 1 {
		t.Fatalf("%v, asked %+v", s, g.ops)
	}
	if age := g.now - s.Created; age != 500*second {
		t.Errorf("age %d s", age/second)
	}
	if left := s.Expire - g.now; left != 86400*second {
		t.Errorf("%d s left: 0 stands for the whole timeout, and of a pair the longer counts", left/second)
	}
	if got := g.ops[0].Flow.Timeout; got != 86400 {
		t.Errorf("kernel's timeout %d", got)
	}
	var w syncproto.State
	g.e.toWire(g.now, s, pfstate.SideIn, &w)
	if w.Packets != [2]uint64{} || w.Bytes != [2]uint64{} || w.StateFlags&syncproto.FlagAck != 0 {
		t.Errorf("%+v", w)
	}
	if m := only(g.says(0), syncproto.ActInsAck); len(m) != 1 || m[0].id != pfstate.ID(in.StateID()) {
		t.Errorf("acknowledged %v", m[0].id)
	}
	if m := g.says(60 * second); len(m) != 0 {
		t.Errorf("what a peer made is announced: %+v", m)
	}
}

// staleOpenBSD is section 11 of pfsync-protocol.md as it stands there: OpenBSD's
// rule, which is ours whoever speaks.
func staleOpenBSD(tcp, src bool, have, got syncproto.Peer) bool {
	newer := int32(have.SeqLo-got.SeqLo) > 0
	switch {
	case !tcp:
		return have.State > got.State
	case src:
		return have.State > got.State && (have.State < 11 || got.State >= 11) || have.State == got.State && newer
	}
	return have.State > got.State || have.State == got.State && newer
}

// TestStaleRules goes through all states and both orders of sequence numbers,
// for either half, as UPD_C and as UPD.
func TestStaleRules(t *testing.T) {
	base := uint32(0xfffffff0) // so that newer goes over the end
	seqs := map[string]uint32{"older": base - 100, "same": base, "newer": base + 100}
	for _, proto := range []uint8{pfstate.ProtoTCP, pfstate.ProtoUDP} {
		g := newRig(t, nil)
		n, most := 0, uint8(10)
		if proto == pfstate.ProtoUDP {
			most = 2
		}
		for have := range most + 1 {
			for got := range most + 1 {
				for word, seq := range seqs {
					for half := range 4 {
						n++
						what := fmt.Sprintf("proto %d: %d by %d, %s, half %d", proto, have, got, word, half)
						g.staleCase(t, what, n, proto, have, got, seq, half&1 == 0, half&2 == 0)
					}
				}
			}
		}
	}
}

func (g *rig) staleCase(t *testing.T, what string, n int, proto, have, got uint8, seq uint32, src, compressed bool) {
	const base = 0xfffffff0
	st, _ := strictPair(nil, have, have)
	st.ID, st.Proto, st.Timeout = uint64(n), proto, pfstate.TimeoutIndex(proto, have, have)
	st.Src.SeqLo, st.Dst.SeqLo = base, base
	for i := range st.Key {
		st.Key[i].Port[0] = uint16(n)
	}
	g.hear(rigBSD, insert(syncproto.ActIns, st))
	next := st
	peer, other := &next.Src, &next.Dst
	if !src {
		peer, other = other, peer
	}
	peer.State, peer.SeqLo = got, seq
	was := g.count(CountStale)
	if compressed {
		u := syncproto.UpdC{ID: st.ID, CreatorID: st.CreatorID, Src: next.Src, Dst: next.Dst, Timeout: 2}
		g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) { w.AddUpdC(&u) }))
	} else {
		g.hear(rigBSD, insert(syncproto.ActUpd, next))
	}
	var w syncproto.State
	s := g.find(pfstate.ID(st.StateID()))
	if s == nil {
		t.Fatalf("%s: no state", what)
	}
	g.e.toWire(g.now, s, pfstate.SideIn, &w)
	old := *map[bool]*syncproto.Peer{true: &st.Src, false: &st.Dst}[src]
	stale := staleOpenBSD(proto == pfstate.ProtoTCP, src, old, *peer)
	want := *peer
	if stale {
		want = old
	}
	is := *map[bool]*syncproto.Peer{true: &w.Src, false: &w.Dst}[src]
	if is != want || (g.count(CountStale) > was) != stale {
		t.Errorf("%s: %d:%x, want %d:%x; stale %v", what, is.State, is.SeqLo, want.State, want.SeqLo, g.count(CountStale) > was)
	}
	if untouched := *map[bool]*syncproto.Peer{true: &w.Dst, false: &w.Src}[src]; untouched != *other {
		t.Errorf("%s: the other half is %+v", what, untouched)
	}
}

// TestProxyDone: a synproxy that has finished its handshake goes from 12 to 4;
// the exception is the source's alone.
func TestProxyDone(t *testing.T) {
	for have := uint8(11); have <= 12; have++ {
		for got := range uint8(13) {
			a, b := pfstate.Peer{State: have}, pfstate.Peer{State: got}
			w, x := syncproto.Peer{State: have}, syncproto.Peer{State: got}
			for _, src := range []bool{true, false} {
				if is := staleHalf(pfstate.ProtoTCP, &a, &b, src); is != staleOpenBSD(true, src, w, x) {
					t.Errorf("%d by %d, source %v: stale %v", have, got, src, is)
				}
			}
		}
	}
}

// TestQueueTable: pfsync-protocol.md section 12.1, event by queue. Where the
// systems differ OpenBSD's cell is ours.
func TestQueueTable(t *testing.T) {
	const stays, gone = 0xff, 0xfe
	queues := []uint8{qNone, qIns, qIack, qUpdC, qUpd, qDel}
	tests := []struct {
		event string
		do    func(*rig, pfstate.Ref)
		want  [6]uint8 // by queues
		push  [6]bool
	}{
		{"local update", func(g *rig, r pfstate.Ref) { g.e.localUpdate(g.now, r, false) },
			[6]uint8{qUpdC, stays, qUpdC, stays, stays, stays}, [6]bool{}},
		{"local update that a compressed one cannot tell", func(g *rig, r pfstate.Ref) { g.e.localUpdate(g.now, r, true) },
			[6]uint8{qUpd, stays, qUpd, qUpd, stays, stays}, [6]bool{}},
		{"requested by a peer", func(g *rig, r pfstate.Ref) { g.e.push(g.now, r) },
			[6]uint8{qUpd, stays, qUpd, qUpd, stays, stays}, [6]bool{true, true, true, true, true, true}},
		{"a stale update came", func(g *rig, r pfstate.Ref) { g.e.pushC(g.now, r) },
			[6]uint8{qUpdC, stays, qUpdC, stays, stays, stays}, [6]bool{true, true, true, true, true, false}},
		{"an acknowledgement is wanted", func(g *rig, r pfstate.Ref) { g.e.ack(g.now, r) },
			[6]uint8{qIack, stays, stays, stays, stays, stays}, [6]bool{true, true, true, true, true, false}},
		{"removed", func(g *rig, r pfstate.Ref) { g.e.bury(g.now, r, false) },
			[6]uint8{qDel, gone, qDel, qDel, qDel, stays}, [6]bool{}},
		{"frame written", func(g *rig, _ pfstate.Ref) { g.now += 20 * milli; g.sent() },
			[6]uint8{stays, qNone, qNone, qNone, qNone, gone}, [6]bool{}},
	}
	for _, tt := range tests {
		for i, q := range queues {
			t.Run(fmt.Sprintf("%s, on queue %d", tt.event, q), func(t *testing.T) {
				g := newRig(t, nil)
				f := tcpFlow(pfstate.TCPEstablished, nil)
				g.local(pfstate.EventNew, f)
				r := pfstate.Ref(1)
				if q != qIns {
					g.now += 20 * milli
					g.sent()
					g.now += 20 * second
					g.sent()
				}
				if q == qDel {
					g.e.bury(g.now, r, false)
				} else if q != qNone {
					g.e.enqueue(g.now, r, q)
				}
				tt.do(g, r)
				want := tt.want[i]
				if want == stays {
					want = q
				}
				switch live := g.e.tab.InUse(r); {
				case want == gone && live:
					t.Errorf("still there, on queue %d", g.e.tab.At(r).Queue)
				case want != gone && (!live || g.e.tab.At(r).Queue != want):
					t.Errorf("alive %v, on queue %d, want %d", live, g.e.tab.At(r).Queue, want)
				}
				if tt.push[i] && g.e.due > g.now {
					t.Error("not sent at once")
				}
			})
		}
	}
}

// TestBusFirstOnly: pfsync-protocol.md section 9.3: of a BUS region the first
// message counts.
func TestBusFirstOnly(t *testing.T) {
	for first, want := range map[uint8]Sync{syncproto.BusStart: SyncBulk, syncproto.BusEnd: SyncOK} {
		g := newRig(t, nil)
		g.e.Bulk(g.now)
		g.says(0)
		g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) {
			w.AddBus(&syncproto.Bus{CreatorID: pfHost, Status: first})
			w.AddBus(&syncproto.Bus{CreatorID: pfHost, Status: syncproto.BusStart + syncproto.BusEnd - first})
		}))
		if got := g.e.Status(g.now).Sync; got != want {
			t.Errorf("status %d first: %s, want %s", first, got, want)
		}
	}
}

// TestClrRegion: several CLR in a region: each has its own interface, FreeBSD's
// leak into those without is not copied.
func TestClrRegion(t *testing.T) {
	name := syncproto.MakeName
	g := newRig(t, nil)
	for i, ifname := range []string{"em0", "em1", "em0"} {
		st, _ := strictPair(nil, 4, 4)
		st.ID, st.IfName, st.Key[0].Port[0], st.Key[1].Port[0] = uint64(i+1), name(ifname), uint16(i), uint16(i)
		if i == 2 {
			st.CreatorID++
		}
		g.hear(rigBSD, insert(syncproto.ActIns, st))
	}
	left := func(clrs ...syncproto.Clr) int {
		g.now += 2 * second
		g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) {
			for i := range clrs {
				w.AddClr(&clrs[i])
			}
		}))
		return g.e.tab.Len()
	}
	if n := left(syncproto.Clr{CreatorID: pfHost, IfName: name("em7")}, syncproto.Clr{CreatorID: 1}); n != 3 {
		t.Errorf("%d left of 3: an interface nobody has, a creator nobody is", n)
	}
	if n := left(syncproto.Clr{CreatorID: pfHost, IfName: name("em1")}, syncproto.Clr{CreatorID: pfHost + 1}); n != 1 {
		t.Errorf("%d left, want 1", n)
	}
	if n := left(syncproto.Clr{}, syncproto.Clr{CreatorID: pfHost}); n != 0 {
		t.Errorf("%d left, want none", n)
	}
}

// TestTDB: pfsync-protocol.md section 16, by version: OpenBSD looks at the SPI
// and the family and ignores SAs that it has not, FreeBSD steps over; both
// count the messages.
func TestTDB(t *testing.T) {
	tdb := func(spi uint32, family uint8) syncproto.TDB {
		m := syncproto.TDB{SPI: spi, SProto: 50}
		m.Dst[0], m.Dst[1] = 16, family
		return m
	}
	tests := []struct {
		name string
		m    syncproto.TDB
		bad  [2]uint64 // badstate: version 6, version 5
	}{
		{"good", tdb(0x1000, 2), [2]uint64{}},
		{"good, IPv6", tdb(0x1000, 24), [2]uint64{}},
		{"reserved SPI", tdb(255, 2), [2]uint64{1, 0}},
		{"first SPI", tdb(256, 2), [2]uint64{}},
		{"SPI 0", tdb(0, 2), [2]uint64{1, 0}},
		{"no family", tdb(0x1000, 0), [2]uint64{1, 0}},
		{"FreeBSD's IPv6", tdb(0x1000, 28), [2]uint64{1, 0}},
	}
	for _, tt := range tests {
		for i, version := range []uint8{syncproto.Version6, syncproto.Version5} {
			t.Run(fmt.Sprintf("%s, version %d", tt.name, version), func(t *testing.T) {
				g := newRig(t, nil)
				var w syncproto.Builder
				w.Begin(nil, version, 1480, nil)
				w.AddTDB(&tt.m)
				w.AddTDB(&tt.m)
				g.hear(rigBSD, w.End())
				if got := g.count(CountBadState); got != 2*tt.bad[i] {
					t.Errorf("badstate %d", got)
				}
				if got := g.e.Stats.In[syncproto.ActTDB]; got != 2 {
					t.Errorf("%d counted", got)
				}
				if g.count(CountBadLen)+g.count(CountBadAct)+g.count(CountBadVal) != 0 || g.e.tab.Len() != 0 {
					t.Error("something else was counted")
				}
			})
		}
	}
}

// TestAckSide: pf waits for the acknowledgement of the name that asked: of a
// forwarded connection that of its out state (captures o23).
func TestAckSide(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat, "both": both} {
		for _, first := range []string{"in", "out"} {
			for _, asks := range []string{"in", "out"} {
				t.Run(name+", "+first+" first, "+asks+" asks", func(t *testing.T) {
					g := newRig(t, nil)
					in, out := strictPair(nat, 2, 0)
					asker := &in
					if asks == "out" {
						asker = &out
					}
					asker.StateFlags |= syncproto.FlagAck
					pair := []syncproto.State{in, out}
					if first == "out" {
						pair = []syncproto.State{out, in}
					}
					g.hear(rigBSD, insert(syncproto.ActIns, pair...))
					if m := only(g.says(0), syncproto.ActInsAck); len(m) != 1 || m[0].id != pfstate.ID(asker.StateID()) {
						t.Errorf("%d acknowledgements of %v", len(m), m)
					}
				})
			}
		}
	}
}

// TestBulkEndTime: pfsync-protocol.md section 13.4: a FreeBSD takes an end only
// if the transfer began after it asked, which endtime tells.
func TestBulkEndTime(t *testing.T) {
	for _, seconds := range []int64{0, 3} {
		g := serveRig(t, 50)
		g.hear(rigBSD, idFrame(syncproto.ActUpdReq, syncproto.ID{}))
		g.now += seconds * second // the link is busy
		var ends []syncproto.Bus
		for _, m := range only(g.says(second), syncproto.ActBus) {
			if m.bus.Status == syncproto.BusEnd {
				ends = append(ends, m.bus)
			}
		}
		if len(ends) != 1 || int64(ends[0].EndTime) != seconds || ends[0].CreatorID != rigHost {
			t.Errorf("after %d s: %+v", seconds, ends)
		}
	}
}
