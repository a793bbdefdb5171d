package pfstate

// Peer states as pf counts them (pfsync-protocol.md section 7.2).
const (
	PFClosed      uint8 = 0
	PFListen      uint8 = 1
	PFSynSent     uint8 = 2
	PFEstablished uint8 = 4
	PFClosing     uint8 = 7
	PFFinWait2    uint8 = 9
	PFTimeWait    uint8 = 10
	PFProxySrc    uint8 = 11
	PFProxyDst    uint8 = 12

	PFNoTraffic uint8 = 0 // UDP and others
	PFSingle    uint8 = 1
	PFMultiple  uint8 = 2
)

// Timeout indexes (PFTM_*, pfsync-protocol.md section 7.1).
const (
	TimeoutTCPFirst       uint8 = 0
	TimeoutTCPOpening     uint8 = 1
	TimeoutTCPEstablished uint8 = 2
	TimeoutTCPClosing     uint8 = 3
	TimeoutTCPFinWait     uint8 = 4
	TimeoutTCPClosed      uint8 = 5
	TimeoutUDPFirst       uint8 = 6
	TimeoutUDPSingle      uint8 = 7
	TimeoutUDPMultiple    uint8 = 8
	TimeoutICMPFirst      uint8 = 9
	TimeoutICMPError      uint8 = 10
	TimeoutOtherFirst     uint8 = 11
	TimeoutOtherSingle    uint8 = 12
	TimeoutOtherMultiple  uint8 = 13
)

// tcpPeers gives the peer states, of who closes first and of the other, of a
// conntrack TCP state (design section 5, TCP). Where nobody closes, "first" is
// the source.
var tcpPeers = [TCPMax][2]uint8{
	TCPNone:        {PFClosed, PFClosed},
	TCPSynSent:     {PFSynSent, PFClosed},
	TCPSynRecv:     {PFSynSent, PFSynSent},
	TCPEstablished: {PFEstablished, PFEstablished},
	TCPFinWait:     {PFClosing, PFEstablished},
	TCPCloseWait:   {PFFinWait2, PFEstablished},
	TCPLastAck:     {PFFinWait2, PFClosing},
	TCPTimeWait:    {PFFinWait2, PFFinWait2},
	TCPClose:       {PFTimeWait, PFTimeWait},
	TCPSynSent2:    {PFSynSent, PFListen},
}

// TCPToPeers maps a conntrack TCP state to pf's two peer states. flags are
// those of the original and the reply direction: CLOSE_INIT in the reply
// direction means that the destination closed first.
func TCPToPeers(state uint8, flags [2]uint8) (src, dst uint8) {
	if state >= TCPMax {
		return PFClosed, PFClosed
	}
	p := tcpPeers[state]
	closing := state >= TCPFinWait && state <= TCPLastAck
	if closing && flags[1]&TCPFlagCloseInit != 0 && flags[0]&TCPFlagCloseInit == 0 {
		return p[1], p[0]
	}
	return p[0], p[1]
}

// TCPFromPeers is the inverse of TCPToPeers, and says for every other pair
// that a pf can send which conntrack state treats the packets alike. closer is
// the direction that closed first, -1 if nobody did or both look the same.
func TCPFromPeers(src, dst uint8) (state uint8, closer int) {
	hi, lo, closer := src, dst, 0
	if dst > src {
		hi, lo, closer = dst, src, 1
	}
	switch {
	case hi >= PFProxySrc: // synproxy: nothing has passed yet
		return TCPSynSent, -1
	case hi == PFTimeWait:
		return TCPClose, -1
	case hi == PFFinWait2 && lo == PFFinWait2:
		return TCPTimeWait, -1
	case hi == PFFinWait2 && lo >= PFClosing:
		return TCPLastAck, closer
	case hi < PFFinWait2 && lo >= PFClosing: // both FINs seen, none acknowledged
		return TCPLastAck, 0
	case hi == PFFinWait2:
		return TCPCloseWait, closer
	case hi >= PFClosing:
		return TCPFinWait, closer
	case hi >= PFEstablished:
		return TCPEstablished, -1
	}
	switch {
	case src == PFClosed && dst == PFClosed:
		return TCPNone, -1
	case src >= PFSynSent && dst >= PFSynSent:
		return TCPSynRecv, -1
	case dst == PFListen:
		return TCPSynSent2, -1
	}
	return TCPSynSent, -1
}

// OtherToPeers maps the status of a UDP or other kernel entry to peer states.
// ICMP has none in pf.
func OtherToPeers(proto uint8, status uint32) (src, dst uint8) {
	switch {
	case proto == ProtoICMP || proto == ProtoICMPv6:
		return 0, 0
	case status&StatusAssured != 0:
		return PFMultiple, PFMultiple
	case status&StatusSeenReply != 0:
		return PFMultiple, PFSingle
	}
	return PFSingle, PFNoTraffic
}

// StatusFromPeers gives the status bits that follow from peer states: what
// packets in the middle of a connection need to pass.
func StatusFromPeers(proto, src, dst uint8) uint32 {
	switch {
	case proto == ProtoICMP || proto == ProtoICMPv6:
		return StatusConfirmed | StatusSeenReply
	case proto == ProtoTCP:
		switch st, _ := TCPFromPeers(src, dst); {
		case st >= TCPEstablished && st < TCPSynSent2:
			return StatusConfirmed | StatusSeenReply | StatusAssured
		case st == TCPSynRecv:
			return StatusConfirmed | StatusSeenReply
		}
	case src >= PFMultiple && dst >= PFMultiple:
		return StatusConfirmed | StatusSeenReply | StatusAssured
	case dst >= PFSingle:
		return StatusConfirmed | StatusSeenReply
	}
	return StatusConfirmed
}

// TimeoutIndex is the PFTM index of a protocol and peer states, as pf chooses it.
func TimeoutIndex(proto, src, dst uint8) uint8 {
	switch proto {
	case ProtoTCP:
		return tcpTimeoutIndex(src, dst)
	case ProtoUDP:
		return otherTimeoutIndex(TimeoutUDPFirst, src, dst)
	case ProtoICMP, ProtoICMPv6:
		return TimeoutICMPFirst
	}
	return otherTimeoutIndex(TimeoutOtherFirst, src, dst)
}

func tcpTimeoutIndex(src, dst uint8) uint8 {
	switch {
	case src >= PFProxySrc || dst >= PFProxySrc:
		return TimeoutTCPFirst
	case src >= PFFinWait2 && dst >= PFFinWait2:
		return TimeoutTCPClosed
	case src >= PFClosing && dst >= PFClosing:
		return TimeoutTCPFinWait
	case src < PFEstablished || dst < PFEstablished:
		if dst == PFClosed {
			return TimeoutTCPFirst
		}
		return TimeoutTCPOpening
	case src >= PFClosing || dst >= PFClosing:
		return TimeoutTCPClosing
	}
	return TimeoutTCPEstablished
}

// otherTimeoutIndex: first, single and multiple follow each other.
func otherTimeoutIndex(first, src, dst uint8) uint8 {
	switch {
	case src >= PFMultiple && dst >= PFMultiple:
		return first + 2
	case dst == PFNoTraffic:
		return first
	}
	return first + 1
}
