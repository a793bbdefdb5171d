package daemon

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// TestManual: pfsyncd(8) has every counter, file, request and option, and no
// counter that is not there.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../../../man/pfsyncd.8")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	has := func(what, text string) {
		t.Helper()
		if !strings.Contains(page, text) {
			t.Errorf("%s: no %q in pfsyncd.8", what, text)
		}
	}
	n, _ := newFakeNode(t, tuntest.NewLink(1500), "10.0.3.2")
	n.set("syncdev", "eth2")
	st, err := n.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := manualCounters(page)
	for _, name := range counterNames(t, &st) {
		if !slices.Contains(told, name) {
			t.Errorf("counter %s is not in pfsyncd.8", name)
		}
		told = slices.DeleteFunc(told, func(s string) bool { return s == name })
	}
	if len(told) > 0 {
		t.Errorf("pfsyncd.8 has counters that are not: %q", told)
	}

	files := []string{"pfsync0.sock", "pfsync0.pid", "pfsync0.demotion", "pfsync0.defer", "pfsync0.liberal", "pfsync0.kernel"}
	for _, f := range files {
		has("file", ".It Pa "+filepath.Join(control.DefaultRunDir, f)+"\n")
	}
	for _, f := range []string{"pfsync0.hostid", "pfsync0.peers"} {
		files = append(files, f)
		has("file", ".It Pa "+filepath.Join(control.DefaultStateDir, f)+"\n")
	}
	made, err := os.ReadDir(n.dirs.Run)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range made {
		// A name with a dot is about to be renamed to one without.
		if !slices.Contains(files, f.Name()) && !strings.HasPrefix(f.Name(), ".") {
			t.Errorf("file %s is not in pfsyncd.8", f.Name())
		}
	}

	var usage bytes.Buffer
	if code := Main([]string{"-h"}, &usage, &usage, func(string) string { return "" }); code != exitOK {
		t.Fatalf("-h: %d", code)
	}
	for _, m := range regexp.MustCompile(`\[-([a-z-]+)( [a-z]+)?\]`).FindAllStringSubmatch(usage.String(), -1) {
		has("option", "\n.It Fl "+m[1]+strings.Replace(m[2], " ", " Ar ", 1)+"\n")
	}
}

// manualCounters are the names below "Counters".
func manualCounters(page string) (names []string) {
	_, page, _ = strings.Cut(page, ".Ss Counters\n")
	page, _, _ = strings.Cut(page, ".Sh ")
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm (.*)$`).FindAllStringSubmatch(page, -1) {
		names = append(names, strings.Split(m[1], " , ")...)
	}
	return names
}

// counterNames are those that stats prints.
func counterNames(t *testing.T, st *control.Stats) (names []string) {
	t.Helper()
	b, err := json.Marshal(st.Counters)
	if err != nil {
		t.Fatal(err)
	}
	var bsd map[string]uint64
	if err := json.Unmarshal(b, &bsd); err != nil {
		t.Fatal(err)
	}
	for name := range bsd {
		names = append(names, name)
	}
	for name := range st.Reasons {
		names = append(names, name)
	}
	return names
}
