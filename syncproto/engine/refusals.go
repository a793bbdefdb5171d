package engine

import "github.com/pfsync/pfsync/pfstate"

// refusals remember the names last refused. Their maker goes on telling of them
// by compressed updates, thousands a second, and a pf is asked for each of a
// state that nobody has here (pfsync-protocol.md section 9.3): in vain.
type refusals struct {
	of []refusal // made with the first
}

type refusal struct {
	id   pfstate.ID
	at   int64
	peer uint8 // index; another's word is not doubted for this one's
	full bool  // for want of room
}

const (
	refusalCount = 1 << 14 // half a megabyte
	// refusedFor is how long a refused name is not asked for: what it is refused
	// for may have changed by then in a way that nobody noticed.
	refusedFor = 60 * second
)

func (f *refusals) slot(id pfstate.ID) *refusal {
	return &f.of[(uint32(id.ID)^id.CreatorID)%refusalCount]
}

// put notes that a peer's state was refused.
func (f *refusals) put(x *rx, id pfstate.ID, why Reason) {
	if why == ReasonRateInsert {
		return // over in a second
	}
	if f.of == nil {
		f.of = make([]refusal, refusalCount)
	}
	*f.slot(id) = refusal{id, x.now, x.index, why == ReasonMaxStates}
}

// forget: what is refused may be another now.
func (f *refusals) forget() { f.of = nil }

// inVain reports whether a name that a peer tells of would be refused if it were
// asked for, as far as is known.
func (e *Engine) inVain(x *rx, id pfstate.ID) bool {
	if e.refusals.of == nil {
		return false
	}
	r := e.refusals.slot(id)
	return r.id == id && r.peer == x.index && x.now-r.at < refusedFor && !(r.full && e.roomFor())
}
