package daemon

import (
	"math"
	"time"

	"github.com/pfsync/pfsync/pfstate"
)

// Dumps of the kernel's table: one right after the subscription, one every
// liveEvery to see what lives (packets make no events), one at once when events
// were lost.
const (
	liveEvery = 10 * time.Second
	liveShare = 10                     // a dump costs at most one in so many parts of the time between two
	failPause = 100 * time.Millisecond // before a failed urgent dump is tried again
)

// dumping is the dump under way, and when the next is due.
type dumping struct {
	asked   chan bool // to the dumper: whether it is urgent
	running bool
	next    int64 // of the regular ones
	soonest int64 // of any

	count, failed uint64
	cost          int64 // nanoseconds in all, without pauses
	last          int64 // nanoseconds, of the last
	since         int64 // when the first began
}

// dumpAt is when a dump is to begin.
func (l *loop) dumpAt() int64 {
	d := &l.dump
	switch {
	case d.running:
		return math.MaxInt64
	case l.eng.NeedDump():
		return d.soonest
	}
	return max(d.next, d.soonest)
}

// startDump tells the engine first: from here on events are newer than what
// the dump tells.
func (l *loop) startDump(urgent bool) {
	d := &l.dump
	d.running = true
	d.count++
	if d.since == 0 {
		d.since = l.now
	}
	l.eng.Local(l.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}})
	d.asked <- urgent
}

// dumped takes a batch of records.
func (l *loop) dumped(b *events) {
	l.eng.Local(l.now, b.evs[:b.n])
	last, cost := b.evs[b.n-1].Kind, b.cost
	l.dumps.free <- b
	if last != pfstate.EventDumpEnd && last != pfstate.EventDumpFail {
		return
	}
	d := &l.dump
	d.running = false
	d.last = cost
	d.cost += cost
	d.next = l.now + max(int64(liveEvery), cost*liveShare)
	d.soonest = l.now
	if last == pfstate.EventDumpFail {
		d.failed++
		d.soonest = l.now + max(int64(failPause), cost)
	}
}

// permille is the part of one core that dumps have taken since the start.
func (d *dumping) permille(now int64) uint64 {
	if d.since == 0 || now <= d.since {
		return 0
	}
	return uint64(d.cost * 1000 / (now - d.since))
}
