package syncproto

// TLV is the type of a value in a Linux region.
type TLV uint8

// Types about a state. "orig" and "reply" are the kernel's directions. Lengths
// in bytes; numbers in network order.
const (
	TLVEnd      TLV = 0  // no more
	TLVMark     TLV = 1  // 4: connection mark
	TLVZone     TLV = 2  // 4: zone of orig u16, of reply u16; equal for a zone of both
	TLVLabels   TLV = 3  // 16: labels, as in the kernel's netlink attribute
	TLVHelper   TLV = 4  // 1 to 15: name of the helper, no zero
	TLVSCTP     TLV = 5  // 12: state u8, pad 3, verification tag of orig u32, of reply u32
	TLVGRE      TLV = 6  // 8: keys u16: orig source, orig destination, reply source, reply destination
	TLVICMPCode TLV = 7  // 1: ICMP code of orig
	TLVTCP      TLV = 8  // 4: conntrack state u8, flags of orig u8, of reply u8, pad u8
	TLVSeqAdj   TLV = 9  // 24: for orig, for reply: position u32, offset before it i32, after it i32
	TLVStatus   TLV = 10 // 4: IPS_* bits
	TLVKilled   TLV = 11 // 0: this delete is a kill, not an expiry
	TLVCarried  TLV = 12 // 0: the sender carries the traffic of this state
	TLVTimeout  TLV = 13 // 4: seconds left u32, where an UPD_C has none
	TLVDCCP     TLV = 14 // 12: state u8, role u8, pad 2, handshake sequence number u64
	TLVExpect   TLV = 15 // 34 to 148: an expectation, see Expect
	TLVPair     TLV = 16 // 30: name of the other half of a pair 12, address 16, port u16, see Pair
	TLVMaster   TLV = 17 // 16 or 40: the connection that made this one expected, see Master
	TLVUnsure   TLV = 18 // 0: the sender would carry this state if nobody else does: it has seen no packet of it since its start
	TLVSynproxy TLV = 19 // 12: of the kernel's proxy: sequence number u32, timestamp u32, offset of timestamps u32
)

// Types of control, in an Extra with id 0. Frame numbers are inclusive. A
// bucket is the part of a table whose states hash to its number; both sides
// must name the same number of buckets.
const (
	TLVWantFrames  TLV = 64 // 12 each: epoch u32, first u32, last u32: send again what these frames named
	TLVDigest      TLV = 65 // 4 + 8 each: buckets in all u16, number of the first u16, digests u64 of consecutive buckets
	TLVWantBuckets TLV = 66 // 2 + 2 each: buckets in all u16, numbers u16: tell what is in these buckets
	TLVFramesAgain TLV = 67 // 13: epoch u32, first u32, last u32, forgotten u8: what these frames named has been sent again, or (1) is not known any more
	TLVWantDigests TLV = 68 // 6: buckets in all u16, number of the first u16, how many u16: tell their digests
	TLVBucket      TLV = 69 // 8 + 17 each: buckets in all u16, number u16, states in it u16, place of the first u16; id u64, creatorid u32, digest u32, flags u8
	TLVLook        TLV = 70 // 4: number u32: compare your table with your kernel, then say so
	TLVLooked      TLV = 71 // 8 + 13 each: number u32, states found other than thought u32; of some id u64, creatorid u32, how u8
	TLVLack        TLV = 72 // 12 each: id u64, creatorid u32: the sender does not have these states of which the receiver has told
)

// MaxLooked, MaxItems and MaxLack are how many items one TLV holds.
const (
	MaxLooked = (MaxTLV - 8) / 13
	MaxItems  = (MaxTLV - 8) / 17
	MaxLack   = MaxTLV / 12
)

// MaxTLV is the longest value in bytes.
const MaxTLV = 255

// MaxWantFrames, MaxDigests and MaxWantBuckets are how many items one TLV
// holds.
const (
	MaxWantFrames  = MaxTLV / 12
	MaxDigests     = (MaxTLV - 4) / 8
	MaxWantBuckets = (MaxTLV - 2) / 2
)

// AppendTLV appends a value to b, which is a list of TLVs. A value longer than
// MaxTLV is cut.
func AppendTLV(b []byte, t TLV, v []byte) []byte {
	if len(v) > MaxTLV {
		v = v[:MaxTLV]
	}
	b = append(b, uint8(t), uint8(len(v)))
	return append(b, v...)
}

// NextTLV takes the first value off a list of TLVs: its type, its bytes, which
// point into b, and the rest. At the end, and where a length runs over it, ok
// is false.
//
//	for t, v, rest, ok := NextTLV(m.TLVs); ok; t, v, rest, ok = NextTLV(rest) {
func NextTLV(b []byte) (t TLV, v, rest []byte, ok bool) {
	if len(b) < 2 || b[0] == uint8(TLVEnd) || len(b)-2 < int(b[1]) {
		return TLVEnd, nil, nil, false
	}
	n := 2 + int(b[1])
	return TLV(b[0]), b[2:n:n], b[n:], true
}

// FindTLV returns the first value of a type in a list of TLVs.
func FindTLV(b []byte, want TLV) (v []byte, ok bool) {
	for t, v, rest, ok := NextTLV(b); ok; t, v, rest, ok = NextTLV(rest) {
		if t == want {
			return v, true
		}
	}
	return nil, false
}
