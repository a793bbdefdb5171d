package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// group runs tasks that stand and fall together: the first error of one
// cancels the context of all. A panic counts as an error, so that the others
// still end in order; its stack is logged.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu: the first
}

func newGroup(ctx context.Context, log *slog.Logger) *group {
	g := &group{log: log}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Go starts a task. That it returns nil means nothing for the others.
func (g *group) Go(name string, run func(context.Context) error) {
	g.wg.Go(func() {
		if err := g.guard(name, run); err != nil {
			g.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (g *group) guard(name string, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("task panicked", "task", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return run(g.ctx)
}

func (g *group) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.cancel()
}

// Err returns the first error so far.
func (g *group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Wait returns the first error when all tasks have ended.
func (g *group) Wait() error {
	g.wg.Wait()
	g.cancel()
	return g.Err()
}
