package pfstate

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var tcpNames = [TCPMax]string{"none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "syn_sent2"}

// TestTCPIdentity: Linux → pf → Linux is identity for every conntrack state,
// whoever closed first (design section 5, TCP).
func TestTCPIdentity(t *testing.T) {
	closers := []struct {
		name  string
		flags [2]uint8
		first int // who closes first, where the state tells
	}{
		{"no flag", [2]uint8{}, 0},
		{"orig", [2]uint8{TCPFlagCloseInit, 0}, 0},
		{"reply", [2]uint8{0, TCPFlagCloseInit}, 1},
		{"both", [2]uint8{TCPFlagCloseInit, TCPFlagCloseInit}, 0},
		{"reply among others", [2]uint8{TCPFlagLiberal | TCPFlagWScale, TCPFlagCloseInit | TCPFlagSackPerm}, 1},
	}
	for state := range TCPMax {
		for _, c := range closers {
			t.Run(tcpNames[state]+"/"+c.name, func(t *testing.T) {
				src, dst := TCPToPeers(state, c.flags)
				got, closer := TCPFromPeers(src, dst)
				if got != state {
					t.Errorf("%d:%d is state %d", src, dst, got)
				}
				want := -1
				if state >= TCPFinWait && state <= TCPLastAck {
					want = c.first
				}
				if closer != want {
					t.Errorf("%d:%d: closed first %d, want %d", src, dst, closer, want)
				}
			})
		}
	}
}

// TestTCPToPeers is the table of design section 5.
func TestTCPToPeers(t *testing.T) {
	orig, reply := [2]uint8{TCPFlagCloseInit, 0}, [2]uint8{0, TCPFlagCloseInit}
	for _, tc := range []struct {
		name     string
		state    uint8
		flags    [2]uint8
		src, dst uint8
	}{
		{"none", TCPNone, orig, 0, 0},
		{"syn_sent", TCPSynSent, orig, 2, 0},
		{"syn_sent2", TCPSynSent2, reply, 2, 1},
		{"syn_recv", TCPSynRecv, reply, 2, 2},
		{"established", TCPEstablished, reply, 4, 4},
		{"fin_wait by orig", TCPFinWait, orig, 7, 4},
		{"fin_wait by reply", TCPFinWait, reply, 4, 7},
		{"close_wait by orig", TCPCloseWait, orig, 9, 4},
		{"close_wait by reply", TCPCloseWait, reply, 4, 9},
		{"last_ack by orig", TCPLastAck, orig, 9, 7},
		{"last_ack by reply", TCPLastAck, reply, 7, 9},
		{"time_wait", TCPTimeWait, reply, 9, 9},
		{"close", TCPClose, reply, 10, 10},
		{"out of range", TCPMax, orig, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if src, dst := TCPToPeers(tc.state, tc.flags); src != tc.src || dst != tc.dst {
				t.Errorf("%d:%d, want %d:%d", src, dst, tc.src, tc.dst)
			}
		})
	}
}

// pairStates is what every pair of halves that can stand in a record is to
// conntrack: rows are src 0 to 12, columns dst 0 to 12. N none, s SYN_SENT,
// S SYN_SENT2, R SYN_RECV, E ESTABLISHED, F FIN_WAIT, W CLOSE_WAIT,
// L LAST_ACK, T TIME_WAIT, C CLOSE.
var pairStates = [13]string{
	/*  0 closed      */ "NSssEEEFFWCss",
	/*  1 listen      */ "sSssEEEFFWCss",
	/*  2 syn_sent    */ "sSRREEEFFWCss",
	/*  3 syn_rcvd    */ "sSRREEEFFWCss",
	/*  4 established */ "EEEEEEEFFWCss",
	/*  5 close_wait  */ "EEEEEEEFFWCss",
	/*  6 fin_wait_1  */ "EEEEEEEFFWCss",
	/*  7 closing     */ "FFFFFFFLLLCss",
	/*  8 last_ack    */ "FFFFFFFLLLCss",
	/*  9 fin_wait_2  */ "WWWWWWWLLTCss",
	/* 10 time_wait   */ "CCCCCCCCCCCss",
	/* 11 proxy src   */ "sssssssssssss",
	/* 12 proxy dst   */ "sssssssssssss",
}

var pairLetters = map[byte]uint8{
	'N': TCPNone, 's': TCPSynSent, 'S': TCPSynSent2, 'R': TCPSynRecv, 'E': TCPEstablished,
	'F': TCPFinWait, 'W': TCPCloseWait, 'L': TCPLastAck, 'T': TCPTimeWait, 'C': TCPClose,
}

