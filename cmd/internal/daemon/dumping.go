package daemon

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/pfsync/pfsync/pfstate"
)

// failPause is how long a failed dump is not tried again.
const failPause = 100 * time.Millisecond

// dumping is the dumps under way, and when the next is due: a whole one right
// after the subscription, others to see what lives (looks.go), a whole one at
// once when events were lost.
type dumping struct {
	asked   chan order    // to the dumper
	pace    *atomic.Int64 // of outer, told to it
	hurry   chan struct{} // to it: that has been lowered
	outer   look          // running is false if there is none
	inner   look          // at a part, within a whole one
	looks   schedule
	soonest int64 // of any
	slow    bool  // it has been said that looks are few

	count, failed, partial uint64
	cost                   int64 // nanoseconds of a processor in all
	last                   int64 // of the last whole one
	since                  int64 // when the first began
}

// look is one dump under way.
type look struct {
	running bool
	kind    lookKind
	began   int64
	own     int64 // nanoseconds that the loop has had for it
}

func newDumping() dumping {
	return dumping{asked: make(chan order, 1), pace: new(atomic.Int64), hurry: make(chan struct{}, 1), looks: newSchedule()}
}

// dumper is the task at the other end.
func (d *dumping) dumper(s [2]Dumper, x exchange[events], log *slog.Logger) *dumper {
	return &dumper{whole: s[0], part: s[1], asked: d.asked, pace: d.pace, hurry: d.hurry, x: x, log: log}
}

// dumpAt is when a dump is to begin.
func (l *loop) dumpAt() int64 {
	d := &l.dump
	var at int64
	switch {
	case d.inner.running, d.outer.running && (d.outer.kind != lookWhole || pace(d.pace.Load()) == paceNone):
		return math.MaxInt64
	case d.outer.running:
		_, at = d.looks.dueWithin()
	case l.eng.NeedDump():
		return d.soonest
	default:
		_, at = d.looks.due()
	}
	return max(at, d.soonest)
}

// startDump begins the dump that is due, or at once one of the whole table.
func (l *loop) startDump(urgent bool) {
	d := &l.dump
	if d.since == 0 {
		d.since = l.now
	}
	switch {
	case d.outer.running:
		kind, _ := d.looks.dueWithin()
		l.begin(&d.inner, kind, d.looks.calm())
	case urgent:
		l.begin(&d.outer, lookWhole, paceNone)
	default:
		kind, _ := d.looks.due()
		p := d.looks.calm()
		if l.now >= d.looks.hinted {
			p = paceBrisk
		}
		l.begin(&d.outer, kind, p)
	}
}

// begin tells the engine first: from here on events are newer than what the
// dump tells.
func (l *loop) begin(k *look, kind lookKind, p pace) {
	d := &l.dump
	*k = look{running: true, kind: kind, began: l.now}
	if k == &d.outer {
		d.pace.Store(int64(p))
	}
	d.count++
	if kind != lookWhole {
		d.partial++
	}
	l.eng.Local(l.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin, Partial: kind != lookWhole}})
	d.asked <- order{looks[kind].filter, p, k == &d.inner}
}

// hurryDump lets a calm dump that another one waits for end soon.
func (l *loop) hurryDump() {
	d := &l.dump
	p := pace(d.pace.Load())
	switch {
	case !d.outer.running:
		return
	case l.eng.WantsDump():
		p = paceNone
	case l.now >= d.looks.hinted:
		p = paceBrisk
	}
	if int64(p) < d.pace.Load() {
		d.pace.Store(int64(p))
		select {
		case d.hurry <- struct{}{}:
		default:
		}
	}
}

// eager reports whether there is a dump that does not rest much.
func (d *dumping) eager() bool {
	return d.inner.running || d.outer.running && (d.outer.kind != lookWhole || pace(d.pace.Load()) <= paceBrisk)
}

// dumped takes a batch of records.
func (l *loop) dumped(b *events) {
	d := &l.dump
	k := &d.outer
	if b.inner {
		k = &d.inner
	}
	began := threadTime()
	b.age(time.Now())
	l.eng.Local(l.now, b.evs[:b.n])
	last, cost := b.evs[b.n-1].Kind, b.cost
	l.dumps.free <- b
	k.own += taken(int64(threadTime()-began), l.clock()-l.now)
	if last != pfstate.EventDumpEnd && last != pfstate.EventDumpFail {
		return
	}
	k.running = false
	cost += k.own
	d.cost += cost
	if k.kind == lookWhole {
		d.last = cost
	}
	d.looks.looked(k.began, k.kind, cost)
	d.soonest = l.now
	if last == pfstate.EventDumpFail {
		d.failed++
		d.soonest = l.now + max(int64(failPause), cost)
	}
	l.tellPace()
}

// taken is the processor time between two looks at the thread's: that may have
// been another one the second time.
func taken(thread, wall int64) int64 {
	if thread < 0 || thread > wall {
		return wall
	}
	return thread
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
