package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Sync queues, in the order in which their regions stand in a frame: a delete
// before the insert that reuses its port (design section 6).
const (
	qNone uint8 = iota
	qIack
	qDel
	qTake // deletes and inserts: a pf's connection that passes here now
	qUpdC
	qIns
	qUpd
	queueKinds
)

var queueAction = [queueKinds]syncproto.Action{
	qIack: syncproto.ActInsAck,
	qDel:  syncproto.ActDelC,
	qTake: syncproto.ActIns,
	qUpdC: syncproto.ActUpdC,
	qIns:  syncproto.ActIns,
	qUpd:  syncproto.ActUpd,
}

// queueLen is the length of one message of each queue in the sent format.
func (e *Engine) queueLen(q uint8) int { return queueAction[q].Length(e.cfg.Format) }

// enqueue puts r on a queue, taking it off the one it is on.
func (e *Engine) enqueue(now int64, r pfstate.Ref, q uint8) {
	s := e.tab.At(r)
	if q > qTake && e.takesOver(now, s) {
		q = qTake
	}
	if s.Queue == q {
		return
	}
	e.dequeue(r)
	s.Queue = q
	s.Updates = 0
	e.tab.Push(&e.queues[q], r)
	e.queuedB += e.queueLen(q)
	delay := int64(e.cfg.MaxDelay)
	if s.Has(pfstate.FlagLiveness) {
		delay = livenessDelay
	}
	e.dueBy(now + delay)
	if e.queuedB >= e.mtu()-ipHeader-syncproto.HeaderLen {
		e.dueBy(now)
	}
}

// dequeue takes r off its sync queue, if it is on one.
func (e *Engine) dequeue(r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Queue == qNone {
		return
	}
	e.tab.Remove(&e.queues[s.Queue], r)
	e.queuedB -= e.queueLen(s.Queue)
	s.Queue = qNone
	s.Set(pfstate.FlagLiveness, false)
}

// dueBy makes what is queued leave at t or before.
func (e *Engine) dueBy(t int64) { e.due = min(e.due, t) }

// schedIfQueued makes what waited for the link leave now.
func (e *Engine) schedIfQueued(now int64) {
	if e.queued() {
		e.dueBy(now)
	}
}

func (e *Engine) queued() bool {
	for q := qIack; q < queueKinds; q++ {
		if e.queues[q].Len() > 0 {
			return true
		}
	}
	return e.rawDel.len() > 0 || e.reqs.len() > 0 || len(e.clrs) > 0
}

// announce queues an insert: a new local state, or one just named.
func (e *Engine) announce(now int64, r pfstate.Ref) {
	e.deferAsk(r)
	e.enqueue(now, r, qIns)
}

// announceAll queues all that was announced while there was nobody to hear it:
// connections that began between the start of the daemon and the syncdev. Of a
// large table peers learn by asking.
func (e *Engine) announceAll(now int64) {
	if named := e.nextID - e.cfg.StartID; named == 0 || named > ringSize {
		return
	}
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if !e.tab.InUse(r) {
			continue
		}
		if s := e.tab.At(r); s.Flags&(pfstate.FlagDead|pfstate.FlagAnnounced) == pfstate.FlagAnnounced && e.ours(s.MainName()) {
			s.Flags &^= pfstate.FlagAnnounced
			e.enqueue(now, r, qIns)
		}
	}
}

// localUpdate queues what the local kernel changed (pfsync-protocol.md section
// 12.1, event "local update"). full asks for UPD: something that UPD_C cannot
// carry.
func (e *Engine) localUpdate(now int64, r pfstate.Ref, full bool) {
	s := e.tab.At(r)
	s.Set(pfstate.FlagLiveness, false)
	switch s.Queue {
	case qDel:
		return
	case qIns, qUpd:
		e.collapse(now, s)
	case qUpdC:
		if full {
			e.enqueue(now, r, qUpd)
		} else {
			e.collapse(now, s)
		}
	default:
		if full || !s.Has(pfstate.FlagAnnounced) {
			e.enqueue(now, r, qUpd)
		} else {
			e.enqueue(now, r, qUpdC)
		}
	}
	e.dueBy(now + int64(e.cfg.MaxDelay))
	if s.LastPeer != 0 && now-s.LastPeer < recentPeer {
		e.dueBy(now)
	}
}

// collapse counts an update that costs nothing; TCP is sent at maxupd.
func (e *Engine) collapse(now int64, s *pfstate.State) {
	if s.Proto != pfstate.ProtoTCP {
		return
	}
	if s.Updates < 255 {
		s.Updates++
	}
	if int(s.Updates) >= e.cfg.MaxUpd {
		e.dueBy(now)
	}
}

// signOfLife queues an UPD_C that has no news but that the connection lives.
func (e *Engine) signOfLife(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Queue != qNone && s.Queue != qIack {
		return
	}
	s.Set(pfstate.FlagLiveness, true)
	if e.needsFull(now, s) {
		e.enqueue(now, r, qUpd)
	} else {
		e.enqueue(now, r, qUpdC)
	}
	s.Set(pfstate.FlagLiveness, true)
}

// push queues a full update at once: requested by a peer, or an answer.
func (e *Engine) push(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Queue != qDel && s.Queue != qIns && s.Queue != qUpd {
		e.enqueue(now, r, qUpd)
	}
	e.dueBy(now)
}

