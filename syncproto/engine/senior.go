package engine

import "github.com/pfsync/pfsync/pfstate"

// Where there is no more room for states of peers, who came first goes first.
// Nothing on the link proves who sends, but a firewall is there before the
// flood: a source that appears later, or a thousand of them, gets what those
// before it leave. A state of one that came later makes room, then one that
// the peer has only heard of. Nothing helps against who forges a firewall's own
// address.
//
// What passes here, and what was found in the kernel at start, is nobody's.

const (
	// evictLook is how many table slots an insert looks through for a state that
	// makes room; the next one goes on from there. evictGlance is the same for a
	// peer after which nobody came.
	evictLook   = 256
	evictGlance = 16

	// evictsAtOnce bounds the deletes that wait for the kernel, for until they
	// are done there are as many states too many.
	evictsAtOnce = 1 << 12

	// hearsaySource marks a State.Source: the peer has only heard of it.
	hearsaySource = 0x80
)

// senior reports whether p came before q: known from before this start before
// all others, then by when it was first heard.
func (p *Peer) senior(q *Peer) bool {
	if p.known != q.known {
		return p.known
	}
	return p.First < q.First
}

// sourceOf is the peer of a record, marked.
func sourceOf(x *rx, m *record) uint8 {
	if m.linux && !m.carried {
		return x.index + 1 | hearsaySource
	}
	return x.index + 1
}

// before reports whether what passes at a peer goes before a state.
func (e *Engine) before(p *Peer, s *pfstate.State) bool {
	q := &e.peers.list[s.Source&^hearsaySource-1]
	return p.senior(q) || p == q && s.Source&hearsaySource != 0
}

// vouch notes by whom a state passes: of all that said so the one that came
// first.
func (e *Engine) vouch(x *rx, s *pfstate.State, m *record) {
	if source := sourceOf(x, m); s.Source != 0 && source&hearsaySource == 0 && e.before(x.peer, s) {
		s.Source = source
	}
}

// evictFor makes room for a record by ending a state that comes after it. It is
// not asked for until there is room again.
func (e *Engine) evictFor(x *rx, m *record) bool {
	if sourceOf(x, m)&hearsaySource != 0 || e.ops.Len() >= evictsAtOnce {
		return false
	}
	for range e.evictSlots(x.peer) {
		if e.evict++; e.evict >= e.tab.End() {
			e.evict = 0 // no state has this
			continue
		}
		if !e.tab.InUse(e.evict) {
			continue
		}
		s := e.tab.At(e.evict)
		if s.Source == 0 || s.Flags&(pfstate.FlagDead|pfstate.FlagCarried) != 0 || !e.before(x.peer, s) {
			continue
		}
		e.reason(ReasonEvicted)
		e.refusals.put(&rx{now: x.now, index: s.Source&^hearsaySource - 1}, s.MainName(), ReasonMaxStates)
		e.erase(e.evict, false)
		return true
	}
	return false
}

// evictSlots is how many slots an insert of a peer looks through.
func (e *Engine) evictSlots(p *Peer) int {
	for i := range e.peers.list {
		if q := &e.peers.list[i]; q.used && p.senior(q) {
			return evictLook
		}
	}
	return evictGlance
}
