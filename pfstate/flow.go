package pfstate

// Conntrack status bits (IPS_*, nf_conntrack_common.h) that matter here.
const (
	StatusExpected     uint32 = 1 << 0 // it has a master
	StatusSeenReply    uint32 = 1 << 1
	StatusAssured      uint32 = 1 << 2
	StatusConfirmed    uint32 = 1 << 3
	StatusSrcNAT       uint32 = 1 << 4
	StatusDstNAT       uint32 = 1 << 5
	StatusDying        uint32 = 1 << 9
	StatusFixedTimeout uint32 = 1 << 10
	StatusHelper       uint32 = 1 << 13
)

// Conntrack's TCP states (enum tcp_conntrack).
const (
	TCPNone uint8 = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	TCPSynSent2
	TCPMax // first illegal value
)

// Conntrack's TCP flags of one direction (IP_CT_TCP_FLAG_*).
const (
	TCPFlagWScale    uint8 = 0x01
	TCPFlagSackPerm  uint8 = 0x02
	TCPFlagCloseInit uint8 = 0x04
	TCPFlagLiberal   uint8 = 0x08
)

// Has says which optional attributes a Flow carries.
type Has uint16

// Attributes of a kernel entry that may be absent.
const (
	HasTimeout  Has = 1 << iota // CTA_TIMEOUT
	HasProto                    // CTA_PROTOINFO: the TCP, SCTP or DCCP fields
	HasMark                     // CTA_MARK
	HasLabels                   // CTA_LABELS
	HasHelper                   // CTA_HELP
	HasSeqAdj                   // CTA_SEQ_ADJ_ORIG or _REPLY
	HasStatus                   // CTA_STATUS
	HasCounts                   // CTA_COUNTERS_ORIG and _REPLY; the kernel tells them and takes none
	HasWritten                  // CTA_SYNPROXY of zeros: a program made the entry, no packet
	HasMaster                   // CTA_TUPLE_MASTER
	HasSynproxy                 // CTA_SYNPROXY: the kernel's own proxy opened the connection
)

// SeqAdj is the sequence adjustment of one direction (struct nf_ct_seqadj).
type SeqAdj struct {
	Pos    uint32 // correction_pos
	Before int32  // offset_before
	After  int32  // offset_after
}

// Plain reports whether it adds the same to all sequence numbers.
func (a *SeqAdj) Plain() bool { return a.Before == a.After }

// Synproxy is what the kernel's proxy that opened a connection goes by (struct
// nf_conn_synproxy): the client's timestamps are not the server's. Its direction
// is the entry's: of the other it means nothing.
type Synproxy struct {
	ISN   uint32 // that the client was answered with
	ITS   uint32 // timestamp that it was answered with
	TSOff uint32 // from the client's idea of the server's clock to that clock
}

// Flow is one kernel entry as ctnetlink tells it or is told it. Index 0 is the
// original direction, 1 the reply direction.
//
// Reply is always the real reply tuple, translated if there is NAT: the
// conntrack package turns it into what the kernel wants to be told
// (linux-facts 0.4).
type Flow struct {
	Orig, Reply Tuple
	AF, Proto   uint8
	Has         Has
	Zone        [2]uint16 // of each direction; equal for an ordinary zone
	Status      uint32    // IPS_*
	Timeout     uint32    // seconds left
	Mark        uint32
	CtID        uint32 // CTA_ID; tells nothing about incarnation

	ProtoState uint8     // TCP, SCTP or DCCP conntrack state
	WScale     [2]uint8  // TCP
	TCPFlags   [2]uint8  // TCP, IP_CT_TCP_FLAG_*
	VTag       [2]uint32 // SCTP verification tags
	DCCPRole   uint8     // DCCP: 0 client, 1 server in the original direction
	DCCPSeq    uint64    // DCCP: handshake sequence number

	Labels [16]byte // connlabel bits as the kernel has them
	Helper [16]byte // name, zero padded
	SeqAdj [2]SeqAdj
	Proxy  Synproxy
	Counts Counts // since the kernel made the entry
	Master Master // of a connection that was expected
}

// Master names the connection in which a helper read that another would come:
// its original tuple and protocol. Family and zone are those of the other.
type Master struct {
	Tuple Tuple
	Proto uint8
}

// Reversed returns f as seen from the other end: directions swapped. Contents
// that have no direction stay.
func (f *Flow) Reversed() Flow {
	r := *f
	r.Orig, r.Reply = f.Reply, f.Orig
	r.Zone[0], r.Zone[1] = f.Zone[1], f.Zone[0]
	r.WScale[0], r.WScale[1] = f.WScale[1], f.WScale[0]
	r.TCPFlags[0], r.TCPFlags[1] = f.TCPFlags[1], f.TCPFlags[0]
	r.VTag[0], r.VTag[1] = f.VTag[1], f.VTag[0]
	r.SeqAdj[0], r.SeqAdj[1] = f.SeqAdj[1], f.SeqAdj[0]
	r.Counts = f.Counts.Reversed()
	r.Has &^= HasSynproxy
	r.Proxy = Synproxy{}
	if f.Proto == ProtoDCCP {
		r.DCCPRole ^= 1
	}
	return r
}

// Translated reports which of the two translations f has: the source, the
// destination. Addresses and ports both count.
func (f *Flow) Translated() (src, dst bool) {
	plain := f.Orig.Inverse(f.Proto)
	src = f.Reply.Dst != plain.Dst
	dst = f.Reply.Src != plain.Src
	if f.Proto == ProtoICMP || f.Proto == ProtoICMPv6 {
		return src || f.Reply.SrcPort != plain.SrcPort, dst // the id belongs to the source
	}
	return src || f.Reply.DstPort != plain.DstPort, dst || f.Reply.SrcPort != plain.SrcPort
}
