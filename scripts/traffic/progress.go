package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// progress is what a client has seen so far; its methods may be called from
// any goroutine.
type progress struct {
	mu      sync.Mutex
	bytes   int64         // received and right
	answers int           // echoes heard
	since   time.Time     // when the present wait began; zero: not waiting
	gap     time.Duration // longest wait since the last restart
}

func newProgress() *progress { return &progress{since: time.Now()} }

// received counts n bytes of a stream: the next wait begins at once.
func (p *progress) received(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.endWait()
	p.since = time.Now()
}

// asked begins a wait for an answer.
func (p *progress) asked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
}

// answered ends it.
func (p *progress) answered(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.answers++
	p.endWait()
	p.since = time.Time{}
}

// restart forgets the longest wait, but not the one that lasts.
func (p *progress) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap = 0
}

// endWait is called with mu held.
func (p *progress) endWait() { p.gap = max(p.gap, p.wait()) }

// wait is called with mu held.
func (p *progress) wait() time.Duration {
	if p.since.IsZero() {
		return 0
	}
	return time.Since(p.since)
}

// write replaces the report as a whole: its reader never sees half a line.
func (p *progress) write(path string) error {
	p.mu.Lock()
	wait := p.wait()
	line := fmt.Sprintf("bytes %d answers %d gap %d wait %d\n",
		p.bytes, p.answers, max(p.gap, wait).Milliseconds(), wait.Milliseconds())
	p.mu.Unlock()

	next := path + ".new"
	if err := os.WriteFile(next, []byte(line), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
