package syncproto

import "encoding/binary"

// Values of the TLVs about a state. The Parse functions take the bytes that
// NextTLV returned, ignore what is behind the layout and return ErrShort if it
// is not whole.

// AppendMark appends a TLVMark.
func AppendMark(b []byte, mark uint32) []byte { return appendTLV32(b, TLVMark, mark) }

// AppendStatus appends a TLVStatus.
func AppendStatus(b []byte, status uint32) []byte { return appendTLV32(b, TLVStatus, status) }

// AppendTimeout appends a TLVTimeout, in seconds.
func AppendTimeout(b []byte, seconds uint32) []byte { return appendTLV32(b, TLVTimeout, seconds) }

func appendTLV32(b []byte, t TLV, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, uint8(t), 4), v)
}

// ParseUint32 reads a TLVMark, TLVStatus or TLVTimeout.
func ParseUint32(v []byte, m *uint32) error {
	if len(v) < 4 {
		return ErrShort
	}
	*m = binary.BigEndian.Uint32(v)
	return nil
}

// AppendICMPCode appends a TLVICMPCode.
func AppendICMPCode(b []byte, code uint8) []byte {
	return append(b, uint8(TLVICMPCode), 1, code)
}

// ParseICMPCode reads a TLVICMPCode.
func ParseICMPCode(v []byte, m *uint8) error {
	if len(v) < 1 {
		return ErrShort
	}
	*m = v[0]
	return nil
}

// Zone is the value of TLVZone: the conntrack zones of the two directions.
type Zone struct{ Orig, Reply uint16 }

// AppendZone appends a TLVZone.
func AppendZone(b []byte, m *Zone) []byte {
	b = append(b, uint8(TLVZone), 4)
	b = binary.BigEndian.AppendUint16(b, m.Orig)
	return binary.BigEndian.AppendUint16(b, m.Reply)
}

// ParseZone reads a TLVZone.
func ParseZone(v []byte, m *Zone) error {
	if len(v) < 4 {
		return ErrShort
	}
	m.Orig, m.Reply = binary.BigEndian.Uint16(v[0:]), binary.BigEndian.Uint16(v[2:])
	return nil
}

// AppendLabels appends a TLVLabels.
func AppendLabels(b []byte, labels *[16]byte) []byte { return AppendTLV(b, TLVLabels, labels[:]) }

// ParseLabels reads a TLVLabels.
func ParseLabels(v []byte, m *[16]byte) error {
	if len(v) < 16 {
		return ErrShort
	}
	*m = [16]byte(v)
	return nil
}

// SCTP is the value of TLVSCTP (CTA_PROTOINFO_SCTP).
type SCTP struct {
	State uint8
	VTag  [2]uint32 // verification tags of orig and reply
}

// AppendSCTP appends a TLVSCTP.
func AppendSCTP(b []byte, m *SCTP) []byte {
	b = append(b, uint8(TLVSCTP), 12, m.State, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, m.VTag[0])
	return binary.BigEndian.AppendUint32(b, m.VTag[1])
}

// ParseSCTP reads a TLVSCTP.
func ParseSCTP(v []byte, m *SCTP) error {
	if len(v) < 12 {
		return ErrShort
	}
	m.State = v[0]
	m.VTag[0], m.VTag[1] = binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
	return nil
}

// GRE is the value of TLVGRE: the keys that stand for ports.
type GRE struct {
	Orig, Reply [2]uint16 // source, destination
}

// AppendGRE appends a TLVGRE.
func AppendGRE(b []byte, m *GRE) []byte {
	b = append(b, uint8(TLVGRE), 8)
	b = binary.BigEndian.AppendUint16(b, m.Orig[0])
	b = binary.BigEndian.AppendUint16(b, m.Orig[1])
	b = binary.BigEndian.AppendUint16(b, m.Reply[0])
	return binary.BigEndian.AppendUint16(b, m.Reply[1])
}

