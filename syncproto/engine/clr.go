package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// maxClr is how many CLR of a region are obeyed.
const maxClr = 16

// clrSlack is how far behind its successors a CLR may come: what was told after
// it is not meant.
const clrSlack = second

// inClrs takes the CLR messages of a region: the states of their creators go,
// but those whose traffic passes here are announced again (design section 6).
// An interface bounds its own message only (pfsync-protocol.md section 9.3, as
// OpenBSD).
func (e *Engine) inClrs(x *rx, reg *syncproto.Region) {
	var list [maxClr]syncproto.Clr
	n := 0
	for i := range reg.Whole() {
		if n == maxClr {
			e.reason(ReasonRateClr)
			break
		}
		if syncproto.ParseClr(reg.Message(i), &list[n]) == nil && list[n].CreatorID != 0 {
			n++
		}
	}
	if n == 0 || !e.mayClear(x.now, x.peer) {
		return
	}
	e.keptCleared(list[:n])
	more := false
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if !e.tab.InUse(r) || !e.cleared(e.tab.At(r), list[:n]) || x.late && x.now-e.tab.At(r).LastPeer < clrSlack {
			continue
		}
		switch {
		case !e.tab.At(r).Has(pfstate.FlagCarried):
			e.erase(r, true)
		case !more && e.mayReply(x.now, x.peer):
			e.push(x.now, r)
		default:
			more = true
		}
	}
	if more && x.peer.admitBulk(x.now) {
		e.serveAll(x.now)
	}
}

// cleared reports whether one of the messages is about the state.
func (e *Engine) cleared(s *pfstate.State, list []syncproto.Clr) bool {
	if s.Has(pfstate.FlagDead) {
		return false
	}
	creator := s.MainName().CreatorID
	for i := range list {
		if m := &list[i]; m.CreatorID == creator && (m.IfName == syncproto.Name{} || e.boundTo(s, m.IfName)) {
			return true
		}
	}
	return false
}

// boundTo reports whether a pf made the state on this interface. A Linux state
// is bound to none.
func (e *Engine) boundTo(s *pfstate.State, name syncproto.Name) bool {
	ext := e.tab.Extra(s)
	if ext == nil {
		return false
	}
	for side := range ext.Foreign {
		if ext.Foreign[side].Set && ext.Foreign[side].IfName == name {
			return true
		}
	}
	return false
}
