package control_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func TestFindDirs(t *testing.T) {
	for _, tc := range []struct {
		name       string
		run, state string
		env        map[string]string
		want       control.Dirs
	}{
		{"nothing said", "", "", nil, control.Dirs{Run: "/run/pfsync", State: "/var/lib/pfsync", Etc: "/etc"}},
		{"run option takes state along", "/x", "", nil, control.Dirs{Run: "/x", State: "/x", Etc: "/etc"}},
		{"run environment takes state along", "", "", map[string]string{"PFSYNC_RUNDIR": "/x"}, control.Dirs{Run: "/x", State: "/x", Etc: "/etc"}},
		{"option wins", "/y", "", map[string]string{"PFSYNC_RUNDIR": "/x"}, control.Dirs{Run: "/y", State: "/y", Etc: "/etc"}},
		{"state set too", "/x", "/s", nil, control.Dirs{Run: "/x", State: "/s", Etc: "/etc"}},
		{"state in the environment", "/x", "", map[string]string{"PFSYNC_STATEDIR": "/s"}, control.Dirs{Run: "/x", State: "/s", Etc: "/etc"}},
		{"state alone", "", "/s", nil, control.Dirs{Run: "/run/pfsync", State: "/s", Etc: "/etc"}},
		{"start files", "", "", map[string]string{"PFSYNC_ETCDIR": "/e"}, control.Dirs{Run: "/run/pfsync", State: "/var/lib/pfsync", Etc: "/e"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := control.FindDirs(tc.run, tc.state, func(k string) string { return tc.env[k] })
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	d := control.Dirs{Run: filepath.Join(t.TempDir(), "with [odd] * name"), State: t.TempDir()}
	if err := d.MakeDirs(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"pfsync10.sock", "pfsync2.sock", "pfsync00.sock", "pfsync.sock", "pfsync3.pid", "pfsyncx.sock"} {
		if err := os.WriteFile(filepath.Join(d.Run, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Names()
	if err != nil || !slices.Equal(got, []string{"pfsync2", "pfsync10"}) {
		t.Errorf("Names = %v, %v", got, err)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"pfsync0": true, "pfsync12": true, "pfsync999999999": true, "pfsync": false, "pfsync01": false, "pfsync1234567890": false,
		"pfsync-1": false, "xpfsync0": false, "pfsync0 ": false, "": false,
	} {
		if got := control.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"syncdev", "syncpeer", "maxupd", "up", "defer"}
	for s, want := range map[string]string{
		"sycndev": "syncdev", "syncdve": "syncdev", "synpeer": "syncpeer", "maxupdd": "maxupd", "u": "up", "Defer": "defer",
		"xyzzy": "", "": "", "description": "",
	} {
		if got := control.Nearest(s, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", s, got, want)
		}
	}
}