// answerPace keeps two firewalls that contradict each other from answering
// each other for ever.
const answerPace = second

// answer pushes a state because a peer has it otherwise.
func (e *Engine) answer(now int64, r pfstate.Ref) {
	if s := e.tab.At(r); s.LastSent == 0 || now-s.LastSent >= answerPace {
		e.push(now, r)
	}
}

// pushC queues a compressed update at once: an answer to a stale one.
func (e *Engine) pushC(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if s.LastSent != 0 && now-s.LastSent < answerPace {
		return
	}
	if s.Queue == qNone || s.Queue == qIack {
		e.enqueue(now, r, qUpdC)
	}
	e.dueBy(now)
}

// ack queues an INS_ACK at once.
func (e *Engine) ack(now int64, r pfstate.Ref) {
	if s := e.tab.At(r); s.Queue == qNone {
		e.enqueue(now, r, qIack)
	}
	e.dueBy(now)
}

// needsFull reports whether the remaining time of s differs from what a
// receiver of UPD_C would assume by more than a quarter.
func (e *Engine) needsFull(now int64, s *pfstate.State) bool {
	want := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status)) * second
	left := s.Expire - now
	return left < want-want/4 || left > want+want/4
}

// bury ends a state of which peers know: its delete is queued and it is found
// by name only until that is sent.
func (e *Engine) bury(now int64, r pfstate.Ref, killed bool) {
	s := e.tab.At(r)
	e.deferRelease(r, DeferGone)
	e.setCarried(s, false)
	e.cancelOp(r)
	e.tab.UnlinkTuples(r)
	if s.MainName().IsZero() || s.Queue == qIns && !s.Has(pfstate.FlagAnnounced) {
		e.release(r) // nobody was told: nothing is sent at all
		return
	}
	s.Flags |= pfstate.FlagDead
	s.Set(pfstate.FlagKilled, killed)
	s.Set(pfstate.FlagInKernel, false)
	e.held++
	e.enqueue(now, r, qDel)
	if e.held > maxHeld {
		e.dropDead(e.queues[qDel].Head())
	}
}

// dropDead forgets a dead state.
func (e *Engine) dropDead(r pfstate.Ref) {
	e.held--
	e.tab.At(r).Flags &^= pfstate.FlagDead
	e.release(r)
}

// release forgets a state at once, or as soon as the operation under way for
// it is answered.
func (e *Engine) release(r pfstate.Ref) {
	s := e.tab.At(r)
	e.deferRelease(r, DeferGone)
	e.dequeue(r)
	e.cancelOp(r)
	e.setCarried(s, false)
	if s.Has(pfstate.FlagUnclaimed) {
		e.claim.waiting--
	}
	e.tab.UnlinkTuples(r)
	e.tab.DigestOut(r)
	if s.InFlight != 0 {
		for side := range pfstate.Sides {
			e.tab.ClearName(r, side)
		}
		s.Flags = pfstate.FlagDead // freed by Done
		return
	}
	e.tab.Free(r)
}

// setCarried notes whether the last evidence of life is ours.
func (e *Engine) setCarried(s *pfstate.State, on bool) {
	s.Flags &^= pfstate.FlagUnsure
	if s.Has(pfstate.FlagCarried) != on {
		s.Set(pfstate.FlagCarried, on)
		if on {
			if s.Has(pfstate.FlagImported) {
				e.onlyPF.passes()
			}
			e.dropWords(s)
			e.carried++
		} else {
			e.carried--
		}
	}
}

// ring is a bounded FIFO of names, without duplicates of the last one.
type ring struct {
	ids  []named
	head int
	most int // 0: ringSize
}

type named struct {
	pfstate.ID
	deleted bool // of a frame sent: it was a delete
	asked   bool // a request
	again   bool // a request for the second time: there is no third
	killed  bool // a delete that is to be obeyed
}

const ringSize = 1 << 16

func (q *ring) full() bool { return q.len() >= max(q.most, ringSize) }

func (q *ring) len() int { return len(q.ids) - q.head }

// put appends and reports whether there was room.
func (q *ring) put(n named) bool {
	if q.full() {
		return false
	}
	if q.len() > 0 && q.ids[len(q.ids)-1].ID == n.ID {
		return true
	}
	if q.head > 0 && len(q.ids) == cap(q.ids) {
		q.ids = q.ids[:copy(q.ids, q.ids[q.head:])]
		q.head = 0
	}
	q.ids = append(q.ids, n)
	return true
}

func (q *ring) get() named {
	n := q.ids[q.head]
	q.head++
	if q.head == len(q.ids) {
		q.ids, q.head = q.ids[:0], 0
	}
	return n
}

// deleteName queues a DEL_C for a name that has no State here.
func (e *Engine) deleteName(now int64, id pfstate.ID, killed bool) {
	e.rawDel.put(named{ID: id, killed: killed})
	e.dueBy(now + int64(e.cfg.MaxDelay))
}

// request queues an UPD_REQ.
func (e *Engine) request(now int64, id pfstate.ID) {
	if !e.reqs.put(named{ID: id, asked: true}) {
		e.reason(ReasonRequestsDropped)
	}
	e.dueBy(now)
}

// requestState asks for a state by all its names: one may be over.
func (e *Engine) requestState(now int64, s *pfstate.State) {
	for side := range pfstate.SideAlias {
		if id := s.Name(side); !id.IsZero() {
			e.request(now, id)
		}
	}
}
