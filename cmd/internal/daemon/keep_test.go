package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func TestHostID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.hostid")
	id, err := readHostID(path)
	if err != nil || id == 0 {
		t.Fatalf("%x, %v", id, err)
	}
	if again, err := readHostID(path); err != nil || again != id {
		t.Errorf("%x, %v; was %x", again, err, id)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	for _, bad := range []string{"", "0\n", "xyz\n", "123456789\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readHostID(path); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if _, err := readHostID(filepath.Join(path, "below a file")); err == nil {
		t.Error("unreadable file accepted")
	}
}

// TestKeeper: the files hold the last value, and no other file is left.
func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	k := newKeeper(control.Dirs{Run: dir, State: dir}, "pfsync0", testLog(t, "keeper"))
	done := make(chan error, 1)
	go func() { done <- k.run() }()
	for i := range 100 {
		put(k.demotion, i)
	}
	put(k.peers, []netip.Addr{netip.MustParseAddr("10.0.3.3"), netip.MustParseAddr("fe80::3")})
	close(k.demotion)
	close(k.peers)
	close(k.settled)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(b)
	}
	want := map[string]string{"pfsync0.demotion": "99\n", "pfsync0.peers": "10.0.3.3\nfe80::3\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if len(knownPeers(k.peersPath)) == 0 || len(knownPeers(k.demotionPath+"x")) != 0 {
		t.Error("knownPeers")
	}
}
