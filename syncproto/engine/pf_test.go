package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

var (
	client = pfstate.Addr{192, 168, 0, 5}
	server = pfstate.Addr{203, 0, 113, 80}
	public = pfstate.Addr{198, 51, 100, 1}
	inner  = pfstate.Addr{10, 0, 0, 8}
)

// tcpFlow is a kernel entry; change makes it translated.
func tcpFlow(state uint8, change func(*pfstate.Flow)) pfstate.Flow {
	f := pfstate.Flow{AF: pfstate.AFInet, Proto: pfstate.ProtoTCP, ProtoState: state,
		Orig: pfstate.Tuple{Src: client, Dst: server, SrcPort: 4000, DstPort: 443},
		Has:  pfstate.HasTimeout | pfstate.HasProto | pfstate.HasStatus, Status: pfstate.StatusConfirmed, Timeout: 120}
	if state >= pfstate.TCPEstablished {
		f.Status |= pfstate.StatusSeenReply | pfstate.StatusAssured
		f.Timeout = 86400
	}
	f.Reply = f.Orig.Inverse(f.Proto)
	if change != nil {
		change(&f)
	}
	return f
}

func snat(f *pfstate.Flow) { f.Reply.Dst, f.Reply.DstPort = public, 61000 }

func dnat(f *pfstate.Flow) { f.Reply.Src, f.Reply.SrcPort = inner, 8443 }

func both(f *pfstate.Flow) { snat(f); dnat(f) }

func (g *rig) local(kind pfstate.EventKind, f pfstate.Flow) {
	g.e.Local(g.now, []pfstate.Event{{Kind: kind, Flow: f}})
}

// pfSpeaks lets a pf be heard.
func (g *rig) pfSpeaks() { g.hear(rigBSD, pfFrame(func(*syncproto.Builder) {})) }

func pfFrame(fill func(*syncproto.Builder)) []byte {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 9000, nil)
	fill(&w)
	return w.End()
}

func only(list []told, a syncproto.Action) (out []told) {
	for _, m := range list {
		if m.action == a {
			out = append(out, m)
		}
	}
	return out
}

// wireEnds is what a record says: addresses and ports of both keys.
type wireEnds struct{ wire, stack [2]end }

type end struct {
	addr pfstate.Addr
	port uint16
}

func endsOf(st *syncproto.State) (w wireEnds) {
	for i := range 2 {
		w.wire[i] = end{st.Key[0].Addr[i], st.Key[0].Port[i]}
		w.stack[i] = end{st.Key[1].Addr[i], st.Key[1].Port[i]}
	}
	return w
}

// TestPairToPF: to a pf a connection is two states, whose keys are those that
// linux-facts section 9 measured to work.
func TestPairToPF(t *testing.T) {
	c, s, p, n := end{client, 4000}, end{server, 443}, end{public, 61000}, end{inner, 8443}
	tests := []struct {
		name    string
		nat     func(*pfstate.Flow)
		in, out wireEnds
	}{
		{"plain", nil, wireEnds{[2]end{c, s}, [2]end{c, s}}, wireEnds{[2]end{s, c}, [2]end{s, c}}},
		{"snat", snat, wireEnds{[2]end{c, s}, [2]end{c, s}}, wireEnds{[2]end{s, p}, [2]end{s, c}}},
		{"dnat", dnat, wireEnds{[2]end{c, s}, [2]end{c, n}}, wireEnds{[2]end{n, c}, [2]end{n, c}}},
		{"both", both, wireEnds{[2]end{c, s}, [2]end{c, n}}, wireEnds{[2]end{n, p}, [2]end{n, c}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			g.pfSpeaks()
			g.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, tt.nat))
			g.now += 10 * milli
			frames := g.sent()
			if len(frames) != 1 {
				t.Fatalf("%d frames, want 1", len(frames))
			}
			ins := only(readFrame(t, frames[0]), syncproto.ActIns)
			if len(ins) != 2 || ins[0].id == ins[1].id || ins[0].id.CreatorID != rigHost || ins[1].id.CreatorID != rigHost {
				t.Fatalf("inserted %+v", ins)
			}
			for i, want := range []wireEnds{tt.in, tt.out} {
				st := &ins[i].st
				if got := endsOf(st); got != want {
					t.Errorf("state %d: %+v, want %+v", i, got, want)
				}
				if int(st.Direction) != i+1 || st.StateFlags != syncproto.FlagSloppy || st.IfName != ifAll || st.Rule != syncproto.NoRule {
					t.Errorf("state %d: direction %d flags %x on %s rule %d", i, st.Direction, st.StateFlags, st.IfName, st.Rule)
				}
				sloppyPeers(t, &st.Src, &st.Dst, 2, 0)
			}
			g.followLife(t, tt.nat, ins)
		})
	}
}

