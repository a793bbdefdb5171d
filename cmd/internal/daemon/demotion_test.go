package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestReadDemotion: what the init script or the last run left holds; what makes
// no sense does not.
func TestReadDemotion(t *testing.T) {
	for _, tc := range []struct {
		left       string
		want       int
		afterwards string
	}{
		{"", 0, "0\n"}, {"0\n", 0, "0\n"}, {"240", 240, "240"}, {" 7 \n", 7, " 7 \n"},
		{"-1\n", 0, "0\n"}, {"254\n", 0, "0\n"}, {"99999999999999999999\n", 0, "0\n"}, {"many\n", 0, "0\n"},
	} {
		path := filepath.Join(t.TempDir(), "pfsync0.demotion")
		if tc.left != "" {
			if err := os.WriteFile(path, []byte(tc.left), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := readDemotion(path)
		if err != nil || got != tc.want {
			t.Errorf("%q: %d, %v; want %d", tc.left, got, err, tc.want)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != tc.afterwards {
			t.Errorf("%q: the file is %q, %v", tc.left, b, err)
		}
	}
	if _, err := readDemotion(filepath.Join(t.TempDir(), "no", "such")); err == nil {
		t.Error("a file that cannot be made is no error")
	}
}

// TestDemote: without a syncdev what was found holds a while, and only until
// something is known.
func TestDemote(t *testing.T) {
	const none, ok = engine.SyncNone, engine.SyncOK
	for _, tc := range []struct {
		name  string
		sync  engine.Sync
		after int64 // since the start
		told  bool
		want  int
	}{
		{"the words may come", none, unsetWait - 1, false, 240},
		{"they do not", none, unsetWait, false, 0},
		{"they came", ok, 1, false, 0},
		{"they came, and were taken back", none, 1, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			l := &loop{log: testLog(t, tc.name), demotion: 240, demoted: tc.told, begun: 5, now: 5 + tc.after}
			l.keep = newKeeper(control.Dirs{Run: dir, State: dir}, "pfsync0", l.log)
			l.demote(&engine.Status{Sync: tc.sync})
			if l.demotion != tc.want || (len(l.keep.demotion) > 0) != (tc.want != 240) {
				t.Errorf("%d, want %d", l.demotion, tc.want)
			}
		})
	}
}

// TestDemotionRead: whoever reads while the file is written, as keepalived
// does, sees one whole number.
func TestDemotionRead(t *testing.T) {
	dir := t.TempDir()
	k := newKeeper(control.Dirs{Run: dir, State: dir}, "pfsync0", testLog(t, "keeper"))
	if _, err := readDemotion(k.demotionPath); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- k.run() }()
	go func() {
		for i := range 1000 {
			k.demotion <- i % faultDemotion
		}
		close(k.demotion)
		close(k.peers)
		close(k.settled)
	}()
	for reads, ended := 0, false; !ended; reads++ {
		select {
		case err := <-done:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
		b, err := os.ReadFile(k.demotionPath)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := strconv.Atoi(strings.TrimSuffix(string(b), "\n")); err != nil || v >= faultDemotion {
			t.Fatalf("read %q", b)
		}
	}
}

// TestDemotionLeft: a daemon that starts says nothing better than what was
// there before it knows.
func TestDemotionLeft(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw1")
	bed.Veth(ns, "eth2", bed.NS("fw2"), "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pfsync0.demotion"), []byte("240\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, ns, dir)
	if st, got := n.status(), n.demotionFile(); got != "240" || st.Demotion != 240 {
		t.Errorf("demotion %s without a syncdev, status %d", got, st.Demotion)
	}
	n.set("syncdev", "eth2")
	n.waitSync(control.SyncAlone)
	n.waitDemotion("0")
	n.stop()
	if got := n.demotionFile(); got != "0" {
		t.Errorf("demotion %s after a clean stop", got)
	}
}

// TestDemotionFirst: a firewall that is in use is given its first syncdev. With
// the words of pfsyncctl(8) keepalived is never told that it is unfit.
func TestDemotionFirst(t *testing.T) {
	bed := nstest.New(t)
	ns, other := bed.NS("fw1"), bed.NS("fw2")
	bed.Veth(ns, "eth2", other, "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	other.Addr(t, "eth2", "10.0.3.3/24")
	peer := newHost(t, other)
	peer.daemon()
	peer.ctl("pfsync0", "syncdev", "eth2")
	for _, tc := range []struct {
		name  string
		words []string
		told  bool
	}{
		{"as always", []string{"syncdev", "eth2"}, true},
		{"in use", []string{"demotion", "0", "syncdev", "eth2"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost(t, ns)
			p := h.daemon()
			defer p.Stop()
			h.ctl(append([]string{"pfsync0"}, tc.words...)...)
			h.ctl("pfsync0", "wait", "--timeout", "60")
			h.ctl("pfsync0", "demotion", "240")
			told := slices.ContainsFunc(p.Lines(), func(l string) bool { return strings.Contains(l, "msg=demotion") })
			n := &node{t: t, dirs: control.Dirs{Run: h.dir}}
			if n.waitDemotion("0"); told != tc.told {
				t.Errorf("demoted %v, want %v:\n%s", told, tc.told, strings.Join(p.Lines(), "\n"))
			}
		})
	}
}
