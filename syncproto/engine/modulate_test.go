package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// adjust is the adjustment that adds the same to all numbers of a direction.
func adjust(diffs ...uint32) (a [2]pfstate.SeqAdj) {
	for dir, d := range diffs {
		a[dir] = pfstate.SeqAdj{Before: int32(d), After: int32(d)}
	}
	return a
}

// pfSays is a frame of a pf that sends a format.
func pfSays(f syncproto.Format, fill func(*syncproto.Builder)) []byte {
	var w syncproto.Builder
	w.Begin(nil, f.Version(), 9000, nil)
	fill(&w)
	return w.End()
}

// adjusted is what the kernel has been told last.
func (g *rig) adjusted() (last [2]pfstate.SeqAdj) {
	for _, op := range g.ops {
		if op.Kind != pfstate.OpGet && op.Flow.Has&pfstate.HasSeqAdj != 0 {
			last = op.Flow.SeqAdj
		}
	}
	return last
}

// modulatedPair is a pf's pair of which each state adds its part.
func modulatedPair(in0, in1, out0, out1 uint32) (in, out syncproto.State) {
	in, out = strictPair(snat, 4, 4)
	in.Src.SeqDiff, in.Dst.SeqDiff = in0, in1
	out.Src.SeqDiff, out.Dst.SeqDiff = out0, out1
	for _, st := range []*syncproto.State{&in, &out} { // format 1500 tells them
		st.StackAF, st.StackProto = st.AF, st.Proto
	}
	return in, out
}

// TestModulationTaken: our kernel does what the states of a pf did together,
// whatever the format, and in whatever order it is told.
func TestModulationTaken(t *testing.T) {
	const a, b, c, d = 0x9abcdef0, 0x12345678, 0xfffffff0, 0x80000000
	var sum, swap uint32 = a, b
	sum, swap = sum+c, swap+d // modulo 2^32
	for f := range syncproto.Formats {
		for _, tc := range []struct {
			name string
			tell func(in, out *syncproto.State) [][]*syncproto.State // frames
			late bool                                                // the other side's is told by an update
			want [2]pfstate.SeqAdj
		}{
			{"in alone", func(in, _ *syncproto.State) [][]*syncproto.State { return [][]*syncproto.State{{in}} }, false, adjust(a, b)},
			{"out alone", func(_, out *syncproto.State) [][]*syncproto.State { return [][]*syncproto.State{{out}} }, false, adjust(c, d)},
			{"in one frame", func(in, out *syncproto.State) [][]*syncproto.State { return [][]*syncproto.State{{in, out}} }, false, adjust(sum, swap)},
			{"in two", func(in, out *syncproto.State) [][]*syncproto.State { return [][]*syncproto.State{{out}, {in}} }, false, adjust(sum, swap)},
			{"twice", func(in, out *syncproto.State) [][]*syncproto.State {
				return [][]*syncproto.State{{in, out}, {in, out}}
			}, false, adjust(sum, swap)},
			{"with the first answer", func(in, out *syncproto.State) [][]*syncproto.State {
				return [][]*syncproto.State{{in, out}}
			}, true, adjust(sum, swap)},
		} {
			t.Run(f.String()+", "+tc.name, func(t *testing.T) {
				g := newRig(t, nil)
				in, out := modulatedPair(a, b, c, d)
				if tc.late {
					in.Dst.SeqDiff, out.Dst.SeqDiff, in.Dst.State, out.Dst.State = 0, 0, 0, 0
				}
				for _, frame := range tc.tell(&in, &out) {
					g.hear(rigBSD, pfSays(f, func(w *syncproto.Builder) {
						for _, st := range frame {
							w.AddState(syncproto.ActIns, f, st)
						}
					}))
				}
				if tc.late {
					in, out = modulatedPair(a, b, c, d)
					g.hear(rigBSD, pfSays(f, func(w *syncproto.Builder) {
						for _, st := range []*syncproto.State{&in, &out} {
							w.AddUpdC(&syncproto.UpdC{ID: st.ID, CreatorID: st.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: 2})
						}
					}))
				}
				if got := g.adjusted(); got != tc.want {
					t.Errorf("the kernel has %+v, want %+v", got, tc.want)
				}
			})
		}
	}
}

