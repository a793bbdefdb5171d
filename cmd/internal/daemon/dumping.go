package daemon

import (
	"math"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// failPause is how long a failed dump is not tried again.
const failPause = 100 * time.Millisecond

// order is what the dumper is to do.
type order struct {
	filter conntrack.Filter
	urgent bool // without rests
}

// dumping is the dump under way, and when the next is due: a whole one right
// after the subscription, others to see what lives (looks.go), a whole one at
// once when events were lost.
type dumping struct {
	asked   chan order // to the dumper
	running bool
	kind    lookKind // of the one running
	looks   schedule
	soonest int64 // of any
	slow    bool  // it has been said that looks are few

	count, failed, partial uint64
	cost                   int64 // nanoseconds of a processor in all
	own                    int64 // of the loop, on the one running
	last                   int64 // of the last whole one
	since                  int64 // when the first began
}

func newDumping() dumping { return dumping{asked: make(chan order, 1), looks: newSchedule()} }

// dumpAt is when a dump is to begin.
func (l *loop) dumpAt() int64 {
	d := &l.dump
	switch {
	case d.running:
		return math.MaxInt64
	case l.eng.NeedDump():
		return d.soonest
	}
	_, at := d.looks.due()
	return max(at, d.soonest)
}

// startDump tells the engine first: from here on events are newer than what
// the dump tells.
func (l *loop) startDump(urgent bool) {
	d := &l.dump
	d.running, d.kind, d.own = true, lookWhole, 0
	if !urgent {
		d.kind, _ = d.looks.due()
	}
	d.count++
	if d.kind != lookWhole {
		d.partial++
	}
	if d.since == 0 {
		d.since = l.now
	}
	l.eng.Local(l.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin, Partial: d.kind != lookWhole}})
	d.asked <- order{looks[d.kind].filter, urgent}
}

// dumped takes a batch of records.
func (l *loop) dumped(b *events) {
	l.eng.Local(l.now, b.evs[:b.n])
	last, cost := b.evs[b.n-1].Kind, b.cost
	l.dumps.free <- b
	d := &l.dump
	d.own += l.clock() - l.now
	if last != pfstate.EventDumpEnd && last != pfstate.EventDumpFail {
		return
	}
	d.running = false
	cost += d.own
	d.cost += cost
	if d.kind == lookWhole {
		d.last = cost
	}
	d.looks.looked(l.now, d.kind, cost)
	d.soonest = l.now
	if last == pfstate.EventDumpFail {
		d.failed++
		d.soonest = l.now + max(int64(failPause), cost)
	}
	l.tellPace()
}

// tellPace says when liveness is looked at less often than it should be, and
// when it is no longer.
func (l *loop) tellPace() {
	d := &l.dump
	every := d.looks.interval()
	switch slow := d.looks.slowed(); {
	case slow && !d.slow:
		l.log.Warn("large table, looking less often for what lives", "every", every.Round(time.Second), "states", l.eng.Table().Len())
		d.slow = true
	case d.slow && every == looksEvery:
		l.log.Info("looking for what lives as often as usual", "every", every)
		d.slow = false
	}
}

// permille is the part of one core that dumps have taken since the start.
func (d *dumping) permille(now int64) uint64 {
	if d.since == 0 || now <= d.since {
		return 0
	}
	return uint64(d.cost * 1000 / (now - d.since))
}
