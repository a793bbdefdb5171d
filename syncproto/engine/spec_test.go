package engine

import (
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

func idFrame(a syncproto.Action, ids ...syncproto.ID) []byte {
	return pfFrame(func(w *syncproto.Builder) {
		for i := range ids {
			w.AddID(a, &ids[i])
		}
	})
}

func busFrame(status uint8) []byte {
	return pfFrame(func(w *syncproto.Builder) { w.AddBus(&syncproto.Bus{CreatorID: pfHost, Status: status}) })
}

// TestBulkOrder: pfsync-protocol.md section 13.1, with our own ends.
func TestBulkOrder(t *testing.T) {
	const start, end = syncproto.BusStart, syncproto.BusEnd
	tests := []struct {
		name string
		bus  []uint8
		want Sync
	}{
		{"start, end", []uint8{start, end}, SyncOK},
		{"end of an empty table, without start", []uint8{end}, SyncOK},
		{"start only", []uint8{start}, SyncBulk},
		{"two starts, end", []uint8{start, start, end}, SyncOK},
		{"unknown status", []uint8{0, 3, 255}, SyncSent},
		{"end, then start of another's transfer", []uint8{end, start}, SyncOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			g.e.Bulk(g.now)
			if m := only(g.says(0), syncproto.ActUpdReq); len(m) != 1 || m[0].id != (pfstate.ID{}) {
				t.Fatalf("asked %+v", m)
			}
			for _, s := range tt.bus {
				g.hear(rigBSD, busFrame(s))
			}
			if got := g.e.Status(g.now).Sync; got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestBulkUnanswered: twelve requests, two seconds apart, then it goes on.
func TestBulkUnanswered(t *testing.T) {
	g := newRig(t, nil)
	g.pfSpeaks() // somebody is there and does not answer
	g.e.Bulk(g.now)
	begin, asked := g.now, 0
	for g.e.Status(g.now).Sync == SyncSent && g.now < begin+60*second {
		asked += len(only(g.says(100*milli), syncproto.ActUpdReq))
	}
	if took := (g.now - begin) / second; asked != 12 || took < 23 || took > 26 || g.e.Status(g.now).Sync != SyncFailed {
		t.Errorf("asked %d times in %d s, then %s", asked, took, g.e.Status(g.now).Sync)
	}
}

// serveRig has states of its own to send.
func serveRig(t *testing.T, n int) *rig {
	g := newRig(t, nil)
	for i := range n {
		f := tcpFlow(pfstate.TCPEstablished, nil)
		f.Orig.SrcPort, f.Reply.DstPort = uint16(i), uint16(i)
		g.local(pfstate.EventNew, f)
	}
	g.pass(2 * second)
	return g
}

// TestBulkServe: pfsync-protocol.md section 13.2: whole, between start and end,
// for one, for two at once, for who comes in the middle, and to nobody.
func TestBulkServe(t *testing.T) {
	const n = 300
	other := netip.MustParseAddr("10.99.0.2")
	ask := idFrame(syncproto.ActUpdReq, syncproto.ID{})
	tests := []struct {
		name string
		run  func(*rig) []told
		ends int
	}{
		{"one", func(g *rig) []told { g.hear(rigBSD, ask); return g.says(second) }, 1},
		{"two at once", func(g *rig) []told { g.hear(rigBSD, ask); g.hear(other, ask); return g.says(second) }, 1},
		{"again in the middle", func(g *rig) []told {
			g.hear(rigBSD, ask)
			list := g.says(10 * milli)
			g.hear(other, ask)
			return append(list, g.says(2*second)...)
		}, 1},
		{"asked twice in a second: served again, a second after the first", func(g *rig) []told {
			g.hear(rigBSD, ask)
			list := g.says(900 * milli)
			g.hear(rigBSD, ask)
			return append(list, g.says(second)...)
		}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := tt.run(serveRig(t, n))
			bus := only(list, syncproto.ActBus)
			named := map[pfstate.ID]int{}
			for _, m := range only(list, syncproto.ActUpd) {
				named[m.id]++
			}
			if len(named) != 2*n {
				t.Errorf("%d states, want %d", len(named), 2*n)
			}
			if len(bus) < 2 || bus[0].bus.Status != syncproto.BusStart || bus[len(bus)-1].bus.Status != syncproto.BusEnd {
				t.Errorf("bulk status %+v", bus)
			}
			ends := 0
			for _, m := range bus {
				if m.bus.Status == syncproto.BusEnd {
					ends++
				}
			}
			if ends != tt.ends {
				t.Errorf("%d ends, want %d", ends, tt.ends)
			}
		})
	}
}

// TestClr: pfsync-protocol.md section 9.3, and that what passes here stays.
func TestClr(t *testing.T) {
	name := syncproto.MakeName
	tests := []struct {
		name    string
		clr     syncproto.Clr
		carried bool
		left    int
		updates int
	}{
		{"all of a creator", syncproto.Clr{CreatorID: pfHost}, false, 0, 0},
		{"bound to this interface", syncproto.Clr{CreatorID: pfHost, IfName: name("em1")}, false, 0, 0},
		{"bound to another", syncproto.Clr{CreatorID: pfHost, IfName: name("em2")}, false, 1, 0},
		{"another creator", syncproto.Clr{CreatorID: pfHost + 1}, false, 1, 0},
		{"no creator", syncproto.Clr{}, false, 1, 0},
		{"what passes here is told again", syncproto.Clr{CreatorID: pfHost}, true, 1, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			in, out := strictPair(nil, 4, 4)
			in.IfName, out.IfName = name("em1"), name("em1")
			g.hear(rigBSD, insert(syncproto.ActIns, in, out))
			if tt.carried {
				g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPFinWait, nil))
				g.says(20 * milli)
				tt.clr.CreatorID = rigHost // it is ours now
			}
			g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) { w.AddClr(&tt.clr) }))
			if g.e.tab.Len() != tt.left {
				t.Errorf("%d states left, want %d", g.e.tab.Len(), tt.left)
			}
			if m := only(g.says(2*second), syncproto.ActUpd); len(m) != tt.updates {
				t.Errorf("told again: %+v", m)
			}
		})
	}
}

