package daemon

import (
	"time"
)

// Bounds of a stop: what is queued leaves within, or not at all.
const (
	finishWait   = 2 * time.Second
	finishFrames = 1 << 14
)

// finish sends what is queued, never a CLR, and has the kernel do what was
// asked of it; held packets go first. Inputs have been stopped, so it comes to an end; a peer's bulk
// transfer is not ended.
func (l *loop) finish() {
	l.releaseHeld()
	if !l.flush(time.After(finishWait)) {
		l.log.Warn("stopped before all that was queued was sent")
	}
	if l.clean() {
		put(l.keep.demotion, 0)
	}
}

// flush reports whether nothing is left with sender and injector.
func (l *loop) flush(deadline <-chan time.Time) bool {
	l.now = l.clock()
	for total := 0; ; {
		if total < finishFrames {
			total += l.drainFrames(l.now + l.longestDelay())
		}
		l.drainOps()
		if len(l.spareOps) == opBatches && len(l.spareFrames) == frameBatches {
			return true
		}
		select {
		case b := <-l.frames.free:
			l.sent(b)
		case b := <-l.ops.free:
			l.answered(b)
		case <-deadline:
			return false
		}
	}
}

// longestDelay is how far in the future all that is queued now is due.
func (l *loop) longestDelay() int64 {
	return max(int64(l.eng.Config().MaxDelay), int64(time.Second))
}
