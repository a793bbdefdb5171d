package conntrack

import "golang.org/x/sys/unix"

// Message types: subsystem in the high byte (nfnetlink.h NFNL_SUBSYS_CTNETLINK),
// enum cntl_msg_types in the low one.
const (
	subsys    = unix.NFNL_SUBSYS_CTNETLINK << 8
	msgNew    = subsys
	msgGet    = subsys | 1
	msgDelete = subsys | 2

	expSubsys    = unix.NFNL_SUBSYS_CTNETLINK_EXP << 8 // enum ctnl_exp_msg_types
	msgExpNew    = expSubsys
	msgExpGet    = expSubsys | 1
	msgExpDelete = expSubsys | 2
)

// Lengths of the headers that open every message.
const (
	nlHdrLen  = 16                                           // struct nlmsghdr
	genLen    = 4                                            // struct nfgenmsg
	attrHdr   = 4                                            // struct nlattr
	ackLen    = 4                                            // errno of struct nlmsgerr
	attrFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER // not part of the type

	nestedFlag = unix.NLA_F_NESTED
)

// enum ctattr_type.
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoinfo     = 4
	ctaHelp          = 5
	ctaNATSrc        = 6
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaNATDst        = 13
	ctaTupleMaster   = 14
	ctaSeqAdjOrig    = 15
	ctaSeqAdjReply   = 16
	ctaZone          = 18
	ctaMarkMask      = 21
	ctaLabels        = 22
	ctaSynproxy      = 24
	ctaFilter        = 25
	ctaStatusMask    = 26
)

// enum ctattr_tuple, ctattr_ip, ctattr_l4proto.
const (
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9
)

// enum ctattr_protoinfo and what is in each.
const (
	ctaProtoinfoTCP  = 1
	ctaProtoinfoDCCP = 2
	ctaProtoinfoSCTP = 3

	ctaTCPState       = 1
	ctaTCPWScaleOrig  = 2
	ctaTCPWScaleReply = 3
	ctaTCPFlagsOrig   = 4
	ctaTCPFlagsReply  = 5

	ctaDCCPState = 1
	ctaDCCPRole  = 2
	ctaDCCPSeq   = 3

	ctaSCTPState     = 1
	ctaSCTPVTagOrig  = 2
	ctaSCTPVTagReply = 3
)

// enum ctattr_nat, ctattr_protonat, ctattr_seqadj, ctattr_help, ctattr_counters,
// ctattr_filter.
const (
	ctaNATv4Min = 1
	ctaNATv4Max = 2
	ctaNATProto = 3
	ctaNATv6Min = 4
	ctaNATv6Max = 5

	ctaProtoNATMin = 1
	ctaProtoNATMax = 2

	ctaSynproxyISN   = 1
	ctaSynproxyITS   = 2
	ctaSynproxyTSOff = 3

	ctaSeqAdjPos    = 1
	ctaSeqAdjBefore = 2
	ctaSeqAdjAfter  = 3

	ctaHelpName = 1

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	ctaFilterOrigFlags = 1
	filterProtoNum     = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
)

// enum ctattr_expect, ctattr_expect_nat.
const (
	ctaExpMaster  = 1
	ctaExpTuple   = 2
	ctaExpMask    = 3
	ctaExpTimeout = 4
	ctaExpHelp    = 6
	ctaExpZone    = 7
	ctaExpFlags   = 8
	ctaExpClass   = 9
	ctaExpNAT     = 10
	ctaExpFn      = 11

	ctaExpNATDir   = 1
	ctaExpNATTuple = 2
)

// statusDying, as StatusExpected, is the kernel's own to give (IPS_DYING,
// IPS_EXPECTED). A request that differs from the entry in one of them is refused
// with EBUSY.
const statusDying = 1 << 9
