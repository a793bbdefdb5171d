package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// mourner hears of every entry that ends in a kernel and notes those of
// connections that live.
type mourner struct {
	lives func(*pfstate.Tuple) bool

	mu     sync.Mutex
	killed map[pfstate.Tuple]bool // guarded by mu
	blind  int                    // times the kernel dropped events; guarded by mu
}

func newMourner(t testing.TB, ns *nstest.NS, lives func(*pfstate.Tuple) bool) *mourner {
	t.Helper()
	m := &mourner{lives: lives, killed: map[pfstate.Tuple]bool{}}
	var lis *conntrack.Listener
	var err error
	ns.Do(func() { lis, err = conntrack.Listen(conntrack.ListenConfig{RcvBuf: 128 << 20}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	go m.run(lis)
	return m
}

func (m *mourner) run(lis *conntrack.Listener) {
	for evs := make([]pfstate.Event, 64); ; {
		n, err := lis.Read(evs)
		for i := range evs[:n] {
			m.event(&evs[i])
		}
		if err != nil {
			return
		}
	}
}

func (m *mourner) event(ev *pfstate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ev.Kind == pfstate.EventOverrun:
		m.blind++
	case ev.Kind == pfstate.EventDestroy && m.lives(&ev.Flow.Orig):
		m.killed[ev.Flow.Orig] = true
	}
}

// has reports whether a living connection's entry ended here.
func (m *mourner) has(t *pfstate.Tuple) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed[*t]
}

func (m *mourner) count() (killed, blind int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.killed), m.blind
}

func (m *mourner) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.killed)
}

// witness compares, many times a second, what a daemon's status and demotion
// file say with each other and, whenever a daemon begins to say that it is in
// sync, with what its kernel has.
type witness struct {
	ns     *nstest.NS
	dir    string
	client *control.Client
	whole  func() error // what the kernel lacks

	mu   sync.Mutex
	lies []string  // guarded by mu
	told []string  // changes, for a failing test; guarded by mu
	from time.Time // guarded by mu
}

const (
	witnessEvery = 50 * time.Millisecond
	// fileLag is how long the file may be behind the status: it is written by
	// another goroutine on a machine that may be busy, and keeps what the last
	// run left until the first dump has told what there is.
	fileLag = 3 * time.Second
)

func newWitness(t testing.TB, h *host, whole func() error) *witness {
	w := &witness{ns: h.NS, dir: h.dir, client: control.NewClient(h.dir + "/pfsync0.sock"), whole: whole, from: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; w.client.Close() })
	return w
}

func (w *witness) run(ctx context.Context) {
	var was, wasFile string
	var since time.Time // the two contradict each other
	for ctx.Err() == nil {
		time.Sleep(witnessEvery)
		st, file, ok := w.sample(ctx)
		if !ok {
			since = time.Time{}
			if ctx.Err() == nil && !w.there() { // one that is stopped does not know what it missed
				was = ""
			}
			continue
		}
		state := string(st.Sync.State)
		if state != was || file != wasFile {
			w.tell("%s %s", state, file)
		}
		if state == string(control.SyncOK) && was != state {
			if err := w.whole(); err != nil {
				w.lie("says ok: %v", err)
			}
		}
		was, wasFile = state, file
		switch {
		case agree(&st, file):
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > fileLag:
			w.lie("sync %s, demotion file %q for %v", state, file, time.Since(since))
		}
	}
}

// sample reads the file between two equal answers.
func (w *witness) sample(ctx context.Context) (st control.Status, file string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	before, err := w.status(ctx)
	if err != nil {
		return st, "", false
	}
	b, err := os.ReadFile(w.dir + "/pfsync0.demotion")
	if err != nil {
		w.lie("demotion file: %v", err)
		return st, "", false
	}
	after, err := w.status(ctx)
	if err != nil || before.Sync.State != after.Sync.State || before.Demotion != after.Demotion {
		return st, "", false
	}
	return after, strings.TrimSpace(string(b)), true
}

// there reports whether somebody listens.
func (w *witness) there() bool {
	c, err := net.Dial("unix", w.dir+"/pfsync0.sock")
	if err == nil {
		c.Close()
	}
	return err == nil
}

// status asks from the daemon's namespace, as it demands.
func (w *witness) status(ctx context.Context) (st control.Status, err error) {
	w.ns.Do(func() { st, err = w.client.Status(ctx) })
	return st, err
}

// agree is the table of design section 6.
func agree(st *control.Status, file string) bool {
	full := fmt.Sprint(st.Config.Demotion)
	if st.Config.SyncDev == "" {
		return file == "0"
	}
	switch st.Sync.State {
	case control.SyncBulk:
		return file == full || file == "1"
	case control.SyncLinkDown:
		return file == full || file == "1"
	case control.SyncClash:
		return true
	}
	return file == "0"
}

func (w *witness) lie(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lies = append(w.lies, fmt.Sprintf(format, args...))
}

func (w *witness) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf("%.2f %s", time.Since(w.from).Seconds(), fmt.Sprintf(format, args...)))
}

// heard returns lies and changes since the last call.
func (w *witness) heard() (lies, told []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lies, told = w.lies, w.told
	w.lies, w.told, w.from = nil, nil, time.Now()
	return lies, told
}
