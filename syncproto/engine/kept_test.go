package engine

import (
	"slices"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// keptKinds are the states of a pf that no kernel here can hold.
var keptKinds = []struct {
	name   string
	why    Reason
	change func(*syncproto.State)
}{
	{"af-to", ReasonAfTo, func(s *syncproto.State) {
		s.Key[1].AF = syncproto.FamilyIPv6OpenBSD
		s.Key[1].Addr = [2][16]byte{{0x20, 1, 15: 1}, {0x20, 1, 15: 2}}
	}},
	{"rdomain", ReasonRDomain, func(s *syncproto.State) { s.Key[1].RDomain = 3 }},
	{"synproxy, client", ReasonSynproxy, func(s *syncproto.State) { s.Src.State, s.Dst.State = pfstate.PFProxySrc, 0 }},
	{"synproxy, server", ReasonSynproxy, func(s *syncproto.State) { s.Src.State, s.Dst.State = pfstate.PFProxyDst, 0 }},
}

func keptState(change func(*syncproto.State)) syncproto.State {
	st, _ := strictPair(nil, 4, 4)
	change(&st)
	return st
}

func updC(st *syncproto.State) []byte {
	return pfFrame(func(w *syncproto.Builder) {
		w.AddUpdC(&syncproto.UpdC{ID: st.ID, CreatorID: st.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: st.Timeout})
	})
}

// keptOf walks.
func keptOf(e *Engine, now int64) (list []Kept) {
	var k Kept
	for next := e.Kept(now, 0, &k); next != 0; next = e.Kept(now, next, &k) {
		list = append(list, k)
	}
	return list
}

// TestKept: what no kernel here can hold is kept and shown, counted once by its
// reason, never asked of the kernel, never told to anybody and never asked for.
func TestKept(t *testing.T) {
	for _, tt := range keptKinds {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			st := keptState(tt.change)
			for range 3 {
				g.hear(rigBSD, insert(syncproto.ActIns, st))
				g.hear(rigBSD, insert(syncproto.ActUpd, st))
				g.hear(rigBSD, updC(&st))
			}
			list := keptOf(g.e, g.now)
			if len(list) != 1 || g.e.KeptLen() != 1 || list[0].Why != tt.why || list[0].State.ID != st.ID || list[0].State.Key != st.Key {
				t.Fatalf("kept %+v", list)
			}
			if n := g.e.Stats.Reason[tt.why]; n != 1 {
				t.Errorf("%s counted %d times", tt.why, n)
			}
			if g.e.tab.Len() != 0 || len(g.ops) != 0 || g.count(CountBadState) != 0 || g.count(CountStale) != 0 {
				t.Errorf("%d states, asked %+v, badstate %d, stale %d", g.e.tab.Len(), g.ops, g.count(CountBadState), g.count(CountStale))
			}
			g.hear(rigBSD, idFrame(syncproto.ActUpdReq, st.StateID()))
			g.hear(rigBSD, idFrame(syncproto.ActUpdReq, syncproto.ID{}))
			for _, m := range g.says(5 * second) {
				if m.action != syncproto.ActBus {
					t.Errorf("said %s %v", m.action, m.id)
				}
			}
		})
	}
}