// TestTCPFromPeers: every pair that a pf can send has a state of conntrack.
func TestTCPFromPeers(t *testing.T) {
	for src := range uint8(13) {
		for dst := range uint8(13) {
			t.Run(fmt.Sprintf("%d:%d", src, dst), func(t *testing.T) {
				state, closer := TCPFromPeers(src, dst)
				if want := pairLetters[pairStates[src][dst]]; state != want {
					t.Errorf("state %s, want %s", tcpNames[state], tcpNames[want])
				}
				wantCloser := -1
				if state >= TCPFinWait && state <= TCPLastAck {
					wantCloser = 0
					if dst > src && (dst == PFFinWait2 || src < PFClosing) {
						wantCloser = 1
					}
				}
				if closer != wantCloser {
					t.Errorf("closer %d, want %d", closer, wantCloser)
				}
			})
		}
	}
}

// TestTCPFromPeersProgress: a half that moves on never takes the kernel's
// state back in time.
func TestTCPFromPeersProgress(t *testing.T) {
	age := [TCPMax]int{TCPNone: 0, TCPSynSent: 1, TCPSynSent2: 2, TCPSynRecv: 3, TCPEstablished: 4, TCPFinWait: 5, TCPCloseWait: 6, TCPLastAck: 7, TCPTimeWait: 8, TCPClose: 9}
	steps := []uint8{PFClosed, PFSynSent, PFEstablished, PFClosing, PFFinWait2, PFTimeWait}
	for i, src := range steps {
		for j, dst := range steps {
			was, _ := TCPFromPeers(src, dst)
			for _, next := range steps[i+1:] {
				if s, _ := TCPFromPeers(next, dst); age[s] < age[was] {
					t.Errorf("%d:%d is %s, %d:%d is %s", src, dst, tcpNames[was], next, dst, tcpNames[s])
				}
			}
			for _, next := range steps[j+1:] {
				if s, _ := TCPFromPeers(src, next); age[s] < age[was] {
					t.Errorf("%d:%d is %s, %d:%d is %s", src, dst, tcpNames[was], src, next, tcpNames[s])
				}
			}
		}
	}
}

func TestOtherToPeers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		proto    uint8
		status   uint32
		src, dst uint8
	}{
		{"udp fresh", ProtoUDP, StatusConfirmed, 1, 0},
		{"udp answered", ProtoUDP, StatusConfirmed | StatusSeenReply, 2, 1},
		{"udp assured", ProtoUDP, StatusConfirmed | StatusSeenReply | StatusAssured, 2, 2},
		{"gre answered", ProtoGRE, StatusSeenReply, 2, 1},
		{"sctp assured", ProtoSCTP, StatusAssured, 2, 2},
		{"esp fresh", ProtoESP, 0, 1, 0},
		{"icmp", ProtoICMP, StatusSeenReply | StatusAssured, 0, 0},
		{"icmpv6", ProtoICMPv6, StatusSeenReply, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if src, dst := OtherToPeers(tc.proto, tc.status); src != tc.src || dst != tc.dst {
				t.Errorf("%d:%d, want %d:%d", src, dst, tc.src, tc.dst)
			}
		})
	}
}

// TestStatusFromPeers: what an entry made of a record needs for packets in the
// middle of a connection to pass.
func TestStatusFromPeers(t *testing.T) {
	const fresh, answered, assured = StatusConfirmed, StatusConfirmed | StatusSeenReply, StatusConfirmed | StatusSeenReply | StatusAssured
	for _, tc := range []struct {
		name     string
		proto    uint8
		src, dst uint8
		want     uint32
	}{
		{"tcp none", ProtoTCP, 0, 0, fresh},
		{"tcp syn sent", ProtoTCP, 2, 0, fresh},
		{"tcp simultaneous open", ProtoTCP, 2, 1, fresh},
		{"tcp syn recv", ProtoTCP, 2, 2, answered},
		{"tcp established", ProtoTCP, 4, 4, assured},
		{"tcp half established", ProtoTCP, 4, 2, assured},
		{"tcp fin wait", ProtoTCP, 4, 7, assured},
		{"tcp time wait", ProtoTCP, 9, 9, assured},
		{"tcp close", ProtoTCP, 10, 10, assured},
		{"tcp proxy", ProtoTCP, 11, 4, fresh},
		{"udp fresh", ProtoUDP, 1, 0, fresh},
		{"udp answered", ProtoUDP, 2, 1, answered},
		{"udp single both", ProtoUDP, 1, 1, answered},
		{"udp stream", ProtoUDP, 2, 2, assured},
		{"esp stream", ProtoESP, 2, 2, assured},
		{"icmp", ProtoICMP, 0, 0, answered},
		{"icmpv6", ProtoICMPv6, 0, 0, answered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := StatusFromPeers(tc.proto, tc.src, tc.dst); got != tc.want {
				t.Errorf("%#x, want %#x", got, tc.want)
			}
		})
	}
}

