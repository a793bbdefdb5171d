package daemon

import (
	"runtime"
	"time"
)

// A change of one connection goes through three goroutines, one after the
// other. With more than one processor to run them on, each that becomes ready
// wakes another thread, only to find the work done: at a few hundred changes a
// second on one processor there are half as many system calls and context
// switches, and a fifth less processor time is taken. When there is a backlog,
// or the kernel is long at a dump or a batch, more are needed: a processor whose
// thread is in the kernel is free for others only after a while, and one that
// always has something to run looks for what has arrived every ten milliseconds.

const (
	mostProcessors = 4               // the owner loop, and three around it
	calmAfter      = 2 * time.Second // without a backlog one will do
	largeBatch     = 32              // operations on the kernel's table that take long
)

// processors is how many the program runs on.
type processors struct {
	set  func(n int) // nil: as they are
	many int
	now  int
	calm int64 // when one will do
}

func newProcessors(set func(n int)) processors {
	many := min(runtime.NumCPU(), mostProcessors)
	if set != nil {
		set(many)
	}
	return processors{set: set, many: many, now: many}
}

// need takes as many as there is work for.
func (p *processors) need(now int64, busy bool) {
	switch {
	case p.set == nil || p.many == 1:
		return
	case busy:
		p.calm = now + int64(calmAfter)
		p.take(p.many)
	case now >= p.calm:
		p.take(1)
	}
}

func (p *processors) take(n int) {
	if n != p.now {
		p.now = n
		p.set(n)
	}
}

// busy reports whether one processor would not do.
func (l *loop) busy() bool {
	return l.pressed || l.dump.eager() || len(l.events.full) > 1 || len(l.input.full) > 1 || l.handed > largeBatch
}