// ParseGRE reads a TLVGRE.
func ParseGRE(v []byte, m *GRE) error {
	if len(v) < 8 {
		return ErrShort
	}
	m.Orig = [2]uint16{binary.BigEndian.Uint16(v[0:]), binary.BigEndian.Uint16(v[2:])}
	m.Reply = [2]uint16{binary.BigEndian.Uint16(v[4:]), binary.BigEndian.Uint16(v[6:])}
	return nil
}

// TCP is the value of TLVTCP (CTA_PROTOINFO_TCP): what pf's peer states do not
// tell.
type TCP struct {
	State uint8    // TCP_CONNTRACK_*
	Flags [2]uint8 // IP_CT_TCP_FLAG_* of orig and reply
}

// AppendTCP appends a TLVTCP.
func AppendTCP(b []byte, m *TCP) []byte {
	return append(b, uint8(TLVTCP), 4, m.State, m.Flags[0], m.Flags[1], 0)
}

// ParseTCP reads a TLVTCP.
func ParseTCP(v []byte, m *TCP) error {
	if len(v) < 4 {
		return ErrShort
	}
	m.State, m.Flags = v[0], [2]uint8{v[1], v[2]}
	return nil
}

// SeqAdj is how one direction's sequence numbers are shifted
// (CTA_SEQADJ_*).
type SeqAdj struct {
	Pos           uint32 // sequence number of the last change
	Before, After int32  // shift up to it and from it on
}

// AppendSeqAdj appends a TLVSeqAdj for orig and reply.
func AppendSeqAdj(b []byte, m *[2]SeqAdj) []byte {
	b = append(b, uint8(TLVSeqAdj), 24)
	for i := range m {
		b = binary.BigEndian.AppendUint32(b, m[i].Pos)
		b = binary.BigEndian.AppendUint32(b, uint32(m[i].Before))
		b = binary.BigEndian.AppendUint32(b, uint32(m[i].After))
	}
	return b
}

// ParseSeqAdj reads a TLVSeqAdj.
func ParseSeqAdj(v []byte, m *[2]SeqAdj) error {
	if len(v) < 24 {
		return ErrShort
	}
	for i := range m {
		m[i].Pos = binary.BigEndian.Uint32(v[12*i:])
		m[i].Before = int32(binary.BigEndian.Uint32(v[12*i+4:]))
		m[i].After = int32(binary.BigEndian.Uint32(v[12*i+8:]))
	}
	return nil
}

// Synproxy is what the kernel's proxy that opened a connection goes by
// (CTA_SYNPROXY_*).
type Synproxy struct {
	ISN, ITS uint32 // sequence number and timestamp that the client was answered with
	TSOff    uint32 // by how much the server's timestamps differ from these
}

// AppendSynproxy appends a TLVSynproxy.
func AppendSynproxy(b []byte, m *Synproxy) []byte {
	b = append(b, uint8(TLVSynproxy), 12)
	b = binary.BigEndian.AppendUint32(b, m.ISN)
	b = binary.BigEndian.AppendUint32(b, m.ITS)
	return binary.BigEndian.AppendUint32(b, m.TSOff)
}

// ParseSynproxy reads a TLVSynproxy.
func ParseSynproxy(v []byte, m *Synproxy) error {
	if len(v) < 12 {
		return ErrShort
	}
	m.ISN, m.ITS, m.TSOff = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
	return nil
}

// DCCP is the value of TLVDCCP (CTA_PROTOINFO_DCCP_*).
type DCCP struct {
	State, Role  uint8
	HandshakeSeq uint64
}

// AppendDCCP appends a TLVDCCP.
func AppendDCCP(b []byte, m *DCCP) []byte {
	b = append(b, uint8(TLVDCCP), 12, m.State, m.Role, 0, 0)
	return binary.BigEndian.AppendUint64(b, m.HandshakeSeq)
}

// ParseDCCP reads a TLVDCCP.
func ParseDCCP(v []byte, m *DCCP) error {
	if len(v) < 12 {
		return ErrShort
	}
	m.State, m.Role = v[0], v[1]
	m.HandshakeSeq = binary.BigEndian.Uint64(v[4:])
	return nil
}
