package pfstate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kernelFlow is an entry as a dump tells it.
func kernelFlow(proto uint8) Flow {
	c := natCase{snat: true}
	f := c.translated(AFInet, proto)
	f.Has = HasTimeout | HasStatus | HasMark
	f.Status = StatusConfirmed | StatusSeenReply | StatusAssured
	f.Timeout, f.Mark, f.CtID = 90, 0x42, 99
	return f
}

// stateOf enters a flow in a table as the engine does.
func stateOf(tab *Table, f *Flow) *State {
	_, s := tab.Alloc(f.AF, f.Proto)
	s.Orig, s.Reply, s.Zone, s.Mark = f.Orig, f.Reply, f.Zone, f.Mark
	if f.Proto != ProtoTCP {
		s.Src.State, s.Dst.State = OtherToPeers(f.Proto, 0)
	}
	tab.Absorb(s, f)
	return s
}

// TestAbsorbRoundTrip: what the kernel told of an entry is what another is
// told to make.
func TestAbsorbRoundTrip(t *testing.T) {
	const both = TCPFlagLiberal
	for _, tc := range []struct {
		name  string
		proto uint8
		flow  func(f *Flow)
		want  func(f *Flow) // what differs on the way back
	}{
		{name: "tcp established", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.WScale = TCPEstablished, [2]uint8{7, 9}
			f.TCPFlags = [2]uint8{TCPFlagWScale | TCPFlagSackPerm, TCPFlagWScale | TCPFlagSackPerm}
		}, want: func(f *Flow) { f.TCPFlags[0] |= both; f.TCPFlags[1] |= both }},
		{name: "tcp without options", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState = TCPEstablished
		}, want: func(f *Flow) { // sack is allowed where nothing is known
			f.TCPFlags = [2]uint8{both | TCPFlagSackPerm, both | TCPFlagSackPerm}
		}},
		{name: "tcp window scale of zero", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.WScale = TCPEstablished, [2]uint8{0, 3}
			f.TCPFlags = [2]uint8{TCPFlagWScale, TCPFlagWScale}
		}, want: func(f *Flow) { f.TCPFlags[0] |= both; f.TCPFlags[1] |= both }},
		{name: "tcp liberal", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.TCPFlags = TCPSynRecv, [2]uint8{both, both}
		}},
		{name: "tcp closed by orig", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.TCPFlags = TCPCloseWait, [2]uint8{both | TCPFlagCloseInit, both}
		}},
		{name: "tcp closed by reply", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.TCPFlags = TCPLastAck, [2]uint8{both, both | TCPFlagCloseInit}
		}},
		{name: "tcp over", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.TCPFlags = TCPTimeWait, [2]uint8{both, both | TCPFlagCloseInit}
		}},
		{name: "tcp reset", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.TCPFlags = TCPClose, [2]uint8{both, both}
		}, want: func(f *Flow) { f.TCPFlags[0] |= TCPFlagCloseInit }}, // so that the ports can be used again
		{name: "udp", proto: ProtoUDP},
		{name: "udplite", proto: ProtoUDPLite},
		{name: "icmp", proto: ProtoICMP},
		{name: "gre", proto: ProtoGRE, flow: func(f *Flow) { f.Orig.SrcPort, f.Reply.DstPort = 5, 5 }},
		{name: "esp", proto: ProtoESP},
		{name: "ah", proto: ProtoAH},
		{name: "sctp", proto: ProtoSCTP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.VTag = 4, [2]uint32{0x11111111, 0x22222222}
		}},
		{name: "dccp", proto: ProtoDCCP, flow: func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState, f.DCCPRole, f.DCCPSeq = 4, 1, 0x123456789abc
		}},
		{name: "zone, labels, helper, sequence adjustment", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto | HasLabels | HasHelper | HasSeqAdj
			f.Zone = [2]uint16{3, 4}
			f.ProtoState, f.TCPFlags = TCPEstablished, [2]uint8{both, both}
			f.Labels, f.Helper = [16]byte{3: 0x80}, [16]byte{'f', 't', 'p'}
			f.SeqAdj = [2]SeqAdj{{1, 2, 3}, {4, -5, -6}}
		}},
		{name: "sequence adjustment of zeros", proto: ProtoTCP, flow: func(f *Flow) {
			f.Has |= HasProto | HasSeqAdj
			f.ProtoState, f.TCPFlags = TCPEstablished, [2]uint8{both, both}
		}, want: func(f *Flow) { f.Has &^= HasSeqAdj }},
		{name: "fixed timeout", proto: ProtoUDP, flow: func(f *Flow) { f.Status |= StatusFixedTimeout }},
		{name: "bits that ctnetlink does not take", proto: ProtoUDP,
			flow: func(f *Flow) { f.Status |= StatusSrcNAT | StatusHelper },
			want: func(f *Flow) { f.Status &^= StatusSrcNAT | StatusHelper }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := kernelFlow(tc.proto)
			if tc.flow != nil {
				tc.flow(&f)
			}
			tab := NewTable(1)
			s := stateOf(tab, &f)
			const now = 1000 * second
			s.Expire = now + int64(f.Timeout)*second
			want := f
			if tc.want != nil {
				tc.want(&want)
			}
			if diff := cmp.Diff(want, tab.FlowOf(s, now)); diff != "" {
				t.Errorf("FlowOf (-want +got):\n%s", diff)
			}
			if c := tab.Absorb(s, &f); c != 0 {
				t.Errorf("the same again is a change: %d", c)
			}
			s.Set(FlagReversed, true)
			if diff := cmp.Diff(want.Reversed(), tab.FlowOf(s, now)); diff != "" {
				t.Errorf("reversed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlowOfTimeout(t *testing.T) {
	const now = 50 * second
	for _, tc := range []struct {
		name   string
		expire int64
		want   uint32
	}{
		{"over", now - second, 1}, // 0 would end the entry at once
		{"now", now, 1},
		{"rounded up", now + 2*second + second/2, 3},
		{"rounded down", now + 2*second + second/3, 2},
		{"far", now + 432000*second, 432000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := State{AF: AFInet, Proto: ProtoUDP, Expire: tc.expire}
			if f := NewTable(1).FlowOf(&s, now); f.Timeout != tc.want {
				t.Errorf("Timeout = %d, want %d", f.Timeout, tc.want)
			}
		})
	}
}

// TestAbsorbChange: what is new to peers, and that a half never moves back.
func TestAbsorbChange(t *testing.T) {
	tcp := func(state uint8, flags ...uint8) func(*Flow) {
		return func(f *Flow) {
			f.Has |= HasProto
			f.ProtoState = state
			copy(f.TCPFlags[:], flags)
		}
	}
	for _, tc := range []struct {
		name     string
		proto    uint8
		was, is  func(*Flow)
		want     Change
		src, dst uint8
	}{
		{"tcp moves on", ProtoTCP, tcp(TCPSynSent), tcp(TCPSynRecv), ChangePeers, 2, 2},
		{"tcp stays", ProtoTCP, tcp(TCPEstablished), tcp(TCPEstablished), 0, 4, 4},
		{"tcp destination closes", ProtoTCP, tcp(TCPEstablished), tcp(TCPFinWait, TCPFlagSackPerm, TCPFlagSackPerm|TCPFlagCloseInit), ChangePeers, 4, 7},
		{"tcp lags behind", ProtoTCP, tcp(TCPFinWait, TCPFlagCloseInit, 0), tcp(TCPEstablished), 0, 7, 4},
		{"tcp begins again", ProtoTCP, tcp(TCPEstablished), tcp(TCPSynSent), ChangeBack, 4, 4},
		{"tcp begins again after its end", ProtoTCP, tcp(TCPTimeWait), tcp(TCPSynSent), ChangeBack, 9, 9},
		{"tcp begins again answered", ProtoTCP, tcp(TCPEstablished), tcp(TCPSynRecv), ChangeBack, 4, 4},
		{"tcp opened from both ends", ProtoTCP, tcp(TCPSynSent), tcp(TCPSynSent2), ChangePeers, 2, 1},
		{"tcp without sack", ProtoTCP, tcp(TCPSynSent, TCPFlagSackPerm), tcp(TCPSynRecv, TCPFlagSackPerm, TCPFlagWScale), ChangePeers | ChangeMeta, 2, 2},
		{"tcp without sack still", ProtoTCP, tcp(TCPSynRecv, TCPFlagSackPerm, TCPFlagWScale), tcp(TCPEstablished, TCPFlagSackPerm, TCPFlagWScale), ChangePeers, 4, 4},
		{"tcp flags alone", ProtoTCP, tcp(TCPEstablished, TCPFlagSackPerm, TCPFlagSackPerm), tcp(TCPEstablished, TCPFlagWScale, TCPFlagSackPerm), ChangeMeta, 4, 4},
		{"tcp flags of no news", ProtoTCP, tcp(TCPEstablished, TCPFlagSackPerm, TCPFlagSackPerm), tcp(TCPEstablished, TCPFlagSackPerm|TCPFlagLiberal, TCPFlagSackPerm|0x20), 0, 4, 4},
		{"tcp without protoinfo", ProtoTCP, tcp(TCPEstablished), nil, 0, 4, 4},
		{"udp answered", ProtoUDP, func(f *Flow) { f.Status = StatusConfirmed }, func(f *Flow) { f.Status = StatusConfirmed | StatusSeenReply }, ChangePeers, 2, 1},
		{"udp assured", ProtoUDP, func(f *Flow) { f.Status &^= StatusAssured }, nil, ChangePeers, 2, 2},
		{"status never shrinks", ProtoUDP, nil, func(f *Flow) { f.Status = StatusConfirmed }, 0, 2, 2},
		{"icmp answered", ProtoICMP, func(f *Flow) { f.Status = StatusConfirmed }, nil, ChangePeers, 0, 0},
		{"mark", ProtoUDP, nil, func(f *Flow) { f.Mark++ }, ChangeMeta, 2, 2},
		{"labels", ProtoUDP, nil, func(f *Flow) { f.Has |= HasLabels; f.Labels[0] = 1 }, ChangeMeta, 2, 2},
		{"the same labels", ProtoUDP, func(f *Flow) { f.Has |= HasLabels; f.Labels[0] = 1 }, func(f *Flow) { f.Has |= HasLabels; f.Labels[0] = 1 }, 0, 2, 2},
		{"labels not told", ProtoUDP, func(f *Flow) { f.Has |= HasLabels; f.Labels[0] = 1 }, nil, 0, 2, 2},
		{"helper", ProtoUDP, nil, func(f *Flow) { f.Has |= HasHelper; f.Helper[0] = 'x' }, ChangeMeta, 2, 2},
		{"sctp state", ProtoSCTP, func(f *Flow) { f.Has |= HasProto; f.ProtoState = 1 }, func(f *Flow) { f.Has |= HasProto; f.ProtoState = 2 }, ChangeMeta, 2, 2},
		{"sctp tags", ProtoSCTP, func(f *Flow) { f.Has |= HasProto }, func(f *Flow) { f.Has |= HasProto; f.VTag[1] = 1 }, ChangeMeta, 2, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			was, is := kernelFlow(tc.proto), kernelFlow(tc.proto)
			if tc.was != nil {
				tc.was(&was)
			}
			if tc.is != nil {
				tc.is(&is)
			}
			tab := NewTable(1)
			s := stateOf(tab, &was)
			if got := tab.Absorb(s, &is); got != tc.want {
				t.Errorf("Absorb = %d, want %d", got, tc.want)
			}
			if s.Src.State != tc.src || s.Dst.State != tc.dst {
				t.Errorf("halves %d:%d, want %d:%d", s.Src.State, s.Dst.State, tc.src, tc.dst)
			}
			if want := TimeoutIndex(s.Proto, s.Src.State, s.Dst.State); s.Timeout != want {
				t.Errorf("Timeout = %d, want %d", s.Timeout, want)
			}
		})
	}
}

