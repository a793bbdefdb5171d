package engine

import (
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// A model of what a pf does with TCP packets of a state that it has: the two
// checks of pf_test_state (pf_tcp_track_full and pf_tcp_track_sloppy), as far
// as linux-facts section 9 has measured their effect.

// segment is a TCP packet in the middle of a connection; all have ACK set.
type segment struct {
	seq, ack, end uint32 // end: sequence number behind the data
	win           uint32 // unscaled, as in the header
	reply         bool
}

const maxAckWindow = 0xffff + 1500

// Verdicts of the model on a segment.
const (
	passes = iota
	dropped
	reset // dropped, and the sender gets an RST
)

// pfTests says what pf does with a segment and moves the state on.
func pfTests(st *syncproto.State, p *segment) int {
	src, dst := &st.Src, &st.Dst
	if p.reply {
		src, dst = dst, src
	}
	if st.StateFlags&syncproto.FlagSloppy != 0 {
		pfSloppy(src, dst)
		return passes
	}
	return pfStrict(src, dst, p)
}

func pfPasses(st *syncproto.State, p *segment) bool { return pfTests(st, p) == passes }

// pfSloppy looks at no sequence numbers. An acknowledgement establishes who is
// acknowledged; one from who has sent a SYN, with nothing from the other side,
// both.
func pfSloppy(src, dst *syncproto.Peer) {
	switch {
	case dst.State == syncproto.TCPSynSent:
		dst.State = syncproto.TCPEstablished
	case src.State == syncproto.TCPSynSent && dst.State < syncproto.TCPSynSent:
		src.State, dst.State = syncproto.TCPEstablished, syncproto.TCPEstablished
	}
}

// pfStrict is the window check. While the other side has not been seen, or is
// over, a window's slack to both sides will do. In a handshake, a mismatch is
// answered by a reset.
func pfStrict(src, dst *syncproto.Peer, p *segment) int {
	shift := func(x *syncproto.Peer) uint32 {
		if src.WScale != 0 && dst.WScale != 0 {
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
		if src.State == syncproto.TCPSynSent && dst.State == syncproto.TCPSynSent {
			return reset
		}
		return dropped
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
	return passes
}

// traffic is a connection that is used in one way.
type traffic struct {
	kind     trafficKind
	snd, rcv uint32 // next of the client, of the server
	moved    int    // bytes
}

type trafficKind uint8

// Kinds of the measurement: data of the client, of the server, and a small
// request with its answer.
const (
	upload trafficKind = iota
	download
	echo
	trafficKinds
)

func (k trafficKind) String() string { return [...]string{"upload", "download", "echo"}[k] }

func newTraffic(k trafficKind) *traffic { return &traffic{kind: k, snd: 0x11223344, rcv: 0x99aabbcc} }

func newBulkFlow() *traffic { return newTraffic(upload) }

const flowWindow = 64 // unscaled, << 11

// round sends some data and its acknowledgement through through; false if one
// of them is lost, which the sender repeats.
func (b *traffic) round(through func(*segment) bool) bool {
	const mss, request = 1448, 32
	client := func(n uint32) bool {
		if !through(&segment{seq: b.snd, end: b.snd + n, ack: b.rcv, win: flowWindow}) {
			return false
		}
		b.snd, b.moved = b.snd+n, b.moved+int(n)
		return true
	}
	server := func(n uint32) bool {
		if !through(&segment{seq: b.rcv, end: b.rcv + n, ack: b.snd, win: flowWindow, reply: true}) {
			return false
		}
		b.rcv, b.moved = b.rcv+n, b.moved+int(n)
		return true
	}
	switch b.kind {
	case echo:
		return client(request) && server(request) && client(0)
	case download:
		client, server = server, client
	}
	for range 10 {
		if !client(mss) {
			return false
		}
	}
	return server(0)
}

// Outcomes of the measurement.
const (
	works = iota
	dead
	stops // after some tens of kB
	isReset
)

// lives tells what becomes of some traffic through one state.
func lives(b *traffic, st *syncproto.State) int {
	begin, wasReset := b.moved, false
	for range 50 {
		if !b.round(func(p *segment) bool {
			v := pfTests(st, p)
			wasReset = wasReset || v == reset
			return v == passes
		}) {
			switch {
			case wasReset:
				return isReset
			case b.moved-begin > 50_000 && b.moved-begin < 80_000:
				return stops
			}
			return dead
		}
	}
	return works
}

// TestPFModel reproduces the table of linux-facts section 9: what was injected,
// the first time through pf, and again after being away, for each kind of
// traffic. Rows about what the states of a pair are are in the tests below.
func TestPFModel(t *testing.T) {
	const w, d, s, r = works, dead, stops, isReset
	tests := []struct {
		name         string
		flags        uint16
		src, dst     uint8
		seqhi        uint32
		win          uint16
		wscale       uint8
		first, again [trafficKinds]int // upload, download, echo
	}{
		{"strict 4:4, 0/0/0", 0, 4, 4, 0, 0, 0x8b, [3]int{d, d, d}, [3]int{d, d, d}},
		{"strict 4:4, 0/1/1", 0, 4, 4, 1, 1, 0x8b, [3]int{d, d, d}, [3]int{d, d, d}},
		{"strict 0:0, 0/1/1", 0, 0, 0, 1, 1, 0x8b, [3]int{w, w, w}, [3]int{d, d, w}},
		{"strict 0:0, 0/1/65535", 0, 0, 0, 1, 65535, 0x8b, [3]int{w, w, w}, [3]int{w, w, w}},
		{"strict 0:0, 0/1/65535, no wscale", 0, 0, 0, 1, 65535, 0, [3]int{s, s, w}, [3]int{d, d, w}},
		{"strict 2:0, 0/1/65535", 0, 2, 0, 1, 65535, 0x8b, [3]int{w, r, w}, [3]int{w, r, w}},
		{"sloppy 4:4, 0/1/1", syncproto.FlagSloppy, 4, 4, 1, 1, 0x8b, [3]int{}, [3]int{}},
		{"sloppy 4:4, 0/1/1, no wscale", syncproto.FlagSloppy, 4, 4, 1, 1, 0, [3]int{}, [3]int{}},
		{"sloppy 4:4, 0/0/0", syncproto.FlagSloppy, 4, 4, 0, 0, 0x8b, [3]int{}, [3]int{}},
		{"sloppy 2:0", syncproto.FlagSloppy, 2, 0, 1, 1, 0x8b, [3]int{}, [3]int{}},
		{"sloppy 2:2", syncproto.FlagSloppy, 2, 2, 1, 1, 0x8b, [3]int{}, [3]int{}},
	}
	for _, tt := range tests {
		for k := range trafficKinds {
			t.Run(tt.name+", "+k.String(), func(t *testing.T) {
				p := syncproto.Peer{SeqHi: tt.seqhi, MaxWin: tt.win, WScale: tt.wscale}
				st := syncproto.State{StateFlags: tt.flags, Src: p, Dst: p}
				st.Src.State, st.Dst.State = tt.src, tt.dst
				b := newTraffic(k)
				if got := lives(b, &st); got != tt.first[k] {
					t.Errorf("first time %d, want %d", got, tt.first[k])
				}
				elsewhere(b)
				if got := lives(b, &st); got != tt.again[k] {
					t.Errorf("again %d, want %d", got, tt.again[k])
				}
			})
		}
	}
	for k, again := range map[trafficKind]int{upload: dead, download: dead, echo: works} {
		t.Run("strict, made by pf, missed five seconds, "+k.String(), func(t *testing.T) {
			b := newTraffic(k)
			st := madeByPF(b)
			if lives(b, st) != works {
				t.Fatal("pf's own state is dead")
			}
			elsewhere(b)
			if got := lives(b, st); got != again {
				t.Errorf("%d, want %d", got, again)
			}
		})
	}
}

// madeByPF is a state that a pf has seen from the beginning.
func madeByPF(b *traffic) *syncproto.State {
	p := syncproto.Peer{MaxWin: flowWindow, WScale: 0x8b, State: 4}
	st := syncproto.State{Src: p, Dst: p}
	st.Src.SeqLo, st.Src.SeqHi = b.snd, b.snd+flowWindow<<11
	st.Dst.SeqLo, st.Dst.SeqHi = b.rcv, b.rcv+flowWindow<<11
	return &st
}

// TestPFModelStates: what pf makes of the peers of a sloppy state, by who is
// heard first: 2:0 stays 4:0 if it is the responder.
func TestPFModelStates(t *testing.T) {
	tests := []struct {
		src, dst uint8
		first    bool // the responder's packet is first
		want     [2]uint8
	}{
		{2, 0, false, [2]uint8{4, 4}}, {2, 0, true, [2]uint8{4, 0}},
		{2, 2, false, [2]uint8{4, 4}}, {2, 2, true, [2]uint8{4, 4}}, {4, 4, true, [2]uint8{4, 4}},
	}
	for _, tt := range tests {
		st := syncproto.State{StateFlags: syncproto.FlagSloppy}
		st.Src.State, st.Dst.State = tt.src, tt.dst
		for i := range 4 {
			pfTests(&st, &segment{reply: (i%2 == 0) == tt.first})
		}
		if got := [2]uint8{st.Src.State, st.Dst.State}; got != tt.want {
			t.Errorf("%d:%d, responder first %v: %v, want %v", tt.src, tt.dst, tt.first, got, tt.want)
		}
	}
}

// TestPFModelUpdates: what updates do to states of a pf (linux-facts section 9,
// below the table).
func TestPFModelUpdates(t *testing.T) {
	given := syncproto.Peer{SeqHi: 1, MaxWin: 1, WScale: 0x8b, State: 4}
	t.Run("a sloppy state takes 0/1/1 and lives", func(t *testing.T) {
		p := &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}
		st := &syncproto.State{StateFlags: syncproto.FlagSloppy, Src: given, Dst: given}
		p.update(st, given, given)
		if lives(newTraffic(upload), st) != works {
			t.Error("dead")
		}
	})
	t.Run("a strict state picked up dies of it", func(t *testing.T) {
		p := &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}
		b := newTraffic(upload)
		start := syncproto.Peer{SeqHi: 1, MaxWin: 65535, WScale: 0x8b}
		st := &syncproto.State{Src: start, Dst: start}
		if lives(b, st) != works {
			t.Fatal("not picked up")
		}
		b.snd, b.rcv = 0x91223344, 0x99aabbcc // bit 31 set: 0 is newer
		st = madeByPF(b)
		p.update(st, given, given)
		if lives(b, st) == works {
			t.Error("lives")
		}
	})
	t.Run("flags of a known state never change, nor is a second name imported", func(t *testing.T) {
		p := &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}
		in, _ := strictPair(nil, 4, 4)
		p.hear(insert(syncproto.ActIns, in))
		sloppy := in
		sloppy.StateFlags = syncproto.FlagSloppy
		p.hear(insert(syncproto.ActUpd, sloppy))
		other := sloppy
		other.ID, other.CreatorID = 99, rigHost
		p.hear(insert(syncproto.ActIns, other))
		if len(p.states) != 1 || p.states[in.StateID()].StateFlags != 0 {
			t.Errorf("%d states", len(p.states))
		}
		p.hear(pfFrame(func(w *syncproto.Builder) {
			id := in.StateID()
			w.AddID(syncproto.ActDelC, &id)
			w.AddState(syncproto.ActIns, syncproto.Format6, &other)
		}))
		if st := p.states[other.StateID()]; len(p.states) != 1 || st == nil {
			t.Error("deleted and inserted in one frame: not imported")
		}
	})
	t.Run("one state of a pair lets nothing pass", func(t *testing.T) {
		in, out := strictPair(nil, 4, 4)
		in.StateFlags, out.StateFlags = syncproto.FlagSloppy, syncproto.FlagSloppy
		for _, list := range [][]syncproto.State{{in}, {out}, {}} {
			p := &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}}
			p.hear(insert(syncproto.ActIns, list...))
			if newTraffic(echo).round(p.through) {
				t.Errorf("%d states will do", len(list))
			}
		}
	})
}

// elsewhere lets much more than a window pass on another way.
func elsewhere(b *traffic) {
	for range 200 {
		b.round(func(*segment) bool { return true })
	}
}
