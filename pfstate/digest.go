package pfstate

import "encoding/binary"

// Digests
//
// Two firewalls compare their tables without sending them: each keeps the sum
// of the digests of all states in a bucket, and equal tables have equal sums.
// A bucket is the part of a table whose states' names hash to its number.
//
// What a digest is made of is what both sides can know alike: names, tuples
// (so NAT), zones, protocol state, status, mark, labels, helper, SCTP tags,
// DCCP, sequence adjustment, and whether the kernel has the entry. Not the
// timeout, nor who carries it, nor what depends on the direction (the role in
// DCCP, the timestamps of a proxy) or on helpers (masters, expectations). It is the
// same whichever direction a side has as the original one.
//
// The table keeps for each state the digest that it was last entered with, so
// that it can be taken out again whatever the state has become meanwhile.
//
//	mix(h, w)  x ^ x>>32 where x = (h ^ w) * 0x9e3779b97f4a7c15, modulo 2^64
//	bucket     the highest 13 bits of mix(mix(0, id), creatorid)
//	digest     the lowest 32 bits of what DigestOf returns, 1 for 0
//	sum        of mix(mix(1, digest), digest) over the bucket, modulo 2^64

// DigestBuckets is the number of buckets kept, a power of two. Sums of fewer
// are sums of neighbours.
const DigestBuckets = 1 << digestBits

const digestBits = 13

// digestStatus are the status bits that travel.
const digestStatus = StatusSeenReply | StatusAssured | StatusFixedTimeout

func mix(h, w uint64) uint64 {
	x := (h ^ w) * 0x9e3779b97f4a7c15
	return x ^ x>>32
}

// DigestBucket is the bucket of a name, of DigestBuckets.
func DigestBucket(id ID) int {
	return int(mix(mix(0, id.ID), uint64(id.CreatorID)) >> (64 - digestBits))
}

// DigestTerm is what a digest adds to the sum of its bucket; 0 adds nothing.
func DigestTerm(digest uint32) uint64 {
	if digest == 0 {
		return 0
	}
	return mix(mix(1, uint64(digest)), uint64(digest))
}

// DigestName is the name by which the buckets know a state: the lower one of a
// pair.
func (s *State) DigestName() ID {
	in, out := s.Name(SideIn), s.Name(SideOut)
	if in.IsZero() || !out.IsZero() && out.Less(in) {
		return out
	}
	return in
}

// noExtra stands for the rare contents of a state that has none; read only.
var noExtra Extra

// DigestOf is the digest of r as it is now, never 0.
func (t *Table) DigestOf(r Ref) uint32 {
	s := t.At(r)
	x := t.Extra(s)
	if x == nil {
		x = &noExtra
	}
	h := s.digestDir(x, 0) + s.digestDir(x, 1)
	h = mix(h, s.ids[SideIn])
	h = mix(h, s.ids[SideOut])
	h = mix(h, uint64(s.creators[SideIn])<<32|uint64(s.creators[SideOut]))
	h = mix(h, uint64(s.Mark)<<32|uint64(s.Status&digestStatus))
	kernel := uint64(0)
	if s.Has(FlagInKernel) {
		kernel = 1
	}
	h = mix(h, uint64(s.AF)<<24|uint64(s.Proto)<<16|uint64(s.digestState())<<8|kernel)
	if x.Labels != noExtra.Labels || x.Helper != noExtra.Helper || x.DCCPSeq != 0 {
		h = digestExtra(h, x)
	}
	return max(1, uint32(h))
}

// digestState is the protocol state where pf's halves do not tell it.
func (s *State) digestState() uint8 {
	if s.Proto == ProtoSCTP || s.Proto == ProtoDCCP {
		return s.ProtoState
	}
	return 0
}

// digestDir is the part of one direction.
func (s *State) digestDir(x *Extra, dir int) uint64 {
	t, half := &s.Orig, s.Src.State
	if dir == 1 {
		t, half = &s.Reply, s.Dst.State
	}
	be := binary.BigEndian
	h := mix(0, be.Uint64(t.Src[:8]))
	h = mix(h, be.Uint64(t.Src[8:]))
	h = mix(h, be.Uint64(t.Dst[:8]))
	h = mix(h, be.Uint64(t.Dst[8:]))
	if s.Proto != ProtoTCP {
		half = 0 // the status tells
	}
	h = mix(h, uint64(t.SrcPort)<<48|uint64(t.DstPort)<<32|uint64(s.Zone[dir])<<8|uint64(half))
	a := &x.SeqAdj[dir]
	if x.VTag[dir] == 0 && *a == (SeqAdj{}) {
		return h // zeros, of which a kernel may tell, are as good as nothing
	}
	h = mix(h, uint64(x.VTag[dir])<<32|uint64(a.Pos))
	return mix(h, uint64(uint32(a.Before))<<32|uint64(uint32(a.After)))
}

func digestExtra(h uint64, x *Extra) uint64 {
	be := binary.BigEndian
	for _, b := range [...]*[16]byte{&x.Labels, &x.Helper} {
		h = mix(h, be.Uint64(b[:8]))
		h = mix(h, be.Uint64(b[8:]))
	}
	return mix(h, x.DCCPSeq)
}

// DigestIn enters r, as it is now, into the sum of its bucket, in place of what
// it was entered as before.
func (t *Table) DigestIn(r Ref) {
	s := t.At(r)
	id := s.DigestName()
	if id.IsZero() {
		t.DigestOut(r)
		return
	}
	d, b := t.DigestOf(r), uint16(DigestBucket(id))
	if s.digest == d && s.bucket == b {
		return
	}
	t.digests[s.bucket] -= DigestTerm(s.digest)
	s.digest, s.bucket = d, b
	t.digests[b] += DigestTerm(d)
}

// DigestOut takes r out of the sums.
func (t *Table) DigestOut(r Ref) {
	if s := t.At(r); s.digest != 0 {
		t.digests[s.bucket] -= DigestTerm(s.digest)
		s.digest, s.bucket = 0, 0
	}
}

// Digest is what the state was last entered with, 0 if it is not.
func (s *State) Digest() uint32 { return s.digest }

// DigestSum is the sum of one of so many buckets, a power of two and at most
// DigestBuckets.
func (t *Table) DigestSum(buckets, bucket int) (sum uint64) {
	per := DigestBuckets / buckets
	for _, d := range t.digests[bucket*per : (bucket+1)*per] {
		sum += d
	}
	return sum
}