// TestKeptEnds: each way in which one goes.
func TestKeptEnds(t *testing.T) {
	clr := func(m syncproto.Clr) []byte {
		return pfFrame(func(w *syncproto.Builder) { w.AddClr(&m) })
	}
	ends := []struct {
		name string
		end  func(*rig, *syncproto.State)
		gone bool
	}{
		{"DEL", func(g *rig, st *syncproto.State) { g.hear(rigBSD, insert(syncproto.ActDel, *st)) }, true},
		{"DEL_C", func(g *rig, st *syncproto.State) { g.hear(rigBSD, idFrame(syncproto.ActDelC, st.StateID())) }, true},
		{"CLR", func(g *rig, _ *syncproto.State) { g.hear(rigBSD, clr(syncproto.Clr{CreatorID: pfHost})) }, true},
		{"CLR of its interface", func(g *rig, st *syncproto.State) {
			g.hear(rigBSD, clr(syncproto.Clr{CreatorID: pfHost, IfName: st.IfName}))
		}, true},
		{"CLR of another creator", func(g *rig, _ *syncproto.State) { g.hear(rigBSD, clr(syncproto.Clr{CreatorID: pfHost + 1})) }, false},
		{"CLR of another interface", func(g *rig, _ *syncproto.State) {
			g.hear(rigBSD, clr(syncproto.Clr{CreatorID: pfHost, IfName: syncproto.MakeName("em9")}))
		}, false},
		{"half its time", func(g *rig, _ *syncproto.State) { g.pass(50 * second) }, false},
		{"its time", func(g *rig, _ *syncproto.State) { g.pass(102 * second) }, true},
		{"an update, then its time", func(g *rig, st *syncproto.State) {
			g.pass(50 * second)
			g.hear(rigBSD, insert(syncproto.ActUpd, *st))
			g.pass(80 * second)
		}, false},
		{"flush", func(g *rig, _ *syncproto.State) { g.e.Flush(g.now) }, true},
		{"a filter of its address", func(g *rig, st *syncproto.State) {
			cfg := g.e.Config()
			cfg.Filter.Local = map[pfstate.Addr]struct{}{st.Key[0].Addr[0]: {}}
			g.e.Set(g.now, cfg, false)
		}, true},
	}
	for _, tt := range ends {
		for _, kind := range keptKinds {
			t.Run(tt.name+"/"+kind.name, func(t *testing.T) {
				g := newRig(t, nil)
				st := keptState(kind.change)
				st.Expire = 100
				g.hear(rigBSD, insert(syncproto.ActIns, st))
				tt.end(g, &st)
				if gone := g.e.KeptLen() == 0; gone != tt.gone || len(keptOf(g.e, g.now)) != g.e.KeptLen() {
					t.Errorf("%d kept", g.e.KeptLen())
				}
				if tt.name != "flush" && (g.count(CountBadState) != 0 || len(g.ops) != 0) {
					t.Errorf("badstate %d, asked %+v", g.count(CountBadState), g.ops)
				}
			})
		}
	}
}

// TestKeptFits: the handshake that a synproxy has finished makes a state of what
// was kept, whether an update, a compressed one or an insert tells; what comes
// late of the time before changes nothing.
func TestKeptFits(t *testing.T) {
	for name, tell := range map[string]func(*syncproto.State) []byte{
		"UPD_C": updC,
		"UPD":   func(st *syncproto.State) []byte { return insert(syncproto.ActUpd, *st) },
		"INS":   func(st *syncproto.State) []byte { return insert(syncproto.ActIns, *st) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			st := keptState(keptKinds[2].change)
			st.Creation, st.Expire = 7, 30
			g.hear(rigBSD, insert(syncproto.ActIns, st))
			early := st
			g.pass(2 * second)
			early.Src.State = pfstate.PFProxyDst
			g.hear(rigBSD, updC(&early))
			if g.e.KeptLen() != 1 || len(g.ops) != 0 {
				t.Fatalf("%d kept, asked %+v", g.e.KeptLen(), g.ops)
			}
			done := st
			done.Creation, done.Expire = 9, 86400
			done.Src.State, done.Dst.State = pfstate.PFEstablished, pfstate.PFEstablished
			g.hear(rigBSD, tell(&done))
			s := g.find(pfstate.ID(st.StateID()))
			if g.e.KeptLen() != 0 || s == nil || len(g.ops) != 1 || g.ops[0].Kind != pfstate.OpCreate || g.ops[0].Flow.ProtoState != pfstate.TCPEstablished {
				t.Fatalf("%d kept, state %+v, asked %+v", g.e.KeptLen(), s, g.ops)
			}
			if left, age := (s.Expire-g.now)/second, (g.now-s.Created)/second; left != 86400 || age != 9 {
				t.Errorf("%d s left, age %d s", left, age)
			}
			g.hear(rigBSD, updC(&early))
			g.hear(rigBSD, insert(syncproto.ActUpd, early))
			if s.Src.State != pfstate.PFEstablished || g.e.KeptLen() != 0 || len(g.ops) != 1 {
				t.Errorf("late news: %+v, %d kept, asked %+v", s.Src, g.e.KeptLen(), g.ops)
			}
			if m := only(g.says(5*second), syncproto.ActUpdReq); len(m) != 0 {
				t.Errorf("asked for %+v", m)
			}
		})
	}
}

