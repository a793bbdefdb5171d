package conntrack

import (
	"encoding/binary"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// header is a struct nlmsghdr.
type header struct {
	typ, flags  uint16
	seq, portid uint32
}

// nextMessage takes the first message off b: its header, what follows the
// header, and the rest of b. A length that does not fit is ErrShort, and the
// rest is empty: nothing after it can be found.
func nextMessage(b []byte) (h header, body, rest []byte, err error) {
	if len(b) < nlHdrLen {
		return h, nil, nil, ErrShort
	}
	n := binary.NativeEndian.Uint32(b)
	if n < nlHdrLen || uint64(n) > uint64(len(b)) {
		return h, nil, nil, ErrShort
	}
	h = header{
		typ:    binary.NativeEndian.Uint16(b[4:]),
		flags:  binary.NativeEndian.Uint16(b[6:]),
		seq:    binary.NativeEndian.Uint32(b[8:]),
		portid: binary.NativeEndian.Uint32(b[12:]),
	}
	return h, b[nlHdrLen:n], b[min(align4(int(n)), len(b)):], nil
}

// eventKind gives what a message of this type and flags tells, 0 if it is not
// about an entry.
func (h *header) eventKind() pfstate.EventKind {
	switch {
	case h.typ == msgDelete:
		return pfstate.EventDestroy
	case h.typ != msgNew:
		return 0
	case h.flags&(unix.NLM_F_CREATE|unix.NLM_F_EXCL) != 0:
		return pfstate.EventNew
	}
	return pfstate.EventUpdate
}

// ParseFlow decodes an entry: body is what follows the netlink header, a
// struct nfgenmsg and attributes. Unknown attributes are stepped over, one that
// is cut or of the wrong length is an error. After an error *f is as before.
func ParseFlow(body []byte, f *pfstate.Flow) error {
	if len(body) < genLen {
		return ErrShort
	}
	return ParseAttrs(body[0], body[genLen:], f)
}

// ParseAttrs decodes the attributes of an entry of family af, as they stand in
// a conntrack message after its struct nfgenmsg and in NFQA_CT.
func ParseAttrs(af uint8, b []byte, f *pfstate.Flow) error {
	if af != pfstate.AFInet && af != pfstate.AFInet6 {
		return ErrFamily
	}
	v := pfstate.Flow{AF: af}
	var zone uint16
	var whole [2]bool
	var proto [2]uint8
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case ctaTupleOrig:
			proto[0], whole[0] = parseTuple(&a, &v.Orig, af, &v.Zone[0])
		case ctaTupleReply:
			proto[1], whole[1] = parseTuple(&a, &v.Reply, af, &v.Zone[1])
		case ctaTupleMaster:
			parseMaster(&a, &v)
		case ctaZone:
			a.u16(&zone)
		default:
			parseValue(&a, &v)
		}
	}
	switch {
	case a.bad:
		return ErrAttr
	case !whole[0] || !whole[1] || proto[0] != proto[1]:
		return ErrTuple
	}
	v.Proto = proto[0]
	if zone != 0 {
		v.Zone = [2]uint16{zone, zone}
	}
	if isHalf(&v) && !isForth(&v) {
		v = callOf(&v)
	}
	*f = v
	return nil
}

// parseValue decodes an attribute other than tuples and zone.
func parseValue(a *attrs, f *pfstate.Flow) {
	switch a.typ {
	case ctaStatus:
		a.u32(&f.Status)
		f.Has |= pfstate.HasStatus
	case ctaTimeout:
		a.u32(&f.Timeout)
		f.Has |= pfstate.HasTimeout
	case ctaMark:
		a.u32(&f.Mark)
		f.Has |= pfstate.HasMark
	case ctaID:
		a.u32(&f.CtID)
	case ctaProtoinfo:
		parseProtoinfo(a, f)
	case ctaLabels:
		a.bytes(f.Labels[:])
		f.Has |= pfstate.HasLabels
	case ctaHelp:
		parseHelp(a, f)
	case ctaSeqAdjOrig:
		parseSeqAdj(a, f, 0)
	case ctaSeqAdjReply:
		parseSeqAdj(a, f, 1)
	case ctaCountersOrig:
		parseCounters(a, f, 0)
	case ctaCountersReply:
		parseCounters(a, f, 1)
	case ctaSynproxy:
		parseSynproxy(a, f)
	}
}

// parseMaster decodes a CTA_TUPLE_MASTER.
func parseMaster(a *attrs, f *pfstate.Flow) {
	var zone uint16
	proto, whole := parseTuple(a, &f.Master.Tuple, f.AF, &zone)
	if !whole {
		a.fail()
		return
	}
	f.Master.Proto = proto
	f.Has |= pfstate.HasMaster
}

// parseTuple decodes a CTA_TUPLE_ORIG or CTA_TUPLE_REPLY. It is whole if it has
// both addresses and the protocol number.
func parseTuple(a *attrs, t *pfstate.Tuple, af uint8, zone *uint16) (proto uint8, whole bool) {
	const srcAddr, dstAddr, protoNum = 1, 2, 4
	var seen uint8
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaTupleIP:
			seen |= parseAddrs(&in, t, af)
		case ctaTupleProto:
			var ok bool
			if proto, ok = parseProto(&in, t); ok {
				seen |= protoNum
			}
		case ctaTupleZone:
			in.u16(zone)
		}
	}
	if in.bad {
		a.fail()
	}
	return proto, seen == srcAddr|dstAddr|protoNum
}

// parseAddrs decodes a CTA_TUPLE_IP; 3 says that both addresses were there.
func parseAddrs(a *attrs, t *pfstate.Tuple, af uint8) (seen uint8) {
	src, dst, n := uint16(ctaIPv4Src), uint16(ctaIPv4Dst), 4
	if af == pfstate.AFInet6 {
		src, dst, n = ctaIPv6Src, ctaIPv6Dst, 16
	}
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case src:
			in.exact(t.Src[:n])
			seen |= 1
		case dst:
			in.exact(t.Dst[:n])
			seen |= 2
		}
	}
	if in.bad {
		a.fail()
	}
	return seen
}

// parseProto decodes a CTA_TUPLE_PROTO. Protocols without ports have the
// number alone, which is what ok says was there.
func parseProto(a *attrs, t *pfstate.Tuple) (proto uint8, ok bool) {
	var typ, code uint8
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaProtoNum:
			in.u8(&proto)
			ok = true
		case ctaProtoSrcPort, ctaProtoICMPID, ctaProtoICMPv6ID:
			in.u16(&t.SrcPort)
		case ctaProtoDstPort:
			in.u16(&t.DstPort)
		case ctaProtoICMPType, ctaProtoICMPv6Type:
			in.u8(&typ)
		case ctaProtoICMPCode, ctaProtoICMPv6Code:
			in.u8(&code)
		}
	}
	if in.bad {
		a.fail()
	}
	if proto == pfstate.ProtoICMP || proto == pfstate.ProtoICMPv6 {
		t.DstPort = uint16(typ)<<8 | uint16(code)
	}
	return proto, ok
}
