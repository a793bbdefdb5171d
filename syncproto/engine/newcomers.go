package engine

import (
	"net/netip"
	"slices"
)

// There is no telling a forged source from a firewall by one frame, and only so
// many places. Who goes on speaking keeps a place; who has only passed by gives
// it up to the next one. What nobody can take away is the place of who was
// known before this start: a pair that restarts under attack finds itself.

const (
	provenAfter = 5 * second // of speaking: no passer-by
	passedBy    = linuxSilent
)

// proven reports whether a peer has spoken for some time.
func (p *Peer) proven() bool { return p.Last-p.First >= provenAfter }

// peerOf returns the peer of an address, new if there is a place for it; nil
// otherwise, so that forged sources do not push out real ones.
func (e *Engine) peerOf(now int64, from netip.Addr) (p *Peer, index int) {
	list := &e.peers.list
	for i := range list {
		if list[i].used && list[i].Addr == from {
			return &list[i], i
		}
	}
	known := slices.Contains(e.cfg.Known, from)
	i := e.peers.place(now, known)
	if i < 0 {
		return nil, 0
	}
	list[i] = Peer{used: true, known: known, Addr: from, First: now, Last: now}
	e.graves.forget(uint8(i))
	e.countGaps()
	return &list[i], i
}

// place is where a new peer goes: a free place, or else that of the one unheard
// for the longest among those who may be replaced. It is -1 if there is none.
func (p *peers) place(now int64, known bool) int {
	at := -1
	for i := range p.list {
		q := &p.list[i]
		if !q.used {
			return i
		}
		silent := now - q.Last
		if q.known && silent <= forgetPeer || !known && silent <= passedBy || !known && q.proven() && silent <= forgetPeer {
			continue
		}
		if at < 0 || q.before(&p.list[at]) {
			at = i
		}
	}
	return at
}

// before reports whether q is to be replaced rather than o.
func (q *Peer) before(o *Peer) bool {
	if q.proven() != o.proven() {
		return o.proven()
	}
	return q.Last < o.Last
}
