package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// pfBox is a firewall with pf: states by name, one key each.
type pfBox struct {
	testing.TB
	states map[syncproto.ID]*syncproto.State
	tell   map[syncproto.ID]bool // what it has to say, if anybody listens
}

// hear does what OpenBSD does with a frame (pfsync-protocol.md sections 9 to
// 11).
func (p *pfBox) hear(frame []byte) {
	for _, m := range readFrame(p, frame) {
		id := syncproto.ID(m.id)
		st := p.states[id]
		switch m.action {
		case syncproto.ActDelC:
			delete(p.states, id)
		case syncproto.ActIns, syncproto.ActUpd:
			if st != nil {
				p.update(st, m.st.Src, m.st.Dst)
			} else if !p.taken(&m.st) {
				st := m.st
				p.states[id] = &st
			}
		case syncproto.ActUpdC:
			if st != nil {
				p.update(st, m.updc.Src, m.updc.Dst)
			}
		}
	}
}

// taken: the key is another state's, so pf does not import.
func (p *pfBox) taken(n *syncproto.State) bool {
	for _, st := range p.states {
		if st.Key[0] == n.Key[0] && st.Direction == n.Direction {
			return true
		}
	}
	return false
}

func (p *pfBox) update(st *syncproto.State, src, dst syncproto.Peer) {
	newer := func(have, got syncproto.Peer) bool {
		return have.State < got.State || have.State == got.State && int32(have.SeqLo-got.SeqLo) <= 0
	}
	a, b := newer(st.Src, src), newer(st.Dst, dst)
	if a {
		st.Src = src
	}
	if b {
		st.Dst = dst
	}
	if p.tell != nil && !(a && b) {
		p.tell[st.StateID()] = true
	}
}

// through lets a packet pass both sides of the firewall; the first of a new
// connection makes its states, everything else that meets none is dropped.
func (p *pfBox) through(s *segment) bool {
	n := 0
	for _, st := range p.states {
		if !pfPasses(st, s) {
			return false
		}
		n++
	}
	return n == 2
}

// says tells what pf sends of a state that it forwards.
func (p *pfBox) says() []byte {
	return pfFrame(func(w *syncproto.Builder) {
		for id, st := range p.states {
			w.AddUpdC(&syncproto.UpdC{ID: id.ID, CreatorID: id.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: 2})
		}
	})
}

// toBox hands on what the Linux says in a while.
func (g *rig) toBox(p *pfBox, d int64) {
	for end := g.now + d; g.now < end; {
		for _, b := range g.sent() {
			p.hear(b)
		}
		g.now = min(end, max(g.now+milli, g.e.Deadline()))
		g.e.Tick(g.now)
	}
}

// dumped lets the daemon's dump find the flow with a timeout just refreshed.
func (g *rig) dumped(f pfstate.Flow) {
	f.Timeout = g.e.cfg.Timeouts.For(f.Proto, f.ProtoState, f.Status)
	g.e.Local(g.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}, {Kind: pfstate.EventDump, Flow: f}, {Kind: pfstate.EventDumpEnd}})
	g.settle()
}

// TestMoveLinuxPFLinux: a connection made through Linux goes on through a pf,
// and through Linux again.
func TestMoveLinuxPFLinux(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat} {
		t.Run(name, func(t *testing.T) {
			g, p, b := newRig(t, nil), &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}, newBulkFlow()
			g.pfSpeaks()
			g.local(pfstate.EventNew, tcpFlow(pfstate.TCPSynSent, nat))
			g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPEstablished, nat))
			g.toBox(p, second)
			elsewhere(b)
			for range 3 { // there and back, and there again
				if !b.moves(p) {
					t.Fatal("dead at the pf")
				}
				g.hear(rigBSD, p.says())
				elsewhere(b) // Linux
				g.now += 10 * second
				g.dumped(tcpFlow(pfstate.TCPEstablished, nat))
				g.toBox(p, 2*second)
			}
		})
	}
}

func (b *traffic) moves(p *pfBox) bool {
	for range 50 {
		if !b.round(p.through) {
			return false
		}
	}
	return true
}

// TestMovePFLinuxPF: a connection made by a pf goes on through Linux, and
// through the pf again, whose own state would drop it.
func TestMovePFLinuxPF(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat} {
		t.Run(name, func(t *testing.T) {
			g, p, b := newRig(t, nil), &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}, newBulkFlow()
			in, out := strictPair(nat, 4, 4)
			for _, st := range []*syncproto.State{&in, &out} {
				st.Src = syncproto.Peer{SeqLo: b.snd, SeqHi: b.snd + flowWindow<<11, MaxWin: flowWindow, WScale: 0x8b, State: 4}
				st.Dst = syncproto.Peer{SeqLo: b.rcv, SeqHi: b.rcv + flowWindow<<11, MaxWin: flowWindow, WScale: 0x8b, State: 4}
				p.states[st.StateID()] = st
			}
			g.hear(rigBSD, insert(syncproto.ActIns, in, out))
			if !b.moves(p) {
				t.Fatal("dead at the pf that made it")
			}
			g.hear(rigBSD, p.says())
			for range 3 {
				g.toBox(p, 2*second) // nothing may be said of it yet, or all is said
				elsewhere(b)         // through Linux
				g.now += 10 * second
				g.dumped(tcpFlow(pfstate.TCPEstablished, nat))
				g.toBox(p, 2*second)
				if len(p.states) != 2 {
					t.Fatalf("the pf has %d states", len(p.states))
				}
				if !b.moves(p) {
					t.Fatal("dead at the pf, back from Linux")
				}
				g.hear(rigBSD, p.says())
			}
		})
	}
}
