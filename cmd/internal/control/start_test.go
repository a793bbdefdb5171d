package control

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitShell(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       []string
	}{
		{"words", "syncdev  em2\tup", []string{"syncdev", "em2", "up"}},
		{"comment", "up # down", []string{"up"}},
		{"no comment inside a word", "a#b", []string{"a#b"}},
		{"double quotes", `description "a b"`, []string{"description", "a b"}},
		{"single quotes", `description 'a "b" \c'`, []string{"description", `a "b" \c`}},
		{"escapes in double quotes", `"a\"b\\c\d"`, []string{`a"b\c\d`}},
		{"backslash", `a\ b \# c`, []string{"a b", "#", "c"}},
		{"joined", `a'b'"c"d`, []string{"abcd"}},
		{"empty word", `description ''`, []string{"description", ""}},
		{"carriage return", "up\r", []string{"up"}},
		{"nothing", "   ", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := splitShell(tc.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, line := range []string{`"a`, `'a`, `a\`, "$x", "`x`", "a;b", "a|b", "a>b", "(a)", "a*"} {
		if got, err := splitShell(line); err == nil {
			t.Errorf("splitShell(%q) = %q", line, got)
		}
	}
}

// TestStartChange is what SIGHUP applies: all words, no command, everything
// else back to its default.
func TestStartChange(t *testing.T) {
	d := Dirs{Etc: t.TempDir()}
	if err := os.WriteFile(d.Hostname("pfsync0"), []byte("syncdev em2\n!touch $if\nmaxupd 3 up\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	st, err := ReadStart(d, "pfsync0")
	if err != nil {
		t.Fatal(err)
	}
	want := Change{Reset: true, Wait: true, Set: []Setting{{"syncdev", "em2"}, {"maxupd", "3"}, {"up", ""}}}
	if diff := cmp.Diff(want, st.Change()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if st.Items[1].Command != "touch pfsync0" || st.Items[1].Line != 2 {
		t.Errorf("command %+v", st.Items[1])
	}
	if _, err := ReadStart(d, "pfsync1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadStart without a file = %v", err)
	}
}

// FuzzHostname: no bytes make the reader panic, and words that it takes can be
// applied.
func FuzzHostname(f *testing.F) {
	for _, s := range []string{"syncdev em2\nup\n", "# c\n!cmd $if\n", "description \"a b\" # x", "nosync mark 1/1 local", "up\\", "'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzzStart(t, b, parseHostname) })
}

// FuzzDefaults does the same with FreeBSD's variables.
func FuzzDefaults(f *testing.F) {
	for _, s := range []string{"pfsync_enable=YES\npfsync_syncdev=\"em2\"\npfsync_ifconfig='maxupd 3 defer'\npfsync_syncpeer=10.0.0.2", "pfsync_enable=\"NO\"", "x", "pfsync_enable=1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzzStart(t, b, parseDefaults) })
}

func fuzzStart(t *testing.T, b []byte, parse func(*Start, string, [][]byte) error) {
	st := Start{File: "f"}
	if err := parse(&st, "pfsync0", bytes.Split(b, []byte("\n"))); err != nil {
		if !errors.Is(err, ErrStartFile) {
			t.Errorf("error without a line: %v", err)
		}
		return
	}
	if st.check() != nil {
		return
	}
	if _, err := DefaultConfig().Apply(st.Change()); err != nil && len(st.Change().Set) <= maxSettings {
		t.Errorf("lines are good one by one and not together: %v", err)
	}
}

func TestStartModes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hostname.pfsync0")
	for _, tc := range []struct {
		mode     os.FileMode
		ok       bool
		warnings int
	}{{0o640, true, 0}, {0o600, true, 0}, {0o644, true, 1}, {0o660, false, 0}, {0o602, false, 0}} {
		if err := os.WriteFile(path, []byte("up\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tc.mode); err != nil {
			t.Fatal(err)
		}
		st, err := ReadStart(Dirs{Etc: dir}, "pfsync0")
		if (err == nil) != tc.ok || len(st.Warnings) != tc.warnings {
			t.Errorf("mode %o: %v, %q", tc.mode, err, st.Warnings)
		}
	}
}
