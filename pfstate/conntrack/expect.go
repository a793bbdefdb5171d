package conntrack

import (
	"bytes"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// ParseExpect decodes an expectation: body is what follows the netlink header.
// Unknown attributes are stepped over, one that is cut or of the wrong length is
// an error. After an error *x is as before.
func ParseExpect(body []byte, x *pfstate.Expect) error {
	if len(body) < genLen {
		return ErrShort
	}
	v := pfstate.Expect{AF: body[0]}
	if v.AF != pfstate.AFInet && v.AF != pfstate.AFInet6 {
		return ErrFamily
	}
	var mask pfstate.Tuple
	var none uint16
	var master, tuple, masked bool
	a := attrs{rest: body[genLen:]}
	for a.next() {
		switch a.typ {
		case ctaExpMaster:
			v.MasterProto, master = parseTuple(&a, &v.Master, v.AF, &none)
		case ctaExpTuple:
			v.Proto, tuple = parseTuple(&a, &v.Tuple, v.AF, &none)
		case ctaExpMask:
			_, masked = parseTuple(&a, &mask, v.AF, &none)
		default:
			parseExpectValue(&a, &v)
		}
	}
	switch {
	case a.bad:
		return ErrAttr
	case !master || !tuple || !masked:
		return ErrTuple
	}
	v.MaskSrc, v.MaskPort = mask.Src, mask.SrcPort
	*x = v
	return nil
}

// parseExpectValue decodes an attribute other than tuples and mask.
func parseExpectValue(a *attrs, x *pfstate.Expect) {
	switch a.typ {
	case ctaExpTimeout:
		a.u32(&x.Timeout)
	case ctaExpZone:
		a.u16(&x.Zone)
	case ctaExpFlags:
		a.u32(&x.Flags)
	case ctaExpClass:
		a.u32(&x.Class)
	case ctaExpHelp:
		a.name(x.Helper[:])
	case ctaExpFn:
		a.name(x.Fn[:])
	case ctaExpNAT:
		parseExpectNAT(a, x)
	}
}

// parseExpectNAT decodes what the connection will be translated to.
func parseExpectNAT(a *attrs, x *pfstate.Expect) {
	var t pfstate.Tuple
	var dir uint32
	var none uint16
	in := attrs{rest: a.data}
	for in.next() {
		switch in.typ {
		case ctaExpNATDir:
			in.u32(&dir)
		case ctaExpNATTuple:
			parseTuple(&in, &t, x.AF, &none)
		}
	}
	if in.bad || dir > 1 {
		a.fail()
		return
	}
	x.NAT, x.NATDir, x.NATSrc, x.NATPort = true, uint8(dir), t.Src, t.SrcPort
}

// name copies a name that ends with a zero byte, or with the attribute.
func (a *attrs) name(p []byte) {
	name, _, _ := bytes.Cut(a.data, []byte{0})
	if len(name) >= len(p) {
		a.fail()
		return
	}
	clear(p)
	copy(p, name)
}

// AppendExpectNew appends a request to make the expectation x. One that is there
// already is left as it is.
func AppendExpectNew(b []byte, seq uint32, x *pfstate.Expect) ([]byte, error) {
	if err := checkExpect(x); err != nil {
		return b, err
	}
	b, at := putMessage(b, msgExpNew, unix.NLM_F_CREATE|unix.NLM_F_ACK, seq, x.AF)
	mask := fullMask(x)
	b = putExpectTuple(b, ctaExpMaster, x, x.MasterProto, &x.Master)
	b = putExpectTuple(b, ctaExpTuple, x, x.Proto, &x.Tuple)
	b = putExpectTuple(b, ctaExpMask, x, x.Proto, &mask)
	b = put32(b, ctaExpTimeout, x.Timeout)
	if x.Zone != 0 {
		b = put16(b, ctaExpZone, x.Zone)
	}
	b = put32(b, ctaExpFlags, x.Flags)
	b = put32(b, ctaExpClass, x.Class)
	b = putName(b, ctaExpHelp, x.Helper[:])
	b = putName(b, ctaExpFn, x.Fn[:])
	if x.NAT {
		var n int
		b, n = nest(b, ctaExpNAT)
		b = put32(b, ctaExpNATDir, uint32(x.NATDir))
		b = putExpectTuple(b, ctaExpNATTuple, x, x.Proto, &pfstate.Tuple{Src: x.NATSrc, SrcPort: x.NATPort})
		b = closeNest(b, n)
	}
	return closeMessage(b, at), nil
}

// AppendExpectDelete appends a request to remove the expectation x. Without its
// tuple the kernel would remove all there are.
func AppendExpectDelete(b []byte, seq uint32, x *pfstate.Expect) ([]byte, error) {
	if err := checkExpect(x); err != nil {
		return b, err
	}
	b, at := putMessage(b, msgExpDelete, unix.NLM_F_ACK, seq, x.AF)
	b = putExpectTuple(b, ctaExpTuple, x, x.Proto, &x.Tuple)
	if x.Zone != 0 {
		b = put16(b, ctaExpZone, x.Zone)
	}
	return closeMessage(b, at), nil
}

func checkExpect(x *pfstate.Expect) error {
	switch {
	case x.AF != pfstate.AFInet && x.AF != pfstate.AFInet6:
		return ErrFamily
	case x.Tuple.Dst == (pfstate.Addr{}) || x.Master.Src == (pfstate.Addr{}):
		return ErrNoTuple
	}
	return nil
}

// fullMask is the mask as a tuple: the kernel looks at the source only.
func fullMask(x *pfstate.Expect) pfstate.Tuple {
	m := pfstate.Tuple{Src: x.MaskSrc, SrcPort: x.MaskPort, DstPort: 0xffff}
	for i := range m.Dst {
		m.Dst[i] = 0xff
	}
	return m
}

// putExpectTuple appends a tuple of a protocol of its own.
func putExpectTuple(b []byte, typ uint16, x *pfstate.Expect, proto uint8, t *pfstate.Tuple) []byte {
	return putTuple(b, typ, &pfstate.Flow{AF: x.AF, Proto: proto}, t, 0)
}

// putName appends a name with a zero byte at its end; none if it is empty.
func putName(b []byte, typ uint16, name []byte) []byte {
	n := bytes.IndexByte(name, 0)
	if n < 0 {
		n = len(name) - 1
	}
	if n == 0 {
		return b
	}
	return pad(append(append(putHdr(b, typ, n+1), name[:n]...), 0))
}
