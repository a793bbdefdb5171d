package engine

import "github.com/pfsync/pfsync/syncproto"

// What makes a check due, and what it has left: peers whose tables are known to
// differ from ours, or may.

// checkable reports whether a peer can be compared with.
func (p *Peer) checkable(now int64) bool {
	return p.used && p.Linux && p.Digests && p.CreatorID != 0 && p.Living(now)
}

// doubt: a peer may have told what we did not hear.
func (e *Engine) doubt(now int64, p *Peer) {
	if !p.Digests || e.cfg.Format != syncproto.Format6 {
		e.bulkQuietly(now)
		return
	}
	p.doubt, p.doubtAt, p.doubtTries = true, now+doubtAfter, 0
}

// doubtAll is doubt about every peer. What could not be had may be had now.
func (e *Engine) doubtAll(now int64) {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Linux {
			p.forgive()
			e.doubt(now, p)
		}
	}
}

// doubtOurs: it was we who may have missed something, and what we told of it may
// have been wrong.
func (e *Engine) doubtOurs(now int64) {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.Digests {
			e.doubt(now, p)
		}
	}
}

// forgive forgets which differences could not be healed.
func (p *Peer) forgive() { p.explained, p.lasting, p.unhealed = nil, nil, 0 }

// missing reports whether frames of a peer were lost for good, and what they told
// is to be found out. One that is silent cannot be asked.
func (p *Peer) missing() bool { return p.doubt && p.missed && !p.silent }

// differs reports whether a difference from a peer's table is known, or frames
// were lost for good and what they told is not known yet.
func (e *Engine) differs() bool {
	if e.check.on && e.check.open > 0 {
		return true
	}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && (p.unhealed > 0 || p.missing()) {
			return true
		}
	}
	return false
}

// lasting is how many states differ for good, 0 if there is more that will be
// put right.
func (e *Engine) lasting() (n int) {
	if e.dump.diverged || e.repair.doubt() || e.check.on && e.check.open > 0 {
		return 0
	}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used {
			if p.missing() {
				return 0
			}
			n += p.unhealed
		}
	}
	return n
}