// TestCollapse: pfsync-protocol.md section 12.1: updates of a queued state cost
// nothing, and at maxupd it is sent.
func TestCollapse(t *testing.T) {
	for _, maxupd := range []int{0, 1, 3, 255} {
		g := newRig(t, func(c *Config) { c.MaxUpd, c.MaxDelay = maxupd, 1e9 })
		states := []uint8{pfstate.TCPSynSent, pfstate.TCPSynRecv, pfstate.TCPEstablished, pfstate.TCPFinWait, pfstate.TCPLastAck, pfstate.TCPTimeWait}
		g.local(pfstate.EventNew, tcpFlow(states[0], nil))
		sent := 0
		for _, st := range states[1:] {
			g.local(pfstate.EventUpdate, tcpFlow(st, nil))
			sent += len(g.says(0))
		}
		want := map[int]int{0: 5, 1: 5, 3: 1, 255: 0}[maxupd]
		if maxupd <= 1 && sent == 0 || maxupd > 1 && sent > want || maxupd == 3 && sent == 0 {
			t.Errorf("maxupd %d: %d messages at once, want about %d", maxupd, sent, want)
		}
		if list := g.says(second); maxupd == 255 && (len(list) != 1 || list[0].action != syncproto.ActIns || list[0].st.Src.State != 9) {
			t.Errorf("after maxdelay: %+v", list)
		}
	}
}

