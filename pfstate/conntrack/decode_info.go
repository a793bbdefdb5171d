package conntrack

import (
	"bytes"

	"github.com/pfsync/pfsync/pfstate"
)

// parseProtoinfo decodes CTA_PROTOINFO: one nest per protocol, of which only
// the entry's own can be there.
func parseProtoinfo(a *attrs, f *pfstate.Flow) {
	outer := attrs{rest: a.data}
	for outer.next() {
		in := attrs{rest: outer.data}
		switch outer.typ {
		case ctaProtoinfoTCP:
			parseTCP(&in, f)
		case ctaProtoinfoSCTP:
			parseSCTP(&in, f)
		case ctaProtoinfoDCCP:
			parseDCCP(&in, f)
		default:
			continue
		}
		if in.bad {
			outer.fail()
			break
		}
		f.Has |= pfstate.HasProto
	}
	if outer.bad {
		a.fail()
	}
}

func parseTCP(in *attrs, f *pfstate.Flow) {
	var flags [2]byte // flags, mask
	for in.next() {
		switch in.typ {
		case ctaTCPState:
			in.u8(&f.ProtoState)
		case ctaTCPWScaleOrig:
			in.u8(&f.WScale[0])
		case ctaTCPWScaleReply:
			in.u8(&f.WScale[1])
		case ctaTCPFlagsOrig:
			in.exact(flags[:])
			f.TCPFlags[0] = flags[0]
		case ctaTCPFlagsReply:
			in.exact(flags[:])
			f.TCPFlags[1] = flags[0]
		}
	}
}

func parseSCTP(in *attrs, f *pfstate.Flow) {
	for in.next() {
		switch in.typ {
		case ctaSCTPState:
			in.u8(&f.ProtoState)
		case ctaSCTPVTagOrig:
			in.u32(&f.VTag[0])
		case ctaSCTPVTagReply:
			in.u32(&f.VTag[1])
		}
	}
}

func parseDCCP(in *attrs, f *pfstate.Flow) {
	for in.next() {
		switch in.typ {
		case ctaDCCPState:
			in.u8(&f.ProtoState)
		case ctaDCCPRole:
			in.u8(&f.DCCPRole)
		case ctaDCCPSeq:
			in.u64(&f.DCCPSeq)
		}
	}
}

// parseHelp decodes CTA_HELP: a name that ends with a zero byte, and data that
// only the helper understands.
func parseHelp(a *attrs, f *pfstate.Flow) {
	in := attrs{rest: a.data}
	for in.next() {
		if in.typ == ctaHelpName {
			name, _, _ := bytes.Cut(in.data, []byte{0})
			if len(name) >= len(f.Helper) {
				in.fail()
				break
			}
			f.Helper = [16]byte{}
			copy(f.Helper[:], name)
			f.Has |= pfstate.HasHelper
		}
	}
	if in.bad {
		a.fail()
	}
}

// parseSeqAdj decodes CTA_SEQ_ADJ_ORIG and _REPLY. The kernel has room for them
// in every entry that came by netlink and tells zeros: those count as absent.
func parseSeqAdj(a *attrs, f *pfstate.Flow, dir int) {
	var pos, before, after uint32
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaSeqAdjPos:
			in.u32(&pos)
		case ctaSeqAdjBefore:
			in.u32(&before)
		case ctaSeqAdjAfter:
			in.u32(&after)
		}
	}
	if in.bad {
		a.fail()
		return
	}
	f.SeqAdj[dir] = pfstate.SeqAdj{Pos: pos, Before: int32(before), After: int32(after)}
	if f.SeqAdj[dir] != (pfstate.SeqAdj{}) {
		f.Has |= pfstate.HasSeqAdj
	}
}

// parseCounters decodes CTA_COUNTERS_ORIG and _REPLY, which stand in dumps and
// in the end of an entry where nf_conntrack_acct is set.
func parseCounters(a *attrs, f *pfstate.Flow, dir int) {
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaCountersPackets:
			in.u64(&f.Counts.Packets[dir])
		case ctaCountersBytes:
			in.u64(&f.Counts.Bytes[dir])
		}
	}
	if in.bad {
		a.fail()
		return
	}
	f.Has |= pfstate.HasCounts
}

// parseSynproxy decodes CTA_SYNPROXY. The kernel has room for it in every entry
// that came by netlink, whatever its protocol, and tells zeros
// (nf_conntrack_netlink.c ctnetlink_create_conntrack); of those that packets
// made only what the target SYNPROXY answers has it, with a sequence number.
func parseSynproxy(a *attrs, f *pfstate.Flow) {
	var p pfstate.Synproxy
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaSynproxyISN:
			in.u32(&p.ISN)
		case ctaSynproxyITS:
			in.u32(&p.ITS)
		case ctaSynproxyTSOff:
			in.u32(&p.TSOff)
		}
	}
	switch {
	case in.bad:
		a.fail()
	case p == pfstate.Synproxy{}:
		f.Has |= pfstate.HasWritten
	default:
		f.Proxy = p
		f.Has |= pfstate.HasSynproxy
	}
}