// TestExtraReuse: a place in the list of extras that was given back is empty
// for its next owner.
func TestExtraReuse(t *testing.T) {
	tab := NewTable(1)
	r, s := tab.Alloc(AFInet, ProtoUDP)
	tab.NeedExtra(s).Labels[0] = 1
	tab.Free(r)
	_, s = tab.Alloc(AFInet, ProtoUDP)
	if tab.Extra(s) != nil {
		t.Error("a new state has the extra of the old one")
	}
	if x := tab.NeedExtra(s); *x != (Extra{}) {
		t.Errorf("not empty: %+v", *x)
	}
	if len(tab.extra) != 1 {
		t.Errorf("%d extras for one state", len(tab.extra))
	}
}

// TestAbsorbSeqAdj: a kernel that is behind takes no adjustment back, and one
// that has a later one is believed.
func TestAbsorbSeqAdj(t *testing.T) {
	plain := func(d int32) SeqAdj { return SeqAdj{Before: d, After: d} }
	for _, tc := range []struct {
		name             string
		have, told, want SeqAdj
		imported         bool
	}{
		{"first", SeqAdj{}, plain(5), plain(5), false},
		{"none", plain(5), SeqAdj{}, plain(5), false},
		{"none of ours", plain(5), SeqAdj{}, plain(5), true},
		{"another proxied", plain(5), plain(6), plain(6), false},
		{"not yet ours", plain(5), plain(6), plain(5), true},
		{"on top of ours", plain(5), SeqAdj{100, 5, 8}, SeqAdj{100, 5, 8}, true},
		{"moved on", SeqAdj{100, 5, 8}, SeqAdj{200, 8, 9}, SeqAdj{200, 8, 9}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for dir := range 2 {
				f := kernelFlow(ProtoTCP)
				tab := NewTable(1)
				s := stateOf(tab, &f)
				s.Set(FlagImported, tc.imported)
				x := tab.NeedExtra(s)
				x.SeqAdj[dir], x.SeqAdj[1-dir], x.Has = tc.have, plain(1), HasSeqAdj
				f.SeqAdj[dir] = tc.told
				f.Has |= HasSeqAdj
				tab.Absorb(s, &f)
				if got := x.SeqAdj; got[dir] != tc.want || got[1-dir] != plain(1) {
					t.Errorf("%v, want %v", got, tc.want)
				}
			}
		})
	}
}
