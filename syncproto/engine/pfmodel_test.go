package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// A model of what a pf does with TCP packets of a state that it has: the two
// checks of pf_test_state (pf_tcp_track_full and pf_tcp_track_sloppy), as far
// as linux-facts section 9 has measured their effect.

// segment is a TCP packet in the middle of a connection.
type segment struct {
	seq, ack, end uint32 // end: sequence number behind the data
	win           uint32 // unscaled, as in the header
	reply         bool
}

const maxAckWindow = 0xffff + 1500

// pfPasses reports whether pf lets the segment pass and moves the state on.
func pfPasses(st *syncproto.State, p *segment) bool {
	src, dst := &st.Src, &st.Dst
	if p.reply {
		src, dst = dst, src
	}
	if st.StateFlags&syncproto.FlagSloppy != 0 {
		return pfSloppy(st, src, dst)
	}
	return pfStrict(src, dst, p)
}

// pfSloppy looks at no sequence numbers.
func pfSloppy(st *syncproto.State, src, dst *syncproto.Peer) bool {
	if src.State < syncproto.TCPSynSent {
		src.State = syncproto.TCPEstablished // mid-connection: pf takes it for an answer
	}
	if src.State == syncproto.TCPSynSent {
		src.State = syncproto.TCPEstablished
	}
	if dst.State == syncproto.TCPSynSent {
		dst.State = syncproto.TCPEstablished
	}
	return true
}

// pfStrict is the window check. While the other side has not been seen, or is
// over, a window's slack to both sides will do.
func pfStrict(src, dst *syncproto.Peer, p *segment) bool {
	shift := func(x *syncproto.Peer) uint32 {
		if src.WScale&dst.WScale&syncproto.WScaleSeen != 0 {
			return uint32(x.WScale & syncproto.WScaleMask)
		}
		return 0
	}
	geq := func(a, b uint32) bool { return int32(a-b) >= 0 }
	room := uint32(dst.MaxWin) << shift(dst)
	if src.SeqLo == 0 { // first packet of this side
		src.SeqLo = p.seq
		src.State = max(src.State, syncproto.TCPSynSent)
		if src.SeqHi == 1 || geq(p.end+max(1, room), src.SeqHi) {
			src.SeqHi = p.end + max(1, room)
		}
		src.MaxWin = max(src.MaxWin, uint16(p.win))
	}
	seq, end := p.seq, p.end
	if seq == end { // no data: only the acknowledgement counts
		seq, end = src.SeqLo, src.SeqLo
	}
	ack := int64(int32(dst.SeqLo - p.ack))
	strict := geq(src.SeqHi, end) && geq(seq, src.SeqLo-room) && ack >= -maxAckWindow && ack <= maxAckWindow<<shift(src)
	loose := (dst.State < syncproto.TCPSynSent || dst.State >= syncproto.TCPFinWait2 || src.State >= syncproto.TCPFinWait2) &&
		geq(src.SeqHi+maxAckWindow, end) && geq(seq, src.SeqLo-maxAckWindow)
	if !strict && !loose {
		return false
	}
	src.MaxWin = max(src.MaxWin, uint16(p.win))
	if geq(end, src.SeqLo) {
		src.SeqLo = end
	}
	if to := p.ack + max(1, p.win<<shift(src)); geq(to, dst.SeqHi) {
		dst.SeqHi = to
	}
	if strict && dst.State == syncproto.TCPSynSent {
		dst.State = syncproto.TCPEstablished
	}
	return true
}

// bulkFlow is a bulk transfer: data one way, acknowledgements the other.
type bulkFlow struct{ snd, rcv uint32 }

func newBulkFlow() *bulkFlow { return &bulkFlow{snd: 0x11223344, rcv: 0x99aabbcc} }

const flowWindow = 64 // unscaled, << 11

// round sends some data and its acknowledgement through through; false if one
// of them is lost, which the sender repeats.
func (b *bulkFlow) round(through func(*segment) bool) bool {
	const mss = 1448
	for range 10 {
		if !through(&segment{seq: b.snd, end: b.snd + mss, ack: b.rcv, win: flowWindow}) {
			return false
		}
		b.snd += mss
	}
	return through(&segment{seq: b.rcv, end: b.rcv, ack: b.snd, win: flowWindow, reply: true})
}

// TestPFModel reproduces the table of linux-facts section 9 for a bulk
// transfer: what was injected, the first time through pf, and again after
// being away.
func TestPFModel(t *testing.T) {
	tests := []struct {
		name         string
		flags        uint16
		state        uint8
		seqhi        uint32
		win          uint16
		wscale       uint8
		first, again bool
	}{
		{"strict 4:4, 0/0/0", 0, 4, 0, 0, 0x8b, false, false},
		{"strict 4:4, 0/1/1", 0, 4, 1, 1, 0x8b, false, false},
		{"strict 0:0, 0/1/1", 0, 0, 1, 1, 0x8b, true, false},
		{"strict 0:0, 0/1/65535", 0, 0, 1, 65535, 0x8b, true, true},
		{"sloppy 4:4, 0/1/1", syncproto.FlagSloppy, 4, 1, 1, 0x8b, true, true},
		{"sloppy 4:4, 0/0/0", syncproto.FlagSloppy, 4, 0, 0, 0, true, true},
		{"sloppy 2:0, 0/1/1", syncproto.FlagSloppy, 2, 1, 1, 0x8b, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := syncproto.Peer{SeqHi: tt.seqhi, MaxWin: tt.win, WScale: tt.wscale, State: tt.state}
			st := syncproto.State{StateFlags: tt.flags, Src: p, Dst: p}
			b := newBulkFlow()
			if got := manyRounds(b, &st); got != tt.first {
				t.Errorf("first time %v, want %v", got, tt.first)
			}
			elsewhere(b)
			if got := manyRounds(b, &st); got != tt.again {
				t.Errorf("again %v, want %v", got, tt.again)
			}
		})
	}
	t.Run("made by pf, missed five seconds", func(t *testing.T) {
		b := newBulkFlow()
		p := syncproto.Peer{MaxWin: flowWindow, WScale: 0x8b, State: 4}
		st := syncproto.State{Src: p, Dst: p}
		st.Src.SeqLo, st.Src.SeqHi = b.snd, b.snd+flowWindow<<11
		st.Dst.SeqLo, st.Dst.SeqHi = b.rcv, b.rcv+flowWindow<<11
		if !manyRounds(b, &st) {
			t.Fatal("pf's own state is dead")
		}
		elsewhere(b)
		if manyRounds(b, &st) {
			t.Error("a strict state that missed more than a window lives")
		}
	})
}

func manyRounds(b *bulkFlow, st *syncproto.State) bool {
	for range 50 {
		if !b.round(func(p *segment) bool { return pfPasses(st, p) }) {
			return false
		}
	}
	return true
}

// elsewhere lets much more than a window pass on another way.
func elsewhere(b *bulkFlow) {
	for range 200 {
		b.round(func(*segment) bool { return true })
	}
}

// pfBox is a firewall with pf: states by name, one key each.
type pfBox struct {
	testing.TB
	states map[syncproto.ID]*syncproto.State
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
	if newer(st.Src, src) {
		st.Src = src
	}
	if newer(st.Dst, dst) {
		st.Dst = dst
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
			g, p, b := newRig(t, nil), &pfBox{t, map[syncproto.ID]*syncproto.State{}}, newBulkFlow()
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

func (b *bulkFlow) moves(p *pfBox) bool {
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
			g, p, b := newRig(t, nil), &pfBox{t, map[syncproto.ID]*syncproto.State{}}, newBulkFlow()
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
