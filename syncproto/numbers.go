package syncproto

// Address families on the wire. Linux's own number of IPv6, 10, is never
// there.
const (
	FamilyIPv4        = 2
	FamilyIPv6OpenBSD = 24
	FamilyIPv6FreeBSD = 28
)

// FamilyIPv6 returns the number of IPv6 in frames that carry the format.
func (f Format) FamilyIPv6() uint8 {
	if f == Format6 {
		return FamilyIPv6OpenBSD
	}
	return FamilyIPv6FreeBSD
}

// Directions of a state (PF_INOUT, PF_IN, PF_OUT).
const (
	DirInOut = 0 // accepted, never sent
	DirIn    = 1
	DirOut   = 2
)

// Peer states of TCP (TCPS_*) that pf uses. LISTEN, SYN_RCVD, CLOSE_WAIT,
// FIN_WAIT_1 and LAST_ACK are the numbers between.
const (
	TCPClosed      = 0  // nothing seen from this side; also after a reset
	TCPSynSent     = 2  // first packet seen
	TCPEstablished = 4  //
	TCPClosing     = 7  // FIN seen from this side
	TCPFinWait2    = 9  // that FIN was acknowledged
	TCPTimeWait    = 10 // reset or fully closed
	TCPProxySrc    = 11 // synproxy, handshake with the client
	TCPProxyDst    = 12 // synproxy, handshake with the server
	MaxPeerState   = 12 // more is refused, whatever the protocol
)

// Peer states of protocols other than TCP (PFUDPS_*, PFOTHERS_*). ICMP has 0.
const (
	OtherNoTraffic = 0
	OtherSingle    = 1
	OtherMultiple  = 2
)

// WScaleSeen is set in Peer.WScale when the window scale option was seen
// (PF_WSCALE_FLAG); WScaleMask covers the shift.
const (
	WScaleSeen = 0x80
	WScaleMask = 0x0f
)

// Timeout indexes (PFTM_*). From 20 on FreeBSD 14 and later only.
const (
	TimeoutTCPFirst = iota
	TimeoutTCPOpening
	TimeoutTCPEstablished
	TimeoutTCPClosing
	TimeoutTCPFinWait
	TimeoutTCPClosed
	TimeoutUDPFirst
	TimeoutUDPSingle
	TimeoutUDPMultiple
	TimeoutICMPFirst
	TimeoutICMPError
	TimeoutOtherFirst
	TimeoutOtherSingle
	TimeoutOtherMultiple
	TimeoutFrag
	TimeoutInterval
	TimeoutAdaptiveStart
	TimeoutAdaptiveEnd
	TimeoutSrcTrack
	TimeoutTSDiff
	TimeoutSCTPFirst
	TimeoutSCTPOpening
	TimeoutSCTPEstablished
	TimeoutSCTPClosing
	TimeoutSCTPClosed
	Timeouts // number of indexes
)

// State flags (PFSTATE_*) that both systems have.
const (
	FlagAllowOpts = 0x0001
	FlagSloppy    = 0x0002
	FlagPflow     = 0x0004 // OpenBSD
	FlagNoSync    = 0x0008
	FlagAck       = 0x0010 // an INS_ACK is wanted: a packet is deferred
	FlagNoDF      = 0x0020
	FlagSetTOS    = 0x0040
	FlagRandomID  = 0x0080
	FlagScrubTCP  = 0x0100
	FlagSetPrio   = 0x0200
)

// NoRule stands for no rule and no anchor.
const NoRule = 0xffffffff

// Protocol is the IP protocol number of pfsync, TTL what every packet has.
const (
	Protocol = 240
	TTL      = 255
)
