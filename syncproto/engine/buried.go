package engine

import "github.com/pfsync/pfsync/pfstate"

// buried remembers the names whose end we told or were told lately. A peer that
// has missed it, or was asked for its table before it came, would bring the
// dead back with its next record: it is told again instead.
type buried struct {
	of []burial // made when the first one ends
}

type burial struct {
	id     pfstate.ID
	at     int64  // when it was told again, 0 never
	frame  uint32 // the last that tells, or the first that may, 0 none
	killed bool
	again  uint8 // how often
}

const (
	buriedCount = 1 << 16 // ten seconds and more of a busy firewall
	// buriedAgain bounds the answers to a peer that insists: then it is
	// believed.
	buriedAgain = 3
)

func (b *buried) slot(id pfstate.ID) *burial {
	if b.of == nil {
		b.of = make([]burial, buriedCount)
	}
	return &b.of[(uint32(id.ID)^id.CreatorID)%buriedCount]
}

// put notes that a delete leaves.
func (b *buried) put(id pfstate.ID, killed bool) {
	if s := b.slot(id); s.id != id {
		*s = burial{id: id, killed: killed}
	} else {
		s.killed = s.killed || killed
	}
}

// sent notes that a frame tells, or will tell.
func (b *buried) sent(id pfstate.ID, killed bool, frame uint32) {
	b.put(id, killed)
	b.slot(id).frame = frame
}

// sentAfter reports whether one that is later than a frame tells, or will. Who
// has missed that frame has the later one, or asks for it.
func (b *buried) sentAfter(id pfstate.ID, frame uint32) bool {
	s := b.slot(id)
	return s.id == id && s.frame != 0 && framesFrom(frame, s.frame) > 0
}

// hearsay reports whether a record is only what its sender remembers of a
// connection whose end is told, and tells it again. Who carries it, or would for
// want of anybody else, does not obey a delete, so it is believed; but what was
// killed is killed where it passes too. A pf does not tell who carries what, so
// it is believed too, unless nothing more can pass.
func (e *Engine) hearsay(x *rx, m *record) bool {
	b := e.buried.slot(m.name)
	switch {
	case b.id != m.name:
		return false
	case b.again >= buriedAgain && x.now-b.at >= answerPace:
		x.believed = m.name
		fallthrough
	case (m.carried || m.unsure) && !b.killed, !m.linux && !finished(m):
		*b = burial{}
		return false
	}
	e.tellEnd(x, m.name)
	e.reason(ReasonDeleteLate)
	return true
}

// finished reports whether a record is of a connection that both ends have
// closed: nobody needs it, and under its old name it would close a later one.
func finished(m *record) bool {
	return m.proto == pfstate.ProtoTCP && min(m.src.State, m.dst.State) >= pfstate.PFFinWait2
}

// outlived reports whether a record of a connection that we do not have tells
// from memory, under a name that this run gave. Then it has ended.
func (e *Engine) outlived(x *rx, m *record) bool {
	return x.believed != m.name && m.linux && !m.carried && !m.unsure && !m.isNew && e.ended(m.name)
}

// ended reports whether a name that we do not have is known to be of a connection
// that has ended, however long ago: one that this run gave. That is not known of
// names older than one that got lost without an end (unsureEnd).
func (e *Engine) ended(id pfstate.ID) bool {
	return e.ours(id) && id.ID >= max(e.sureFrom, e.cfg.StartID) && id.ID < e.nextID
}

// unsureEnd: a state is given up here that may live elsewhere.
func (e *Engine) unsureEnd(s *pfstate.State) {
	for side := range pfstate.SideAlias {
		if e.ours(s.Name(side)) {
			e.sureFrom = e.nextID
		}
	}
}

// tellEnd repeats a delete for a peer that has not heard it, if there was one. It
// is as long as the question, so that it costs the peer nothing of its share.
func (e *Engine) tellEnd(x *rx, id pfstate.ID) {
	b := e.buried.slot(id)
	if b.id != id && e.ended(id) {
		e.buried.put(id, false)
	}
	if b.id != id || b.at != 0 && x.now-b.at < answerPace {
		return
	}
	b.again, b.at = min(b.again+1, buriedAgain), x.now
	e.deleteName(x.now, id, b.killed)
}
