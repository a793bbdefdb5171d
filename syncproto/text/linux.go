package text

import (
	"fmt"

	"github.com/pfsync/pfsync/syncproto"
)

// tlvNames are the words for the types of a Linux region.
var tlvNames = map[syncproto.TLV]string{
	syncproto.TLVMark: "mark", syncproto.TLVZone: "zone", syncproto.TLVLabels: "labels", syncproto.TLVHelper: "helper",
	syncproto.TLVSCTP: "sctp", syncproto.TLVGRE: "gre", syncproto.TLVICMPCode: "code", syncproto.TLVTCP: "tcp",
	syncproto.TLVSeqAdj: "seqadj", syncproto.TLVStatus: "status", syncproto.TLVKilled: "killed",
	syncproto.TLVCarried: "carried", syncproto.TLVTimeout: "timeout", syncproto.TLVDCCP: "dccp",
	syncproto.TLVExpect: "expect", syncproto.TLVPair: "pair", syncproto.TLVMaster: "master", syncproto.TLVUnsure: "unsure",
	syncproto.TLVSynproxy:   "synproxy",
	syncproto.TLVWantFrames: "want-frames", syncproto.TLVDigest: "digest",
	syncproto.TLVWantBuckets: "want-buckets", syncproto.TLVFramesAgain: "frames-again", syncproto.TLVWantDigests: "want-digests",
	syncproto.TLVBucket: "bucket", syncproto.TLVLook: "look", syncproto.TLVLooked: "looked", syncproto.TLVLack: "lack",
}

// tlvName returns the word for a type, "type N" for one unknown.
func tlvName(t syncproto.TLV) string {
	if s := tlvNames[t]; s != "" {
		return s
	}
	return fmt.Sprintf("type %d", t)
}

// appendLinux prints message i of a Linux region.
func appendLinux(b []byte, i int, msg []byte) []byte {
	if i == 0 {
		return appendFrameInfo(b, msg)
	}
	var m syncproto.Extra
	_ = syncproto.ParseExtra(msg, &m)
	b = appendID(append(b, "\n\t"...), m.ID, m.CreatorID)
	for t, v, rest, ok := syncproto.NextTLV(m.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
		b = fmt.Appendf(b, " %s", tlvName(t))
		if len(v) > 0 {
			b = fmt.Appendf(b, ": %x", v)
		}
	}
	return b
}

func appendFrameInfo(b []byte, msg []byte) []byte {
	var m syncproto.FrameInfo
	if err := syncproto.ParseFrameInfo(msg, &m); err != nil {
		return append(b, "\n\tunknown magic"...)
	}
	return fmt.Appendf(b, "\n\tepoch: %08x frame: %d states: %d creatorid: %08x demotion: %d flags: 0x%02x",
		m.Epoch, m.Frame, m.TableSize, m.CreatorID, m.Demotion, m.Flags)
}