func sloppyPeers(t *testing.T, src, dst *syncproto.Peer, a, b uint8) {
	t.Helper()
	for _, p := range []*syncproto.Peer{src, dst} {
		if p.SeqLo != 0 || p.SeqHi != 1 || p.MaxWin != 1 || p.SeqDiff != 0 {
			t.Errorf("peer %+v, want seqlo 0, seqhi 1, max_win 1", p)
		}
	}
	if src.State != a || dst.State != b {
		t.Errorf("states %d:%d, want %d:%d", src.State, dst.State, a, b)
	}
}

// followLife: what follows an insert at 2:0 goes out under both names too.
func (g *rig) followLife(t *testing.T, nat func(*pfstate.Flow), ins []told) {
	g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPEstablished, nat))
	g.now += 10 * milli
	upd := only(g.says(0), syncproto.ActUpdC)
	if len(upd) != 2 || upd[0].id != ins[0].id || upd[1].id != ins[1].id {
		t.Fatalf("updates %+v", upd)
	}
	for i := range upd {
		sloppyPeers(t, &upd[i].updc.Src, &upd[i].updc.Dst, 4, 4)
	}
	gone := tcpFlow(pfstate.TCPClose, nat)
	g.local(pfstate.EventDestroy, gone)
	g.now += 10 * milli
	frames := g.sent()
	if len(frames) != 1 {
		t.Fatalf("%d frames, want 1", len(frames))
	}
	del := readFrame(t, frames[0])
	if len(del) != 2 || del[0].action != syncproto.ActDelC || del[0].id != ins[0].id || del[1].id != ins[1].id {
		t.Errorf("deletes %+v", del)
	}
}

// TestNoPairWithoutPF: among Linux peers a connection has one name.
func TestNoPairWithoutPF(t *testing.T) {
	g := newRig(t, nil)
	g.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, snat))
	if ins := only(g.says(20*milli), syncproto.ActIns); len(ins) != 1 || ins[0].st.Direction != syncproto.DirOut {
		t.Errorf("inserted %+v", ins)
	}
	g.pfSpeaks() // from now on
	g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPEstablished, snat))
	if upd := only(g.says(20*milli), syncproto.ActUpd); len(upd) != 2 {
		t.Errorf("updated %+v", upd)
	}
	g.pass(2 * 3600 * second) // silent for more than an hour
	f := tcpFlow(pfstate.TCPSynSent, nil)
	f.Orig.SrcPort, f.Reply.DstPort = 4001, 4001
	g.local(pfstate.EventNew, f)
	if ins := only(g.says(20*milli), syncproto.ActIns); len(ins) != 1 {
		t.Errorf("inserted %+v", ins)
	}
}

const pfHost = 0x0b5d0001

// strictPair is what a pf sends of a TCP connection that it forwards.
func strictPair(nat func(*pfstate.Flow), src, dst uint8) (in, out syncproto.State) {
	f := tcpFlow(pfstate.TCPEstablished, nat)
	stack := f.Reply.Inverse(f.Proto)
	in = syncproto.State{ID: 1<<40 + 1, CreatorID: pfHost, IfName: ifAll, AF: syncproto.FamilyIPv4, Proto: f.Proto,
		Direction: syncproto.DirIn, Timeout: 2, Expire: 86400, Rule: 3, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule, RTableID: [2]int32{-1, -1},
		Src: syncproto.Peer{SeqLo: 1000, SeqHi: 66000, MaxWin: 512, WScale: 0x87, State: src},
		Dst: syncproto.Peer{SeqLo: 0x90000000, SeqHi: 0x90010000, MaxWin: 512, WScale: 0x87, State: dst}}
	out = in
	out.ID, out.Direction = in.ID+1, syncproto.DirOut
	mid := pfstate.Tuple{Src: f.Orig.Src, SrcPort: f.Orig.SrcPort, Dst: stack.Dst, DstPort: stack.DstPort}
	put := func(k *syncproto.Key, t *pfstate.Tuple, src, dst int) {
		k.AF = syncproto.FamilyIPv4
		k.Addr[src], k.Addr[dst] = t.Src, t.Dst
		k.Port[src], k.Port[dst] = t.SrcPort, t.DstPort
	}
	put(&in.Key[0], &f.Orig, 0, 1)
	put(&in.Key[1], &mid, 0, 1)
	put(&out.Key[0], &stack, 1, 0)
	put(&out.Key[1], &mid, 1, 0)
	return in, out
}

