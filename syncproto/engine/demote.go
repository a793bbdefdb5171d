package engine

import (
	"time"
)

// Which of two firewalls has the better table when they meet again: the one
// through which the connections went meanwhile. The other must not become
// master before it has been told, and the one must not cease to be.

const (
	// blink is how long a link may be gone, or a run be over, without anybody
	// having taken over.
	blink = second
	// asleep is the time without a call after which we were stopped, or the whole
	// machine was: there is one a second.
	asleep = 3 * second / 2
	// drowsy is how long after that what we are told may be of the time before.
	drowsy = second
	// shortStop is how long a daemon may be gone when nobody can tell who carried
	// the traffic meanwhile: who did before does still.
	shortStop = 10 * time.Second
	// stampSlack is how much later than the time we know of a run may have ended,
	// and what peers told it then have been written.
	stampSlack = 5 * second
	// lately is how old the last packet may be that shows who carries the traffic.
	lately = 30 * second
)

// life is what we know of the traffic that this host carries.
type life struct {
	at    int64 // last time that a packet was seen to have made or changed an entry, or kept it alive
	last  int64 // last call
	slept int64 // start of the last long time without one
	woke  int64 // its end
	kept  bool  // packets passed here while no run of ours did
}

// alive notes that a packet has passed here.
func (e *Engine) alive(now int64) {
	if !e.drowsy(now) {
		e.life.at = now
	}
}

// drowsy reports whether we have just slept.
func (e *Engine) drowsy(now int64) bool { return e.life.woke != 0 && now-e.life.woke < drowsy }

// awake notes that time goes on.
func (e *Engine) awake(now int64) {
	l := &e.life
	if now-l.last > asleep {
		l.slept, l.woke = l.last, now
	}
	l.last = now
}

// wakeAt is when a call is due, that we may know whether we slept.
func (e *Engine) wakeAt() int64 {
	if !e.cfg.Sync {
		return never
	}
	return e.life.last + second
}

// awakeAt is when something happened that we are told of now: if we have just
// slept, it may have been then.
func (e *Engine) awakeAt(now int64) int64 {
	if e.drowsy(now) {
		return e.life.slept
	}
	return now
}

// aliveBefore looks at an entry that was found at start, whose last packet
// passed so long ago: did it when there was no run of ours?
func (e *Engine) aliveBefore(idle int64) {
	if e.cfg.KernelKept && idle < min(lately, int64(e.cfg.DownFor)-stampSlack) {
		e.life.kept = true
	}
}

// demotion is the table of design section 6.
func (e *Engine) demotion(now int64) int {
	b := &e.bulk
	switch {
	case e.cfg.KernelKept && !e.claim.dumped && b.state != SyncNone && !b.was:
		return e.cfg.Demoted // we do not know yet what we have
	case b.state == SyncSent || b.state == SyncBulk:
		if b.quiet {
			return 0 // what we have is good
		}
		if e.carrier() {
			// Were this the full demotion, both ends of a cut cable would have
			// it at once, and the master might change.
			return 1
		}
		return e.cfg.Demotion
	case b.state == SyncStart && !b.was && now-b.downAt < linkHold:
		if e.carrier() {
			return 1
		}
		return e.cfg.Demotion
	case b.state == SyncStart:
		return 1
	}
	return 0
}

// carrier reports whether what we have is as good as what we ask for: for all
// that we know it was here that connections went while we did not hear peers.
func (e *Engine) carrier() bool {
	b, l := &e.bulk, &e.life
	if b.was {
		return b.upAt-b.downAt < blink || l.at > b.downAt
	}
	return e.cfg.KernelKept && (e.cfg.DownFor > 0 && e.cfg.DownFor < shortStop || l.kept || l.at >= e.started)
}