// TestStatusIdentity: what peers are told of an entry gives the same status
// there.
func TestStatusIdentity(t *testing.T) {
	const mask = StatusSeenReply | StatusAssured
	for _, proto := range []uint8{ProtoUDP, ProtoUDPLite, ProtoSCTP, ProtoDCCP, ProtoGRE, ProtoESP, ProtoAH, 99} {
		for _, status := range []uint32{0, StatusSeenReply, StatusSeenReply | StatusAssured} {
			src, dst := OtherToPeers(proto, status)
			if got := StatusFromPeers(proto, src, dst) & mask; got != status {
				t.Errorf("protocol %d, status %#x: %d:%d gives %#x", proto, status, src, dst, got)
			}
		}
	}
}

func TestTimeoutIndex(t *testing.T) {
	for _, tc := range []struct {
		name     string
		proto    uint8
		src, dst uint8
		want     uint8
	}{
		{"tcp first", ProtoTCP, 2, 0, TimeoutTCPFirst},
		{"tcp none", ProtoTCP, 0, 0, TimeoutTCPFirst},
		{"tcp opening", ProtoTCP, 2, 2, TimeoutTCPOpening},
		{"tcp simultaneous open", ProtoTCP, 2, 1, TimeoutTCPOpening},
		{"tcp half open", ProtoTCP, 4, 2, TimeoutTCPOpening},
		{"tcp established", ProtoTCP, 4, 4, TimeoutTCPEstablished},
		{"tcp closing", ProtoTCP, 7, 4, TimeoutTCPClosing},
		{"tcp closing by destination", ProtoTCP, 4, 9, TimeoutTCPClosing},
		{"tcp fin wait", ProtoTCP, 9, 7, TimeoutTCPFinWait},
		{"tcp closed", ProtoTCP, 9, 9, TimeoutTCPClosed},
		{"tcp time wait", ProtoTCP, 10, 10, TimeoutTCPClosed},
		{"tcp proxy", ProtoTCP, 11, 0, TimeoutTCPFirst},
		{"udp first", ProtoUDP, 1, 0, TimeoutUDPFirst},
		{"udp single", ProtoUDP, 2, 1, TimeoutUDPSingle},
		{"udp multiple", ProtoUDP, 2, 2, TimeoutUDPMultiple},
		{"icmp", ProtoICMP, 0, 0, TimeoutICMPFirst},
		{"icmpv6", ProtoICMPv6, 0, 0, TimeoutICMPFirst},
		{"other first", ProtoESP, 1, 0, TimeoutOtherFirst},
		{"other single", ProtoGRE, 2, 1, TimeoutOtherSingle},
		{"other multiple", ProtoSCTP, 2, 2, TimeoutOtherMultiple},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := TimeoutIndex(tc.proto, tc.src, tc.dst); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
	for src := range uint8(13) {
		for dst := range uint8(13) {
			for _, proto := range []uint8{ProtoTCP, ProtoUDP, ProtoICMP, ProtoSCTP} {
				if got := TimeoutIndex(proto, src, dst); got > TimeoutOtherMultiple {
					t.Errorf("protocol %d, %d:%d: no such timeout: %d", proto, src, dst, got)
				}
			}
		}
	}
}

// TestDefaultTimeouts: every state of every protocol has one.
func TestDefaultTimeouts(t *testing.T) {
	d := DefaultTimeouts()
	for proto := range 256 {
		for state := range uint8(12) {
			for _, status := range []uint32{0, StatusSeenReply, StatusSeenReply | StatusAssured} {
				if d.For(uint8(proto), state, status) == 0 {
					t.Fatalf("protocol %d state %d status %#x: no timeout", proto, state, status)
				}
			}
		}
	}
	if diff := cmp.Diff(d, DefaultTimeouts()); diff != "" {
		t.Error(diff)
	}
}
