package conntrack

import "github.com/pfsync/pfsync/pfstate"

// Guard says how the kernel is told which entry is meant.
//
// The kernel finds an entry by either of its tuples, and CTA_ID is honoured by
// a delete but not by an update. So a change of a→b would fall on the entry b→a
// if that is what there is. What can tell the directions apart is the zone: a
// tuple sent as CTA_TUPLE_REPLY with a CTA_TUPLE_ZONE in it is looked up in
// that zone where it is a reply tuple, but in zone 0 where it is an original
// one. With our original tuple there and a zone nobody uses, only an entry of
// that original direction is found: at no cost, and atomically
// (nf_conntrack_core.c nf_ct_zone_equal, nf_ct_zone_id).
//
// It takes an original direction in zone 0 and a kernel with
// CONFIG_NF_CONNTRACK_ZONES; the [Injector] asks for the entry first where it
// cannot be had.
type Guard bool

// Ways to name an entry.
const (
	EitherWay Guard = false // by CTA_TUPLE_ORIG: matches both directions
	OneWay    Guard = true  // matches an original direction in zone 0 only
)

// guardZone is the zone of the guard. An entry whose reply direction really is
// in it would be met like one without a guard.
const guardZone = 0xffff

// guardable reports whether f can be named OneWay. A call of PPTP may be there
// from the other end (see call.go).
func guardable(f *pfstate.Flow) bool {
	return f.Zone[0] == 0 && f.Zone[1] != guardZone && !isCall(f)
}

// putLookup appends the tuple by which f is found.
func putLookup(b []byte, f *pfstate.Flow, g Guard) []byte {
	if g == OneWay {
		return putTuple(b, ctaTupleReply, f, &f.Orig, guardZone)
	}
	if isCall(f) {
		c := asCall(f)
		f = &c
	}
	orig, _, zone := splitZone(f.Zone)
	b = putTuple(b, ctaTupleOrig, f, &f.Orig, orig)
	if zone != 0 {
		b = put16(b, ctaZone, zone)
	}
	return b
}

// direction compares what was asked for with the entry found.
type direction uint8

const (
	dirSame direction = iota
	dirReversed
)

// directionOf tells whether got was found by its original tuple. A kernel that
// does not know a protocol's ports leaves them out of its tuples; then the
// addresses decide.
func directionOf(asked, got *pfstate.Flow) direction {
	switch {
	case got.Orig == asked.Orig:
		return dirSame
	case got.Reply == asked.Orig:
		return dirReversed
	case got.Orig.Src == asked.Orig.Src && got.Orig.Dst == asked.Orig.Dst:
		return dirSame
	}
	return dirReversed
}