// TestModulationOfKernel: where our kernel has the connection the other way
// round, its directions are told, not those of the pf.
func TestModulationOfKernel(t *testing.T) {
	g := newRig(t, nil)
	back := tcpFlow(pfstate.TCPEstablished, nil)
	back = back.Reversed()
	g.local(pfstate.EventNew, back)
	in, _ := strictPair(nil, 4, 4)
	in.Src.SeqDiff, in.Dst.SeqDiff = 5, 7
	g.hear(rigBSD, insert(syncproto.ActIns, in))
	g.hear(rigBSD, insert(syncproto.ActUpd, in)) // now known by name
	op := g.ops[len(g.ops)-1]
	if f := &op.Flow; f.Orig != back.Orig || g.adjusted() != adjust(7, 5) {
		t.Errorf("asked %+v", g.ops)
	}
}

// TestModulationOfProxy: while pf's synproxy opens a connection no kernel of ours
// can have it; then it has other numbers on either side.
func TestModulationOfProxy(t *testing.T) {
	g := newRig(t, nil)
	in, _ := strictPair(nil, 12, 0)
	g.hear(rigBSD, insert(syncproto.ActIns, in))
	if len(g.ops) != 0 {
		t.Fatalf("asked %+v", g.ops)
	}
	in.Src.State, in.Dst.State, in.Src.SeqDiff, in.Dst.SeqDiff = 4, 4, 5, 7
	g.hear(rigBSD, insert(syncproto.ActUpd, in))
	if len(g.ops) != 1 || g.adjusted() != adjust(5, 7) {
		t.Errorf("asked %+v", g.ops)
	}
}

// TestModulationMet: packets came before a pf told of the connection. Whichever
// name it keeps, it is the pf's.
func TestModulationMet(t *testing.T) {
	for _, creator := range []uint32{1, 0xfffffff0} { // a lower name than ours, a higher one
		g := newRig(t, nil)
		g.local(pfstate.EventNew, tcpFlow(pfstate.TCPEstablished, nil))
		g.says(20 * milli)
		in, _ := strictPair(nil, 4, 4)
		in.CreatorID, in.Src.SeqDiff, in.Dst.SeqDiff = creator, 5, 7
		g.hear(rigBSD, insert(syncproto.ActIns, in))
		if g.adjusted() != adjust(5, 7) {
			t.Errorf("creator %x: asked %+v", creator, g.ops)
		}
	}
}

// TestModulationBetweenLinux: two Linux that hear the same pf, or one another,
// agree on what the connection is.
func TestModulationBetweenLinux(t *testing.T) {
	a := newRig(t, nil)
	b := newRig(t, func(c *Config) { c.HostID, c.Epoch = rigHost+1, 99 })
	in, out := modulatedPair(1, 2, 30, 40)
	a.hear(rigBSD, insert(syncproto.ActIns, in, out))
	b.hear(rigBSD, insert(syncproto.ActIns, in)) // and missed the other
	a.hear(rigBSD, pfFrame(func(w *syncproto.Builder) {
		w.AddID(syncproto.ActUpdReq, &syncproto.ID{ID: out.ID, CreatorID: pfHost})
	}))
	for _, fr := range a.sent() {
		b.hear(rigSelf.Next(), fr)
	}
	b.hear(rigBSD, insert(syncproto.ActUpd, in))
	b.hear(rigBSD, insert(syncproto.ActUpd, out))
	for name, g := range map[string]*rig{"first": a, "second": b} {
		if got := g.adjusted(); got != adjust(31, 42) {
			t.Errorf("%s: the kernel has %+v", name, got)
		}
		for side, want := range []*syncproto.State{&in, &out} {
			var got syncproto.State
			g.e.toWire(g.now, g.find(pfstate.ID(in.StateID())), pfstate.Side(side), &got)
			if got.Src.SeqDiff != want.Src.SeqDiff || got.Dst.SeqDiff != want.Dst.SeqDiff {
				t.Errorf("%s: side %d tells %+v, %+v", name, side, got.Src, got.Dst)
			}
		}
	}
}

