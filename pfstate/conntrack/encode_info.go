package conntrack

import (
	"bytes"

	"github.com/pfsync/pfsync/pfstate"
)

// putValues appends the optional attributes that f.Has names and that create
// and update share.
func putValues(b []byte, f *pfstate.Flow) []byte {
	if f.Has&pfstate.HasProto != 0 {
		b = putProtoinfo(b, f)
	}
	if f.Has&pfstate.HasMark != 0 {
		b = put32(b, ctaMark, f.Mark)
	}
	if f.Has&pfstate.HasLabels != 0 {
		b = putBytes(b, ctaLabels, f.Labels[:])
	}
	if f.Has&pfstate.HasSeqAdj != 0 {
		b = putSeqAdj(b, ctaSeqAdjOrig, &f.SeqAdj[0])
		b = putSeqAdj(b, ctaSeqAdjReply, &f.SeqAdj[1])
	}
	if f.Has&pfstate.HasSynproxy != 0 {
		b = putSynproxy(b, &f.Proxy)
	}
	return b
}

// putProtoinfo appends CTA_PROTOINFO for the protocols that have one.
func putProtoinfo(b []byte, f *pfstate.Flow) []byte {
	if f.Proto != pfstate.ProtoTCP && f.Proto != pfstate.ProtoSCTP && f.Proto != pfstate.ProtoDCCP {
		return b
	}
	b, at := nest(b, ctaProtoinfo)
	switch f.Proto {
	case pfstate.ProtoTCP:
		b = putTCP(b, f)
	case pfstate.ProtoSCTP:
		b = putSCTP(b, f)
	case pfstate.ProtoDCCP:
		b = putDCCP(b, f)
	}
	return closeNest(b, at)
}

// putTCP appends state, window scales and flags. The kernel takes the scales
// only if both directions have the flag for it (nf_conntrack_proto_tcp.c
// nlattr_to_tcp).
func putTCP(b []byte, f *pfstate.Flow) []byte {
	b, at := nest(b, ctaProtoinfoTCP)
	b = put8(b, ctaTCPState, f.ProtoState)
	b = put8(b, ctaTCPWScaleOrig, f.WScale[0])
	b = put8(b, ctaTCPWScaleReply, f.WScale[1])
	b = putTCPFlags(b, ctaTCPFlagsOrig, f.TCPFlags[0])
	b = putTCPFlags(b, ctaTCPFlagsReply, f.TCPFlags[1])
	return closeNest(b, at)
}

// putTCPFlags appends a struct nf_ct_tcp_flags {flags, mask}.
func putTCPFlags(b []byte, typ uint16, flags uint8) []byte {
	return append(putHdr(b, typ, 2), flags&flagsTCP, flagsTCP, 0, 0)
}

// putSCTP appends state and both tags: all three or the kernel refuses.
func putSCTP(b []byte, f *pfstate.Flow) []byte {
	b, at := nest(b, ctaProtoinfoSCTP)
	b = put8(b, ctaSCTPState, f.ProtoState)
	b = put32(b, ctaSCTPVTagOrig, f.VTag[0])
	b = put32(b, ctaSCTPVTagReply, f.VTag[1])
	return closeNest(b, at)
}

func putDCCP(b []byte, f *pfstate.Flow) []byte {
	b, at := nest(b, ctaProtoinfoDCCP)
	b = put8(b, ctaDCCPState, f.ProtoState)
	b = put8(b, ctaDCCPRole, f.DCCPRole)
	b = put64(b, ctaDCCPSeq, f.DCCPSeq)
	return closeNest(b, at)
}

// deadly reports whether an entry must not have its helper: that of PPTP drops
// all packets of a translated entry that no packet has made, for it keeps its
// notes where only a packet makes room (nf_nat_pptp.c, nfct_nat). What it would
// have read is lost anyway.
func deadly(f *pfstate.Flow) bool {
	src, dst := f.Translated()
	return (src || dst) && string(f.Helper[:5]) == "pptp\x00"
}

