package pfstate

// Number of conntrack states of the protocols that have them (enum
// sctp_conntrack, enum ct_dccp_states).
const (
	SCTPMax uint8 = 10
	DCCPMax uint8 = 10
)

// Timeouts holds how long an idle entry lives, in seconds, as the kernel of
// this host is told by net.netfilter.nf_conntrack_*_timeout*. Arrays are
// indexed by conntrack state.
type Timeouts struct {
	TCP            [TCPMax]uint32
	SCTP           [SCTPMax]uint32
	DCCP           [DCCPMax]uint32
	UDP, UDPStream uint32 // UDP-Lite too; UDPStream once ASSURED
	GRE, GREStream uint32 // GREStream once SEEN_REPLY
	ICMP, ICMPv6   uint32
	Generic        uint32 // every other protocol
}

// DefaultTimeouts returns what an untouched kernel has.
func DefaultTimeouts() Timeouts {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	return Timeouts{
		TCP:       [TCPMax]uint32{120, 120, 60, 5 * day, 120, 60, 30, 120, 10, 120},
		SCTP:      [SCTPMax]uint32{10, 10, 3, 3, 210, 3, 3, 3, 30, 210},
		DCCP:      [DCCPMax]uint32{480, 240, 480, 480, 12 * hour, 64, 64, 240, 480, 480},
		UDP:       30,
		UDPStream: 2 * minute,
		GRE:       30,
		GREStream: 3 * minute,
		ICMP:      30,
		ICMPv6:    30,
		Generic:   10 * minute,
	}
}

// For returns the timeout in seconds that the kernel gives an entry of this
// protocol, conntrack state (TCP, SCTP, DCCP; else ignored) and status when a
// packet refreshes it. A state out of range counts as none.
func (t *Timeouts) For(proto, protoState uint8, status uint32) uint32 {
	switch proto {
	case ProtoTCP:
		return byState(t.TCP[:], protoState)
	case ProtoSCTP:
		return byState(t.SCTP[:], protoState)
	case ProtoDCCP:
		return byState(t.DCCP[:], protoState)
	case ProtoUDP, ProtoUDPLite:
		return either(status&StatusAssured != 0, t.UDPStream, t.UDP)
	case ProtoGRE:
		return either(status&StatusSeenReply != 0, t.GREStream, t.GRE)
	case ProtoICMP:
		return t.ICMP
	case ProtoICMPv6:
		return t.ICMPv6
	}
	return t.Generic
}

func byState(s []uint32, i uint8) uint32 {
	if int(i) < len(s) {
		return s[i]
	}
	return s[0]
}

func either(yes bool, a, b uint32) uint32 {
	if yes {
		return a
	}
	return b
}
