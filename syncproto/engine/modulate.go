package engine

import "github.com/pfsync/pfsync/pfstate"

// Modulated sequence numbers
//
// With modulate state or synproxy state, pf adds the seqdiff of a half to the
// sequence numbers of what that side sends, and takes it off the
// acknowledgements and SACK blocks of what the other side sends (pf.c
// pf_tcp_track_full). In conntrack that is a sequence adjustment with the same
// offset before and after its position (nf_conntrack_seqadj.c). Of a pf's pair
// each state modulates for itself, one after the other; the one entry of Linux
// does what both do.
//
// An adjustment that differs before and after its position, as translated FTP
// has, no record of pf can tell: it travels in the Linux region only.

// plainDiff is what an adjustment adds to all sequence numbers of a direction;
// ok is false if that depends on the number.
func plainDiff(a *pfstate.SeqAdj) (diff uint32, ok bool) {
	return uint32(a.After), a.Plain()
}

// takeModulation takes over by how much the maker of a record changes sequence
// numbers, and reports whether that changed what our kernel shall have. A pf
// settles on that once for each half, so 0 is no news and nothing else is later.
// What a Linux peer does in all is in its region.
func (e *Engine) takeModulation(s *pfstate.State, m *record) (changed bool) {
	diffs := [2]uint32{m.src.SeqDiff, m.dst.SeqDiff}
	switch {
	case diffs == [2]uint32{}, s.Proto != pfstate.ProtoTCP, m.side > pfstate.SideOut, m.linux && !m.pf.Set:
		return false
	case s.Name(m.side) == m.name && e.foreign(s, m.side) == nil:
		return false // a Linux's words back from a pf
	}
	x := e.tab.NeedExtra(s)
	f := &x.Foreign[m.side]
	for dir, d := range diffs {
		if d == 0 || f.SeqDiff[dir] != 0 {
			continue
		}
		f.SeqDiff[dir] = d
		a, told := &x.SeqAdj[dir], int32(toldDiff(x, dir))
		if _, plain := plainDiff(a); !m.linux && plain && a.After != told {
			*a = pfstate.SeqAdj{Before: told, After: told}
			x.Has |= pfstate.HasSeqAdj
			x.Adjust, changed = true, true
		}
	}
	return changed
}

// toldDiff is what all states of pfs that make up a connection add together.
func toldDiff(x *pfstate.Extra, dir int) (sum uint32) {
	for side := range x.Foreign {
		sum += x.Foreign[side].SeqDiff[dir]
	}
	return sum
}

// seqDiff is the seqdiff of a half in the record of a side: what a pf told of
// that state, and in that of the main side what there is beyond.
func (e *Engine) seqDiff(s *pfstate.State, side pfstate.Side, dir int) (diff uint32) {
	x := e.tab.Extra(s)
	if x == nil || s.Proto != pfstate.ProtoTCP {
		return 0
	}
	if side <= pfstate.SideOut {
		diff = x.Foreign[side].SeqDiff[dir]
	}
	if all, ok := plainDiff(&x.SeqAdj[dir]); ok && all != 0 && side == s.MainSide() {
		diff += all - toldDiff(x, dir)
	}
	return diff
}

// leftStrict reports whether pfs are left with their own states of a connection
// that passes here. They modulate it, and would not in the sloppy ones of ours;
// in their own it goes on if less than a window has passed here (linux-facts 9).
// Where another Linux is to hear of it, there is no telling that one alone.
func (e *Engine) leftStrict(now int64, s *pfstate.State) bool {
	x := e.tab.Extra(s)
	if x == nil || toldDiff(x, 0)|toldDiff(x, 1) == 0 {
		return false
	}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.Linux && p.Living(now) {
			return false
		}
	}
	return true
}

// keepAdjusted leaves a state what a peer does not know of its sequence numbers
// yet: conntrack's position only moves forward (nf_ct_seqadj_set), and an
// adjustment never goes.
func keepAdjusted(x, was *pfstate.Extra) {
	for dir := range x.SeqAdj {
		a, old := &x.SeqAdj[dir], &was.SeqAdj[dir]
		if *old != (pfstate.SeqAdj{}) && (*a == (pfstate.SeqAdj{}) || int32(a.Pos-old.Pos) < 0) {
			*a = *old
			x.Has |= pfstate.HasSeqAdj
		}
	}
	if x.Has&pfstate.HasSynproxy == 0 {
		x.Proxy = was.Proxy
		x.Has |= was.Has & pfstate.HasSynproxy
	}
	x.Adjust = was.Adjust || x.SeqAdj != was.SeqAdj || x.Proxy != was.Proxy
}

// spareAdjusted leaves the kernel its own sequence numbers in an update, unless
// a peer knows something later: packets may have moved them meanwhile.
func (e *Engine) spareAdjusted(s *pfstate.State, f *pfstate.Flow) {
	if x := e.tab.Extra(s); x != nil && !x.Adjust {
		f.Has &^= pfstate.HasSeqAdj | pfstate.HasSynproxy
	}
}

// adjusted: the kernel has taken an update. It says nothing where it has no room
// for an adjustment, which is of an entry that packets made, so it is asked.
func (e *Engine) adjusted(r pfstate.Ref) {
	s := e.tab.At(r)
	if x := e.tab.Extra(s); x != nil && x.Adjust && s.Op == 0 {
		e.toldKernel(s)
		e.wantOp(r, pfstate.OpGet)
	}
}

// toldKernel: the kernel has made an entry with all that we know.
func (e *Engine) toldKernel(s *pfstate.State) {
	if x := e.tab.Extra(s); x != nil && s.Op == 0 {
		x.Adjust = false
	}
}

// readjust looks whether the kernel's entry lacks an adjustment, and does what
// gives it one. It reports whether that is to make the entry anew: packets have
// made it that were to have other numbers, which nobody at the ends took.
func (e *Engine) readjust(r pfstate.Ref, f *pfstate.Flow) (anew bool) {
	s := e.tab.At(r)
	x := e.tab.Extra(s)
	if x == nil {
		return false
	}
	lacks := false
	for dir := range x.SeqAdj {
		if diff, plain := plainDiff(&x.SeqAdj[dir]); f.SeqAdj[dir] == (pfstate.SeqAdj{}) && (diff != 0 || !plain) {
			lacks, anew = true, anew || plain
		}
	}
	switch {
	case !lacks:
		return false
	case !anew || written(f):
		if x.Adjust {
			e.wantOp(r, pfstate.OpUpdate)
		}
		return false
	}
	e.uproot(f)
	e.tab.At(r).Flags &^= pfstate.FlagInKernel | pfstate.FlagReversed
	e.wantOp(r, pfstate.OpCreate)
	return true
}
