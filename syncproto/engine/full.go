package engine

import "github.com/pfsync/pfsync/pfstate"

// A kernel whose table is full takes no states of peers, and ends some that it
// has. That is a difference between the tables from the first one on, and over
// when it is: both sides know at once, without waiting for the next comparison.

const (
	// fullFor is how long after it had no room for an entry the kernel's table is
	// taken to be full, and how often we look what is lacking while it is.
	fullFor = 60 * second
	// forgiveEvery is how often a peer's acknowledgement is taken to mean that it
	// has room again.
	forgiveEvery = 60 * second
)

// noRoom: the kernel has refused an entry for want of room.
func (e *Engine) noRoom(now int64) {
	d := &e.dump
	d.full, d.fullAt = true, now
	if d.refused && now-d.lacking < fullFor {
		return
	}
	d.lacking = now
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Digests {
			e.missed(now, p)
		}
	}
}

// pushedOut reports whether the kernel has made room for another connection
// (nf_conntrack_core.c early_drop). Of one that passes elsewhere that says
// nothing.
func (e *Engine) pushedOut(now int64, s *pfstate.State, f *pfstate.Flow) bool {
	full := e.dump.fullAt != 0 && now-e.dump.fullAt < fullFor
	return full && !s.Carried() && f.Status&pfstate.StatusAssured == 0
}

// roomAgain: the kernel has taken what it had refused. A peer that knows that we
// lack something hears of it by the acknowledgement.
func (e *Engine) roomAgain(now int64, r pfstate.Ref) {
	if !e.dump.refused {
		return
	}
	e.dump.refused = false
	e.tab.At(r).Flags |= pfstate.FlagAckWanted
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Digests {
			e.compareAnew(now, i)
		}
	}
}

// takesAgain: a peer from which we differ for good has acknowledged a state. It
// may be one that it had refused.
func (e *Engine) takesAgain(now int64, p *Peer) {
	if p.unhealed == 0 || p.forgiven != 0 && now-p.forgiven < forgiveEvery {
		return
	}
	p.forgiven = now
	for i := range e.peers.list {
		if p == &e.peers.list[i] {
			e.compareAnew(now, i)
		}
	}
}

// compareAnew forgets what is known of differences from a peer's table, and
// what a check under way has found, unless somebody waits for that.
func (e *Engine) compareAnew(now int64, peer int) {
	if c := &e.check; c.on && c.peer == peer && c.why != checkDemand {
		e.checkEnd(now, VerifyBroken)
	}
	p := &e.peers.list[peer]
	p.forgive()
	e.missed(now, p)
}
