package engine

import "github.com/pfsync/pfsync/pfstate"

const (
	// doubtWait is how long another firewall that lets a connection pass too,
	// the other way round, has to speak up.
	doubtWait = 3 * second
	maxDoubts = 1 << 12
)

// doubt is a state that somebody has contradicted.
type doubt struct {
	id pfstate.ID
	at int64 // when it is settled
}

// doubts are those not settled, oldest first.
type doubts struct {
	list []doubt
}

func (d *doubts) deadline() int64 {
	if len(d.list) == 0 {
		return never
	}
	return d.list[0].at
}

// doubted: a peer that does not carry it has heard that a connection is further
// than it is here, where it passes. Either it passes elsewhere too, and whoever
// lets it pass there will say so when told what we have; or what the peer has
// is of another connection.
func (e *Engine) doubted(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Has(pfstate.FlagDoubted) || len(e.doubts.list) >= maxDoubts {
		return
	}
	s.Flags |= pfstate.FlagDoubted
	e.doubts.list = append(e.doubts.list, doubt{s.MainName(), now + doubtWait})
	e.push(now, r)
}

// doubtTick renames what no packet here and nobody else who carries it has
// cleared of the doubt.
func (e *Engine) doubtTick(now int64) {
	for d := &e.doubts; now >= d.deadline(); {
		id := d.list[0].id
		d.list = d.list[:copy(d.list, d.list[1:])]
		r, _, ok := e.tab.ByName(id)
		if !ok || !e.tab.At(r).Has(pfstate.FlagDoubted) {
			continue
		}
		if e.repair.gaps > 0 { // what would clear it may be missing
			d.list = append(d.list, doubt{id, now + doubtWait})
			continue
		}
		s := e.tab.At(r)
		s.Flags &^= pfstate.FlagDoubted
		if s.Carried() && !s.Has(pfstate.FlagDead) {
			e.rename(now, r)
		}
	}
}