// TestModulationTold: what a kernel adds to all sequence numbers is in the
// record of one of the names, and with positions in none.
func TestModulationTold(t *testing.T) {
	for _, tc := range []struct {
		name string
		adj  [2]pfstate.SeqAdj
		want [2]uint32
	}{
		{"a proxy's", adjust(0, 0x9abcdef0), [2]uint32{0, 0x9abcdef0}},
		{"both ways", adjust(3, 0x80000000), [2]uint32{3, 0x80000000}},
		{"with positions", [2]pfstate.SeqAdj{{Pos: 1000, After: -4}, {Pos: 7, Before: 3, After: 9}}, [2]uint32{}},
		{"with positions one way", [2]pfstate.SeqAdj{{Pos: 1000, After: -4}, {Before: 9, After: 9}}, [2]uint32{0, 9}},
	} {
		for f := range syncproto.Formats {
			for _, pf := range []bool{false, true} {
				g := newRig(t, func(c *Config) { c.Format = f })
				if pf {
					g.pfSpeaks()
				}
				flow := tcpFlow(pfstate.TCPEstablished, snat)
				flow.Has |= pfstate.HasSeqAdj
				flow.SeqAdj = tc.adj
				g.local(pfstate.EventNew, flow)
				var got [2]uint32
				said := g.says(20 * milli)
				for _, m := range said {
					if m.action == syncproto.ActIns {
						got[0], got[1] = got[0]+m.st.Src.SeqDiff, got[1]+m.st.Dst.SeqDiff
					}
				}
				if got != tc.want {
					t.Errorf("%s, format %s, pf %v: %#x, want %#x in %+v", tc.name, f, pf, got, tc.want, said)
				}
			}
		}
	}
}

// TestModulationBack: what pfs told goes back as it came, also under our names,
// and what a pf repeats of that changes nothing.
func TestModulationBack(t *testing.T) {
	g := newRig(t, nil)
	in, out := modulatedPair(1, 2, 30, 40)
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	g.linuxSpeaks()
	f := tcpFlow(pfstate.TCPFinWait, snat)
	f.Has |= pfstate.HasSeqAdj
	f.SeqAdj = adjust(31, 42)
	g.local(pfstate.EventUpdate, f)
	ins := only(g.says(20*milli), syncproto.ActIns)
	if len(ins) != 2 {
		t.Fatalf("said %+v", ins)
	}
	for i, want := range []*syncproto.State{&in, &out} {
		if st := &ins[i].st; st.Src.SeqDiff != want.Src.SeqDiff || st.Dst.SeqDiff != want.Dst.SeqDiff {
			t.Errorf("%+v, want %+v", st, want)
		}
	}
	asked := len(g.ops)
	g.hear(rigBSD, insert(syncproto.ActUpd, ins[0].st, ins[1].st))
	for _, op := range g.ops[asked:] {
		if op.Flow.Has&pfstate.HasSeqAdj != 0 && op.Kind == pfstate.OpUpdate {
			t.Errorf("asked %+v", op)
		}
	}
}

// linuxSpeaks lets another Linux be heard.
func (g *rig) linuxSpeaks() {
	g.hear(rigSelf.Next(), pfFrame(func(w *syncproto.Builder) {
		w.AddFrameInfo(syncproto.FrameInfoLen, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, CreatorID: rigHost + 1})
	}))
}

// TestModulatedLeft: a pf keeps its own states of what it modulates, for ours
// would not, but hears of the end.
func TestModulatedLeft(t *testing.T) {
	g := newRig(t, nil)
	in, out := modulatedPair(0, 2, 0, 0)
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPFinWait, snat))
	if said := g.says(20 * second); len(said) != 0 {
		t.Errorf("said %+v", said)
	}
	g.local(pfstate.EventDestroy, tcpFlow(pfstate.TCPClose, snat))
	del := g.says(20 * milli)
	if len(del) != 2 || del[0].action != syncproto.ActDelC || del[0].id != pfstate.ID(in.StateID()) ||
		del[1].action != syncproto.ActDelC || del[1].id != pfstate.ID(out.StateID()) {
		t.Errorf("said %+v", del)
	}
}