// TestKeptBounded: they count against maxstates and have a bound of their own;
// there is room again when they go.
func TestKeptBounded(t *testing.T) {
	many := func(g *rig, first, n int) {
		for i := range n {
			st := keptState(keptKinds[i%2].change)
			st.ID = uint64(first + i)
			g.hear(rigBSD, insert(syncproto.ActIns, st))
		}
	}
	g := newRig(t, func(c *Config) { c.MaxStates = 10 })
	many(g, 1, 25)
	fits, _ := strictPair(nil, 4, 4)
	g.hear(rigBSD, insert(syncproto.ActIns, fits))
	r := &g.e.Stats.Reason
	if g.e.KeptLen() != 9 || g.e.tab.Len() != 1 || r[ReasonMaxStates] != 15 || r[ReasonEvicted] != 1 { // the kernel's come first
		t.Errorf("%d kept, %d states, maxstates %d, evicted %d", g.e.KeptLen(), g.e.tab.Len(), r[ReasonMaxStates], r[ReasonEvicted])
	}
	many(g, 100, 1)
	if g.e.KeptLen() != 9 || g.e.tab.Len() != 1 {
		t.Errorf("%d kept, %d states, of which there was room for one", g.e.KeptLen(), g.e.tab.Len())
	}
	g = newRig(t, nil)
	many(g, 1, maxKept+5)
	if g.e.KeptLen() != maxKept || g.e.Stats.Reason[ReasonMaxStates] != 5 {
		t.Errorf("%d kept, maxstates %d", g.e.KeptLen(), g.e.Stats.Reason[ReasonMaxStates])
	}
	g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) { w.AddClr(&syncproto.Clr{CreatorID: pfHost}) }))
	if g.e.KeptLen() != 0 || cap(g.e.kept.list) != 0 {
		t.Errorf("%d kept, room for %d", g.e.KeptLen(), cap(g.e.kept.list))
	}
}

// TestKeptOfOthers: only what a BSD tells of its own is kept: not what a Linux
// peer tells, not what has our creatorid, and not another record of what is in
// the table.
func TestKeptOfOthers(t *testing.T) {
	g := newRig(t, nil)
	ours := keptState(keptKinds[1].change)
	ours.CreatorID = rigHost
	g.hear(rigBSD, insert(syncproto.ActIns, ours))
	known, _ := strictPair(nil, 4, 4)
	g.hear(rigBSD, insert(syncproto.ActIns, known))
	other := keptState(keptKinds[0].change)
	g.hear(rigBSD, insert(syncproto.ActUpd, other))
	linux := keptState(keptKinds[1].change)
	linux.ID = 99
	g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) {
		w.AddState(syncproto.ActIns, syncproto.Format6, &linux)
		w.AddFrameInfo(64, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Epoch: 9, CreatorID: 5})
	}))
	if g.e.KeptLen() != 0 || g.e.Stats.Reason[ReasonRDomain] != 2 || g.e.Stats.Reason[ReasonAfTo] != 1 {
		t.Errorf("%d kept, rdomain %d, afto %d", g.e.KeptLen(), g.e.Stats.Reason[ReasonRDomain], g.e.Stats.Reason[ReasonAfTo])
	}
}

// TestKeptAndDigests: what is kept is in no digest, so two Linux peers of which
// only one hears the BSD do not differ by it.
func TestKeptAndDigests(t *testing.T) {
	g := newRig(t, nil)
	before := g.e.tab.DigestSum(leastBuckets, 0)
	for i := range uint64(64) {
		st := keptState(keptKinds[i%2].change)
		st.ID = i + 1
		g.hear(rigBSD, insert(syncproto.ActIns, st))
	}
	for b := range leastBuckets {
		if g.e.tab.DigestSum(leastBuckets, b) != before {
			t.Fatalf("bucket %d", b)
		}
	}
	if g.e.KeptLen() != 64 {
		t.Errorf("%d kept", g.e.KeptLen())
	}
}

// TestRouteCounted: a route of a pf's is counted and goes back to it; the kernel
// has the connection.
func TestRouteCounted(t *testing.T) {
	g := newRig(t, nil)
	in, out := strictPair(nil, 4, 4)
	in.Rt, in.RtAddr = 1, [16]byte{10, 0, 0, 1}
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	g.hear(rigBSD, insert(syncproto.ActUpd, in, out))
	creates := slices.IndexFunc(g.ops, func(o pfstate.Op) bool { return o.Kind == pfstate.OpCreate })
	if g.e.Stats.Reason[ReasonRouteTo] != 1 || creates < 0 || g.e.KeptLen() != 0 {
		t.Errorf("counted %d, asked %+v, %d kept", g.e.Stats.Reason[ReasonRouteTo], g.ops, g.e.KeptLen())
	}
}
