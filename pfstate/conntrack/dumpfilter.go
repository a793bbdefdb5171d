package conntrack

import (
	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// Filter restricts a dump. What is zero restricts nothing, so the zero Filter
// is the whole table. As much as the kernel can, it does; entries it does not
// tell cost a fraction of those it does.
type Filter struct {
	AF         uint8 // pfstate.AFInet, AFInet6
	Proto      uint8
	Mark       uint32 // Mark&MarkMask of the entry
	MarkMask   uint32
	Status     uint32 // Status&StatusMask of the entry
	StatusMask uint32
	HasZone    bool
	Zone       uint16 // of both directions
}

// families gives the dumps that the filter takes: kernels filter by protocol
// within a family only.
func (f *Filter) families() []uint8 {
	switch {
	case f.AF == pfstate.AFInet:
		return justInet[:]
	case f.AF == pfstate.AFInet6:
		return justInet6[:]
	case f.Proto != 0:
		return bothInet[:]
	}
	return anyFamily[:]
}

var (
	anyFamily = [...]uint8{unix.AF_UNSPEC}
	justInet  = [...]uint8{pfstate.AFInet}
	justInet6 = [...]uint8{pfstate.AFInet6}
	bothInet  = [...]uint8{pfstate.AFInet, pfstate.AFInet6}
)

// match repeats the filter on an entry: older kernels ignore CTA_FILTER (5.8)
// and CTA_ZONE (6.8) in a dump.
func (f *Filter) match(e *pfstate.Flow) bool {
	return (f.AF == 0 || f.AF == e.AF) &&
		(f.Proto == 0 || f.Proto == e.Proto) &&
		e.Mark&f.MarkMask == f.Mark&f.MarkMask &&
		e.Status&f.StatusMask == f.Status&f.StatusMask &&
		(!f.HasZone || e.Zone == [2]uint16{f.Zone, f.Zone})
}

// appendDump appends the request for a dump of one family.
func (f *Filter) appendDump(b []byte, seq uint32, af uint8) []byte {
	b, at := putMessage(b, msgGet, unix.NLM_F_DUMP, seq, af)
	if f.MarkMask != 0 {
		b = put32(b, ctaMark, f.Mark&f.MarkMask)
		b = put32(b, ctaMarkMask, f.MarkMask)
	}
	if f.StatusMask != 0 {
		b = put32(b, ctaStatus, f.Status&f.StatusMask)
		b = put32(b, ctaStatusMask, f.StatusMask)
	}
	if f.HasZone {
		b = put16(b, ctaZone, f.Zone)
	}
	if f.Proto != 0 && af != unix.AF_UNSPEC {
		b = f.putProto(b)
	}
	return closeMessage(b, at)
}

// putProto appends an original tuple of the protocol number alone, and the
// CTA_FILTER that says so; its flags are in host order.
func (f *Filter) putProto(b []byte) []byte {
	b, at := nest(b, ctaTupleOrig)
	b, in := nest(b, ctaTupleProto)
	b = put8(b, ctaProtoNum, f.Proto)
	b = closeNest(b, in)
	b = closeNest(b, at)
	b, at = nest(b, ctaFilter)
	b = putNative32(b, ctaFilterOrigFlags, filterProtoNum)
	return closeNest(b, at)
}