// TestAdjustedKept: of an adjustment the later one stays, on either side, and
// an update of something else leaves the kernel its own.
func TestAdjustedKept(t *testing.T) {
	old := [2]pfstate.SeqAdj{{Pos: 1000, After: -4}, {}}
	later := [2]pfstate.SeqAdj{{Pos: 2000, Before: -4, After: -9}, {Pos: 5, After: 1}}
	tell := func(it item, mark uint32, a [2]pfstate.SeqAdj) item {
		it.tlvs = syncproto.AppendMark(it.tlvs, mark)
		it.tlvs = syncproto.AppendSeqAdj(it.tlvs, &[2]syncproto.SeqAdj{syncproto.SeqAdj(a[0]), syncproto.SeqAdj(a[1])})
		return it
	}
	for _, tc := range []struct {
		name             string
		have, told, want [2]pfstate.SeqAdj
		mark             uint32 // of the record: a change that the kernel is to follow
		asked            bool   // the kernel is told of the adjustment
	}{
		{"later told", old, later, later, 0, true},
		{"older told", later, old, later, 1, false},
		{"none told", later, [2]pfstate.SeqAdj{}, later, 1, false},
		{"each later one way", [2]pfstate.SeqAdj{old[0], later[1]}, [2]pfstate.SeqAdj{later[0], {}}, later, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			name, f := theirs(1), tcp(1, pfstate.TCPEstablished)
			r.b.say(tell(ins(name, f), 0, tc.have))
			r.kernel()
			r.b.say(tell(upd(name, f), tc.mark, tc.told))
			if got := r.e.tab.Extra(r.state(name)).SeqAdj; got != tc.want {
				t.Errorf("have %+v, want %+v", got, tc.want)
			}
			var ops [4]pfstate.Op
			n := r.e.Ops(r.now, ops[:])
			if n != 1 || ops[0].Kind != pfstate.OpUpdate {
				t.Fatalf("asked %+v", ops[:n])
			}
			if f := &ops[0].Flow; f.Has&pfstate.HasSeqAdj != 0 != tc.asked || tc.asked && f.SeqAdj != tc.want {
				t.Errorf("the kernel is told %+v, %v", f.SeqAdj, f.Has)
			}
		})
	}
}

// TestAdjustedAnew: packets came before the pf told of the connection, and the
// kernel has no room for an adjustment in what they made.
func TestAdjustedAnew(t *testing.T) {
	for _, tc := range []struct {
		name string
		has  pfstate.Has
		want []pfstate.OpKind
	}{
		{"packets", 0, []pfstate.OpKind{pfstate.OpCreate, pfstate.OpGet, pfstate.OpDelete, pfstate.OpCreate}},
		{"written", pfstate.HasWritten, []pfstate.OpKind{pfstate.OpCreate, pfstate.OpGet, pfstate.OpUpdate, pfstate.OpGet}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, nil)
			in, _ := strictPair(nil, 4, 4)
			in.Dst.SeqDiff = 7
			g.e.Remote(g.now, rigBSD, insert(syncproto.ActIns, in))
			var kinds []pfstate.OpKind
			var ops [4]pfstate.Op
			for n := g.e.Ops(g.now, ops[:]); n > 0; n = g.e.Ops(g.now, ops[:]) {
				for _, op := range ops[:n] {
					res := pfstate.Result{Kind: op.Kind, Ref: op.Ref, Flow: tcpFlow(pfstate.TCPEstablished, nil)}
					res.Flow.Has |= tc.has
					if len(kinds) == 0 {
						res.Code = pfstate.ResultExists
					}
					if len(kinds) == 3 {
						res.Flow.Has, res.Flow.SeqAdj = res.Flow.Has|pfstate.HasSeqAdj, adjust(0, 7)
					}
					kinds = append(kinds, op.Kind)
					if k := op.Kind; (k == pfstate.OpCreate || k == pfstate.OpUpdate) && op.Flow.SeqAdj != adjust(0, 7) {
						t.Errorf("told %+v", op.Flow)
					}
					g.e.Done(g.now, []pfstate.Result{res})
				}
			}
			if len(kinds) != len(tc.want) {
				t.Fatalf("asked %v, want %v", kinds, tc.want)
			}
			for i := range kinds {
				if kinds[i] != tc.want[i] {
					t.Errorf("asked %v, want %v", kinds, tc.want)
				}
			}
		})
	}
}