// TestRegionOrder: design section 6: acks, deletes, then what they make room
// for.
func TestRegionOrder(t *testing.T) {
	g := newRig(t, nil)
	g.pfSpeaks()
	port := func(p uint16, st uint8) pfstate.Flow {
		f := tcpFlow(st, nil)
		f.Orig.SrcPort, f.Reply.DstPort = p, p
		f.Timeout = g.e.cfg.Timeouts.For(f.Proto, st, f.Status)
		return f
	}
	for p := range uint16(3) {
		g.local(pfstate.EventNew, port(p, pfstate.TCPEstablished))
	}
	g.says(20 * milli)
	id := syncproto.ID(g.e.tab.At(1).MainName())
	in, out := strictPair(snat, 4, 4)
	in.StateFlags |= syncproto.FlagAck
	g.local(pfstate.EventNew, port(9, pfstate.TCPSynSent)) // INS
	g.local(pfstate.EventUpdate, port(1, pfstate.TCPFinWait))
	g.local(pfstate.EventDestroy, port(2, pfstate.TCPEstablished))
	g.hear(rigBSD, insert(syncproto.ActIns, in, out))
	g.hear(rigBSD, idFrame(syncproto.ActUpdReq, id))
	rank := map[syncproto.Action]int{syncproto.ActInsAck: 1, syncproto.ActDelC: 2, syncproto.ActUpdC: 3, syncproto.ActIns: 4, syncproto.ActUpd: 5}
	last, kinds := 0, 0
	for _, m := range g.says(0) {
		if rank[m.action] < last || rank[m.action] == 0 {
			t.Errorf("%s stands behind %d", m.action, last)
		}
		if rank[m.action] > last {
			kinds++
		}
		last = rank[m.action]
	}
	if kinds != 5 {
		t.Errorf("%d kinds of regions, want 5", kinds)
	}
}

// TestOthers are rules of one line each.
func TestOthers(t *testing.T) {
	in, out := strictPair(nil, 4, 4)
	t.Run("our own frame comes back", func(t *testing.T) {
		g := newRig(t, nil)
		g.hear(rigSelf, insert(syncproto.ActIns, in, out))
		if g.e.tab.Len() != 0 || g.e.Stats.Reason[ReasonOwnFrame] != 1 {
			t.Errorf("%d states", g.e.tab.Len())
		}
	})
	t.Run("creator 0", func(t *testing.T) {
		g := newRig(t, nil)
		nobody := in
		nobody.CreatorID = 0
		g.hear(rigBSD, insert(syncproto.ActIns, nobody, in))
		g.hear(rigBSD, insert(syncproto.ActUpd, nobody))
		if g.e.tab.Len() != 1 || g.e.Stats.Reason[ReasonCreatorZero] != 2 || g.count(CountBadState) != 1 {
			t.Errorf("%d states, badstate %d", g.e.tab.Len(), g.count(CountBadState))
		}
	})
	t.Run("ids at their end", func(t *testing.T) {
		g := newRig(t, func(c *Config) { c.StartID = 1<<64 - 1 })
		g.pfSpeaks()
		g.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, nil))
		if m := g.says(20 * milli); len(m) != 2 || m[0].id.ID != 1<<64-1 || m[1].id.ID != 0 || g.find(m[1].id) == nil {
			t.Errorf("%+v", m)
		}
	})
	t.Run("65535 messages in a region", func(t *testing.T) {
		g := newRig(t, nil)
		frame := idFrame(syncproto.ActDelC)
		frame = syncproto.AppendSubheader(frame, &syncproto.Subheader{Action: uint8(syncproto.ActDelC), Len: 3, Count: 65535})
		for i := range 65535 {
			frame = syncproto.AppendID(frame, &syncproto.ID{ID: uint64(i), CreatorID: pfHost})
		}
		frame[2], frame[3] = 0xff, 0xff // more than any packet holds
		g.hear(rigBSD, frame)
		if g.count(CountBadLen) != 1 || g.count(CountBadState) != 0 {
			t.Errorf("badlen %d, badstate %d", g.count(CountBadLen), g.count(CountBadState))
		}
	})
	t.Run("unknown updates are asked for once each, at once", func(t *testing.T) {
		g := newRig(t, nil)
		g.hear(rigBSD, pfFrame(func(w *syncproto.Builder) {
			for i := range 3 {
				w.AddUpdC(&syncproto.UpdC{ID: uint64(i), CreatorID: pfHost, Timeout: 2})
			}
		}))
		if m := only(g.says(0), syncproto.ActUpdReq); len(m) != 3 {
			t.Errorf("%+v", m)
		}
	})
	t.Run("the requester is gone", func(t *testing.T) {
		g := serveRig(t, 2000)
		g.hear(rigBSD, idFrame(syncproto.ActUpdReq, syncproto.ID{}))
		if m := only(g.says(30*second), syncproto.ActBus); len(m) != 2 {
			t.Errorf("an end without hearer: %+v", m)
		}
	})
}
