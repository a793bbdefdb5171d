package daemon

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestProcessors: many while there is work, one once there was none for a
// while; nothing is set that is set already.
func TestProcessors(t *testing.T) {
	var set []int
	p := newProcessors(func(n int) { set = append(set, n) })
	p.many, p.now, set = 4, 4, nil
	ms := int64(time.Millisecond)
	for _, step := range []struct {
		at   int64
		busy bool
	}{{1, true}, {2, true}, {1000, false}, {2001, false}, {2002, false}, {2003, false}, {9000, true}, {9001, false}, {10999, true}, {12000, false}, {13000, false}} {
		p.need(step.at*ms, step.busy)
	}
	if want := []int{1, 4, 1}; !slices.Equal(set, want) {
		t.Errorf("set %v, want %v", set, want)
	}
	many := runtime.GOMAXPROCS(0)
	own := newProcessors(nil) // of a daemon that is part of another program
	own.need(0, true)
	own.need(int64(time.Hour), false)
	if n := runtime.GOMAXPROCS(0); n != many {
		t.Errorf("%d processors, there were %d", n, many)
	}
}

// TestBusy: what makes the loop want more than one.
func TestBusy(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*loop)
		want bool
	}{
		{"calm", func(*loop) {}, false},
		{"work of its own", func(l *loop) { l.pressed = true }, true},
		{"a dump", func(l *loop) { l.dump.outer.running = true }, true},
		{"one that rests", func(l *loop) { l.dump.outer.running = true; l.dump.pace.Store(int64(paceBrisk) + 1) }, false},
		{"a part within that", func(l *loop) {
			l.dump.outer.running, l.dump.inner.running = true, true
			l.dump.pace.Store(int64(paceBrisk) + 1)
		}, true},
		{"one batch of events", func(l *loop) { l.events.full <- newEvents(1) }, false},
		{"events in a row", func(l *loop) { l.events.full <- newEvents(1); l.events.full <- newEvents(1) }, true},
		{"packets in a row", func(l *loop) { l.input.full <- &packets{}; l.input.full <- &packets{} }, true},
		{"a few operations", func(l *loop) { l.handed = 5 }, false},
		{"many operations", func(l *loop) { l.handed = 256 }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &loop{
				events: exchange[events]{nil, make(chan *events, eventBatches)},
				input:  exchange[packets]{nil, make(chan *packets, packetBatches)},
				dump:   newDumping(),
			}
			tc.set(l)
			if got := l.busy(); got != tc.want {
				t.Errorf("busy %v", got)
			}
		})
	}
}
