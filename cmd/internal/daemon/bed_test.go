package daemon

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// patience bounds every wait of these tests. It is only ever spent by a failing
// one, on a machine that may be busy.
const patience = 60 * time.Second

// node is a daemon of this process in a namespace.
type node struct {
	*Daemon
	t      testing.TB
	ns     *nstest.NS // nil on a fake host
	where  string     // for messages
	dirs   control.Dirs
	cancel context.CancelFunc
	done   chan error
	ended  bool
	err    error // of Run, once ended
}

// newNode starts a daemon in ns, with files in dir.
func newNode(t testing.TB, ns *nstest.NS, dir string) *node {
	t.Helper()
	dirs := control.Dirs{Run: dir, State: dir, Etc: dir}
	d, err := New(Config{Name: "pfsync0", Dirs: dirs, Log: testLog(t, ns.Name()), Host: System(ns.Do)})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, d, ns, dirs)
}

func run(t testing.TB, d *Daemon, ns *nstest.NS, dirs control.Dirs) *node {
	n := &node{Daemon: d, t: t, ns: ns, dirs: dirs, done: make(chan error, 1)}
	if ns != nil {
		n.where = ns.Name()
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	ready := make(chan struct{})
	go func() { n.done <- d.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() { n.stop() })
	select {
	case <-ready:
	case err := <-n.done:
		n.ended, n.err = true, err
		t.Fatal(err)
	}
	return n
}

// stop ends the daemon and returns the error of Run.
func (n *node) stop() error {
	n.cancel()
	return n.wait()
}

// wait returns the error of Run when it ends.
func (n *node) wait() error {
	if !n.ended {
		select {
		case n.err = <-n.done:
			n.ended = true
		case <-time.After(patience):
			n.t.Errorf("daemon does not end")
			return nil
		}
	}
	return n.err
}

// set configures with words as pfsyncctl takes them.
func (n *node) set(words ...string) {
	n.t.Helper()
	if err := n.try(words...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) try(words ...string) error {
	set, err := control.ParseWords(words)
	if err != nil {
		return err
	}
	return n.Configure(context.Background(), control.Change{Set: set})
}

func (n *node) status() control.Status {
	n.t.Helper()
	st, err := n.Status(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return st
}

func (n *node) stats() control.Stats {
	n.t.Helper()
	st, err := n.Stats(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return st
}

// waitSync waits for a state of synchronisation.
func (n *node) waitSync(want control.SyncState) {
	n.t.Helper()
	nstest.EventuallyNil(n.t, patience, func() error {
		if got := n.status().Sync.State; got != want {
			return errorText(string(got))
		}
		return nil
	}, n.where+" to be "+string(want))
}

// demotionFile reads what keepalived would.
func (n *node) demotionFile() string {
	n.t.Helper()
	b, err := os.ReadFile(n.dirs.Demotion("pfsync0"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (n *node) waitDemotion(want string) {
	n.t.Helper()
	nstest.EventuallyNil(n.t, patience, func() error {
		if got := n.demotionFile(); got != want {
			return errorText(got)
		}
		return nil
	}, n.where+": demotion "+want)
}

type errorText string

func (e errorText) Error() string { return string(e) }

// testLog logs to the test, with a name in front.
func testLog(t testing.TB, name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// pair is two firewalls with a daemon each, in sync.
type pair struct {
	*nstest.Topology
	n [2]*node
}

func newPair(t testing.TB, o nstest.Options) *pair {
	t.Helper()
	p := &pair{Topology: nstest.NewTopology(t, o)}
	for i := range p.n {
		p.n[i] = newNode(t, p.FW[i], t.TempDir())
		p.n[i].set("syncdev", nstest.SyncDev)
	}
	for _, n := range p.n {
		n.waitSync(control.SyncOK)
	}
	return p
}

// waitFlow waits until a firewall has, or has no longer, an entry with all the
// words in its line of conntrack -L.
func waitFlow(t testing.TB, ns *nstest.NS, there bool, family string, words ...string) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		lines := ns.Conntrack(t, "-f", family)
		for _, l := range lines {
			if containsAll(l, words) {
				if there {
					return nil
				}
				return errorText(l)
			}
		}
		if there {
			return errorText(strings.Join(lines, "\n"))
		}
		return nil
	}, ns.Name()+": "+strings.Join(words, " "))
}

func containsAll(line string, words []string) bool {
	line += " "
	for _, w := range words {
		if !strings.Contains(line, w+" ") {
			return false
		}
	}
	return true
}

// opened opens something in a namespace; it then works from anywhere.
func opened[T any](t testing.TB, ns *nstest.NS, open func() (T, error)) (v T) {
	t.Helper()
	var err error
	ns.Do(func() { v, err = open() })
	if err != nil {
		t.Fatal(err)
	}
	return v
}