func insert(a syncproto.Action, list ...syncproto.State) []byte {
	return pfFrame(func(w *syncproto.Builder) {
		for i := range list {
			w.AddState(a, syncproto.Format6, &list[i])
		}
	})
}

// TestPairFromPF: the two states of a pf become one, in any order, and the
// kernel is asked for the connection once.
func TestPairFromPF(t *testing.T) {
	nats := map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat, "both": both}
	for name, nat := range nats {
		for order, swap := range map[string]bool{"in first": false, "out first": true} {
			t.Run(name+", "+order, func(t *testing.T) {
				g := newRig(t, nil)
				in, out := strictPair(nat, 4, 4)
				first, then := in, out
				if swap {
					first, then = out, in
				}
				g.hear(rigBSD, insert(syncproto.ActIns, first, then))
				want := tcpFlow(pfstate.TCPEstablished, nat)
				if len(g.ops) != 1 || g.ops[0].Kind != pfstate.OpCreate || g.ops[0].Flow.Orig != want.Orig || g.ops[0].Flow.Reply != want.Reply {
					t.Fatalf("asked of the kernel: %+v", g.ops)
				}
				a, b := g.find(pfstate.ID(in.StateID())), g.find(pfstate.ID(out.StateID()))
				if a == nil || a != b {
					t.Fatalf("states %p, %p", a, b)
				}
				var got syncproto.State
				for side, w := range []syncproto.State{in, out} {
					g.e.toWire(g.now, a, pfstate.Side(side), &got)
					got.NATRule, got.StackAF, got.StackProto = w.NATRule, w.StackAF, w.StackProto
					if got != w {
						t.Errorf("back: %+v\nwant  %+v", got, w)
					}
				}
				del := pfFrame(func(w *syncproto.Builder) {
					w.AddID(syncproto.ActDelC, &syncproto.ID{ID: in.ID, CreatorID: pfHost})
				})
				g.hear(rigBSD, del)
				if len(g.ops) != 1 || g.find(pfstate.ID(out.StateID())) == nil {
					t.Errorf("with its first name the entry is gone: %+v", g.ops)
				}
				del = pfFrame(func(w *syncproto.Builder) {
					w.AddID(syncproto.ActDelC, &syncproto.ID{ID: out.ID, CreatorID: pfHost})
				})
				g.hear(rigBSD, del)
				if len(g.ops) != 2 || g.ops[1].Kind != pfstate.OpDelete || g.e.tab.Len() != 0 {
					t.Errorf("with its last name the entry stays: %+v", g.ops)
				}
			})
		}
	}
}

// TestSecondHalfTranslates: if the half that translates comes late, the entry
// is made again.
func TestSecondHalfTranslates(t *testing.T) {
	g := newRig(t, nil)
	in, out := strictPair(snat, 4, 4)
	g.hear(rigBSD, insert(syncproto.ActIns, in))
	g.hear(rigBSD, insert(syncproto.ActIns, out))
	want := tcpFlow(pfstate.TCPEstablished, snat)
	kinds := []pfstate.OpKind{pfstate.OpCreate, pfstate.OpDelete, pfstate.OpCreate}
	if len(g.ops) != len(kinds) || g.ops[2].Flow.Reply != want.Reply || g.ops[1].Flow.Reply == want.Reply {
		t.Fatalf("%+v", g.ops)
	}
	for i, k := range kinds {
		if g.ops[i].Kind != k {
			t.Errorf("operation %d is %d, want %d", i, g.ops[i].Kind, k)
		}
	}
}

// TestStrictNames: under a name that a pf gave to a strict state it hears
// nothing but its own words, to who asks, until the connection passes here;
// then one frame deletes both names and inserts both states under ours.
func TestStrictNames(t *testing.T) {
	g := newRig(t, nil)
	in, out := strictPair(snat, 4, 4)
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	if m := g.says(20 * second); len(m) != 0 {
		t.Fatalf("said of itself: %+v", m)
	}
	ask := pfFrame(func(w *syncproto.Builder) {
		w.AddID(syncproto.ActUpdReq, &syncproto.ID{ID: in.ID, CreatorID: pfHost})
	})
	g.hear(rigBSD, ask)
	upd := g.says(0)
	if len(upd) != 2 || upd[0].st.Src != in.Src || upd[0].st.Dst != in.Dst || upd[0].st.StateFlags != 0 {
		t.Fatalf("answered %+v", upd)
	}
	g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPFinWait, snat))
	g.now += 10 * milli
	frames := g.sent()
	if len(frames) != 1 {
		t.Fatalf("%d frames, want 1", len(frames))
	}
	list := readFrame(t, frames[0])
	if len(list) != 4 || list[0].action != syncproto.ActDelC || list[0].id != pfstate.ID(in.StateID()) ||
		list[1].action != syncproto.ActDelC || list[1].id != pfstate.ID(out.StateID()) {
		t.Fatalf("said %+v", list)
	}
	for i, want := range []syncproto.State{in, out} {
		m := &list[2+i]
		if m.action != syncproto.ActIns || m.id.CreatorID != rigHost || m.st.StateFlags != syncproto.FlagSloppy || endsOf(&m.st) != endsOf(&want) {
			t.Errorf("state %d: %+v", i, m)
		}
		sloppyPeers(t, &m.st.Src, &m.st.Dst, 7, 4)
		if m.st.Src.WScale != want.Src.WScale {
			t.Errorf("window scale %x", m.st.Src.WScale)
		}
	}
	g.hear(rigBSD, ask)
	if m := g.says(0); len(m) != 0 {
		t.Errorf("the old name lives: %+v", m)
	}
}

