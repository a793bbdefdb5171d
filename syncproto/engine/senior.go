package engine

import "github.com/pfsync/pfsync/pfstate"

// Where there is no more room for states of peers, who came first goes first.
// Nothing on the link proves who sends, but a firewall is there before the
// flood: a source that appears later, or a thousand of them, gets what those
// before it leave. A state of one that came later makes room, and one that the
// peer has only heard of; before all, what no kernel here can hold. Nothing
// helps against who forges a firewall's own address.
//
// What passes here, and what was found in the kernel at start, is nobody's.

const (
	// evictGlance is how many table slots an insert looks through for a state
	// that makes room, from where the last one stopped. If another peer came
	// later it looks on, at the whole table if need be; evictRate bounds what all
	// look at, a second: some hundredths of a core.
	evictGlance = 64
	evictRate   = 1 << 20

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
	if e.roomInKernel() && e.kept.dropAny() {
		e.reason(ReasonEvicted)
		return true
	}
	on := e.peers.anyAfter(x.peer)
	for n := range int(e.tab.End()) {
		if n > 0 && n%evictGlance == 0 && !(on && e.evicts.take(x.now, evictGlance, evictRate, second/evictRate)) {
			return false
		}
		if e.evict++; e.evict >= e.tab.End() {
			e.evict = 0 // no state has this
			continue
		}
		if e.tab.InUse(e.evict) && e.yields(x.peer, e.tab.At(e.evict)) {
			s := e.tab.At(e.evict)
			e.reason(ReasonEvicted)
			e.refusals.put(&rx{now: x.now, index: s.Source&^hearsaySource - 1}, s.MainName(), ReasonMaxStates)
			e.erase(e.evict, false)
			return true
		}
	}
	return false
}

// yields reports whether a state makes room for what passes at a peer.
func (e *Engine) yields(p *Peer, s *pfstate.State) bool {
	return s.Source != 0 && s.Flags&(pfstate.FlagDead|pfstate.FlagCarried) == 0 && e.before(p, s)
}

// anyAfter reports whether any peer came after p.
func (l *peers) anyAfter(p *Peer) bool {
	for i := range l.list {
		if q := &l.list[i]; q.used && p.senior(q) {
			return true
		}
	}
	return false
}