// putHelp appends the helper's name with a zero byte at its end.
func putHelp(b []byte, f *pfstate.Flow) []byte {
	n := bytes.IndexByte(f.Helper[:], 0)
	if n < 0 {
		n = len(f.Helper) - 1
	}
	b, at := nest(b, ctaHelp)
	b = pad(append(append(putHdr(b, ctaHelpName, n+1), f.Helper[:n]...), 0))
	return closeNest(b, at)
}

func putSeqAdj(b []byte, typ uint16, s *pfstate.SeqAdj) []byte {
	b, at := nest(b, typ)
	b = put32(b, ctaSeqAdjPos, s.Pos)
	b = put32(b, ctaSeqAdjBefore, uint32(s.Before))
	b = put32(b, ctaSeqAdjAfter, uint32(s.After))
	return closeNest(b, at)
}

// putSynproxy appends all three or the kernel refuses.
func putSynproxy(b []byte, p *pfstate.Synproxy) []byte {
	b, at := nest(b, ctaSynproxy)
	b = put32(b, ctaSynproxyISN, p.ISN)
	b = put32(b, ctaSynproxyITS, p.ITS)
	b = put32(b, ctaSynproxyTSOff, p.TSOff)
	return closeNest(b, at)
}

// plainReply is the reply tuple as it is before the kernel translates, the
// inverse of the original one. But keys of GRE the kernel translates only in an
// entry whose packet a helper has announced (nf_nat_core.c
// nf_nat_l4proto_unique_tuple), so those stand there already.
func plainReply(f *pfstate.Flow) pfstate.Tuple {
	t := f.Orig.Inverse(f.Proto)
	if f.Proto == pfstate.ProtoGRE {
		t.SrcPort, t.DstPort = f.Reply.SrcPort, f.Reply.DstPort
		if _, dst := translatedGRE(f); dst && t.Src == f.Reply.Src {
			t.Src = pfstate.Addr{} // from something else the kernel has to translate
		}
	}
	return t
}

// translatedGRE is Translated for GRE, whose packets have but one key, that of
// their receiver.
func translatedGRE(f *pfstate.Flow) (src, dst bool) {
	r, o := &f.Reply, &f.Orig
	return r.Dst != o.Src, r.Src != o.Dst || r.SrcPort != o.DstPort && r.SrcPort != keyForth
}

// putNAT appends the translations that f's reply tuple shows. Each names one
// address and one port, so that the kernel has nothing to choose; the port is
// given even if it is as before, for else the kernel might pick another.
func putNAT(b []byte, f *pfstate.Flow) []byte {
	src, dst := f.Translated()
	r := &f.Reply
	if f.Proto == pfstate.ProtoGRE {
		src, dst = translatedGRE(f)
	}
	if src {
		port := r.DstPort
		if f.Proto == pfstate.ProtoICMP || f.Proto == pfstate.ProtoICMPv6 {
			port = r.SrcPort // the query id
		}
		b = putNATRange(b, ctaNATSrc, f, &r.Dst, port)
	}
	if dst {
		b = putNATRange(b, ctaNATDst, f, &r.Src, r.SrcPort)
	}
	return b
}

// putNATRange appends a range of one address and, where the protocol has
// ports, of one port. The id of ICMP belongs to the source.
func putNATRange(b []byte, typ uint16, f *pfstate.Flow, ip *pfstate.Addr, port uint16) []byte {
	b, at := nest(b, typ)
	if f.AF == pfstate.AFInet6 {
		b = putBytes(b, ctaNATv6Min, ip[:])
		b = putBytes(b, ctaNATv6Max, ip[:])
	} else {
		b = putBytes(b, ctaNATv4Min, ip[:4])
		b = putBytes(b, ctaNATv4Max, ip[:4])
	}
	icmp := f.Proto == pfstate.ProtoICMP || f.Proto == pfstate.ProtoICMPv6
	if hasPorts(f.Proto) || icmp && typ == ctaNATSrc {
		var in int
		b, in = nest(b, ctaNATProto)
		b = put16(b, ctaProtoNATMin, port)
		b = put16(b, ctaProtoNATMax, port)
		b = closeNest(b, in)
	}
	return closeNest(b, at)
}