// TestTakeMany: takeovers that need more than a frame never part a delete from
// its inserts.
func TestTakeMany(t *testing.T) {
	for _, mtu := range []int{800, 1500, 9000} {
		g := newRig(t, func(c *Config) { c.MTU = mtu })
		const n = 37
		for i := range n {
			in, out := strictPair(snat, 4, 4)
			in.ID, out.ID = in.ID+uint64(2*i), out.ID+uint64(2*i)
			in.Key[0].Port[0], in.Key[1].Port[0], out.Key[1].Port[1], out.Key[0].Port[1] = uint16(i), uint16(i), uint16(i), uint16(i+1)
			g.hear(rigBSD, insert(syncproto.ActIns, in, out))
		}
		var evs []pfstate.Event
		for i := range n {
			f := tcpFlow(pfstate.TCPFinWait, snat)
			f.Orig.SrcPort, f.Reply.DstPort = uint16(i), uint16(i+1)
			evs = append(evs, pfstate.Event{Kind: pfstate.EventUpdate, Flow: f})
		}
		g.e.Local(g.now, evs)
		g.now += 10 * milli
		dels, inserts := 0, 0
		for _, b := range g.sent() {
			list := readFrame(t, b)
			d, i := len(only(list, syncproto.ActDelC)), len(only(list, syncproto.ActIns))
			if d != i || d+i != len(list) {
				t.Errorf("mtu %d: a frame has %d deletes, %d inserts of %d messages", mtu, d, i, len(list))
			}
			for k, m := range list {
				if (m.action == syncproto.ActDelC) != (k < d) {
					t.Errorf("mtu %d: message %d is %s", mtu, k, m.action)
				}
			}
			dels, inserts = dels+d, inserts+i
		}
		if dels != 2*n || inserts != 2*n {
			t.Errorf("mtu %d: %d deletes, %d inserts, want %d", mtu, dels, inserts, 2*n)
		}
	}
}

// TestPairBetweenLinux: another Linux reads a pair as the one connection that
// it is, whichever half it has.
func TestPairBetweenLinux(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat, "both": both} {
		t.Run(name, func(t *testing.T) {
			a := newRig(t, nil)
			b := newRig(t, func(c *Config) { c.HostID, c.Epoch = rigHost+1, 99 })
			a.pfSpeaks()
			b.pfSpeaks()
			a.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, nat))
			a.now += 10 * milli
			for _, fr := range a.sent() {
				b.hear(rigSelf.Next(), fr)
			}
			want := tcpFlow(pfstate.TCPEstablished, nat)
			if len(b.ops) != 1 || b.ops[0].Flow.Orig != want.Orig || b.ops[0].Flow.Reply != want.Reply {
				t.Fatalf("asked of the kernel: %+v", b.ops)
			}
			if b.e.tab.Len() != 1 || b.e.tab.At(1).Name(pfstate.SideIn).IsZero() || b.e.tab.At(1).Name(pfstate.SideOut).IsZero() {
				t.Errorf("%d states, names %v, %v", b.e.tab.Len(), b.e.tab.At(1).Name(0), b.e.tab.At(1).Name(1))
			}
			a.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPEstablished, nat))
			a.now += 10 * milli
			for _, fr := range a.sent() {
				b.hear(rigSelf.Next(), fr)
			}
			if s := b.e.tab.At(1); s.Src.State != 4 || s.Dst.State != 4 {
				t.Errorf("%d:%d", s.Src.State, s.Dst.State)
			}
			for _, m := range b.says(0) {
				if m.id.CreatorID != 0 { // the bulk request is due
					t.Errorf("said %+v", m)
				}
			}
		})
	}
}
