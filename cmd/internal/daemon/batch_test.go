package daemon

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
)

// TestAge: what the kernel wrote some time ago has so much less time left.
func TestAge(t *testing.T) {
	for _, tc := range []struct {
		name       string
		late       time.Duration
		kind       pfstate.EventKind
		has        pfstate.Has
		left, want uint32
	}{
		{"just read", 10 * time.Millisecond, pfstate.EventDump, pfstate.HasTimeout, 30, 30},
		{"rested", 1500 * time.Millisecond, pfstate.EventDump, pfstate.HasTimeout, 30, 29},
		{"stood still", 22 * time.Second, pfstate.EventDump, pfstate.HasTimeout, 30, 8},
		{"over since", 40 * time.Second, pfstate.EventDump, pfstate.HasTimeout, 30, 0},
		{"without a time", 22 * time.Second, pfstate.EventDump, 0, 30, 30},
		{"the end", 22 * time.Second, pfstate.EventDumpEnd, pfstate.HasTimeout, 30, 30},
		{"clock of before", -time.Hour, pfstate.EventDump, pfstate.HasTimeout, 30, 30},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Now()
			b := newEvents(2)
			b.n, b.at = 1, now.Add(-tc.late)
			for i := range b.evs {
				b.evs[i] = pfstate.Event{Kind: tc.kind, Flow: pfstate.Flow{Has: tc.has, Timeout: tc.left}}
			}
			b.age(now)
			if got := b.evs[0].Flow.Timeout; got != tc.want {
				t.Errorf("%d s left, want %d", got, tc.want)
			}
			if got := b.evs[1].Flow.Timeout; got != tc.left {
				t.Errorf("what is not of the batch has %d s left, want %d", got, tc.left)
			}
		})
	}
}
