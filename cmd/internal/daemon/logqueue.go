package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A log that hangs (a journal that does not read, a full pipe) must not stop
// the loop: records wait in a queue, and what does not fit is counted.
const (
	logRecords = 1024
	logFlush   = time.Second // how long the end of the daemon waits for the log
)

// logQueue hands records to their handlers in a goroutine of its own.
type logQueue struct {
	mu     sync.Mutex
	closed bool // guarded by mu
	lost   int  // guarded by mu
	todo   chan queued
	done   chan struct{}
}

type queued struct {
	h slog.Handler
	r slog.Record
}

func newLogQueue() *logQueue {
	q := &logQueue{todo: make(chan queued, logRecords), done: make(chan struct{})}
	go q.run()
	return q
}

func (q *logQueue) run() {
	defer close(q.done)
	for e := range q.todo {
		e.h.Handle(context.Background(), e.r) // there is nowhere to tell an error
	}
}

func (q *logQueue) put(h slog.Handler, r slog.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	r = r.Clone()
	if q.lost > 0 {
		r.AddAttrs(slog.Int("lost", q.lost))
	}
	select {
	case q.todo <- queued{h, r}:
		q.lost = 0
	default:
		q.lost++
	}
}

// close waits for what is queued, but not for ever.
func (q *logQueue) close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.todo)
	}
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(logFlush):
	}
}

// queuedHandler is a handler behind a queue.
type queuedHandler struct {
	slog.Handler
	q *logQueue
}

// Handle implements slog.Handler. It does not block.
func (h *queuedHandler) Handle(_ context.Context, r slog.Record) error {
	h.q.put(h.Handler, r)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *queuedHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &queuedHandler{h.Handler.WithAttrs(as), h.q}
}

// WithGroup implements slog.Handler.
func (h *queuedHandler) WithGroup(name string) slog.Handler {
	return &queuedHandler{h.Handler.WithGroup(name), h.q}
}
