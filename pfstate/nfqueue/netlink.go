package nfqueue

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Message types: subsystem in the high byte, enum nfqnl_msg_types in the low
// one.
const (
	subsys     = unix.NFNL_SUBSYS_QUEUE << 8
	msgPacket  = subsys
	msgVerdict = subsys | 1
	msgConfig  = subsys | 2
)

// Lengths of the headers that open every message.
const (
	nlHdrLen = 16 // struct nlmsghdr
	genLen   = 4  // struct nfgenmsg
	attrHdr  = 4  // struct nlattr
)

// enum nfqnl_attr_type, as far as it is read.
const (
	attrPacketHdr  = 1
	attrVerdictHdr = 2
	attrPayload    = 10
	attrCT         = 11

	packetHdrLen  = 7  // struct nfqnl_msg_packet_hdr, packed: id, protocol, hook
	verdictMsgLen = 32 // headers and struct nfqnl_msg_verdict_hdr

	typeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
)

// enum nfqnl_attr_config and what goes in there.
const (
	cfgCmd    = 1
	cfgParams = 2
	cfgMask   = 4
	cfgFlags  = 5

	cmdBind    = 1
	copyPacket = 2

	flagFailOpen  = 1
	flagConntrack = 2
	flagGSO       = 4
)

// Hooks as a packet tells them (enum nf_inet_hooks).
const (
	HookPrerouting  uint8 = 0
	HookPostrouting uint8 = 4
)

// beginMessage opens a message for a queue; endMessage writes its length.
func beginMessage(b []byte, typ, flags uint16, seq uint32, num uint16) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, num)
}

func endMessage(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// putAttr appends an attribute; data is padded to four bytes.
func putAttr(b []byte, typ uint16, data ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHdr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// appendVerdict appends the message that lets packet id go:
//
//	| nlmsghdr 16 | nfgenmsg 4 | attribute header 4 | NF_ACCEPT 4 | id 4 |
func appendVerdict(b []byte, num uint16, id uint32) []byte {
	const accept = 1 // NF_ACCEPT
	at := len(b)
	b = beginMessage(b, msgVerdict, 0, 0, num)
	b = binary.NativeEndian.AppendUint16(b, attrHdr+8)
	b = binary.NativeEndian.AppendUint16(b, attrVerdictHdr)
	b = binary.BigEndian.AppendUint32(b, accept)
	b = binary.BigEndian.AppendUint32(b, id)
	return endMessage(b, at)
}
