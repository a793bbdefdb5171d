package tuntest

import (
	"context"
	"sync"

	"github.com/pfsync/pfsync/tunif/syncdev"
)

// Watcher reports what the test sets. It has the methods of syncdev.Watcher.
type Watcher struct {
	news   chan syncdev.Status
	closed chan struct{}
	once   sync.Once // closes closed
}

// NewWatcher gives a Watcher that reports first as soon as it runs.
func NewWatcher(first syncdev.Status) *Watcher {
	w := &Watcher{news: make(chan syncdev.Status, 64), closed: make(chan struct{})}
	w.news <- first
	return w
}

// Set makes the Watcher report. It waits for Run if that is far behind.
func (w *Watcher) Set(s syncdev.Status) { w.news <- s }

// Run calls report for all that is set until ctx is done or the Watcher closed.
func (w *Watcher) Run(ctx context.Context, report func(syncdev.Status)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.closed:
			return nil
		case s := <-w.news:
			report(s)
		}
	}
}

// Close ends Run.
func (w *Watcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}
