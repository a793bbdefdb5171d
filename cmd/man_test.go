package cmd

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/cli"
	"github.com/pfsync/pfsync/cmd/internal/control"
)

// TestManual: every word, verb and command of pfsyncctl is in its page, at the
// beginning of an entry.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range control.Words() {
		documented(t, page, "word", w.Name)
	}
	for _, name := range helpNames(t) {
		documented(t, page, "verb", name)
		for _, o := range options(t, name) {
			if !regexp.MustCompile(`Fl ([a-z] , )?-` + o + `\b`).Match(page) {
				t.Errorf("option --%s of %s is not in pfsyncctl.8", o, name)
			}
		}
	}
	for _, name := range []string{control.EnvRunDir, control.EnvStateDir, control.EnvEtcDir, "NO_COLOR"} {
		if !bytes.Contains(page, []byte("\n.It Ev "+name+"\n")) {
			t.Errorf("variable %s is not in pfsyncctl.8", name)
		}
	}
}

// options are the long options of a verb or command, as its help tells them,
// but for help itself.
func options(t *testing.T, name string) []string {
	t.Helper()
	args := []string{"pfsync0", name, "--help"}
	if slices.Contains(plain, name) {
		args = args[1:]
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-[a-z], )?--([a-z-]+)`).FindAllStringSubmatch(printed(t, args...), -1) {
		if m[1] != "help" {
			names = append(names, m[1])
		}
	}
	return names
}

// printed is what pfsyncctl prints.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main(args, strings.NewReader(""), &out, &errs, func(string) string { return "" }); code != 0 {
		t.Fatalf("%q: %d %s", args, code, errs.String())
	}
	return out.String()
}

// documented looks for .It Cm NAME, or .Cm NAME below .It Xo. There is one; the
// word version is a command too.
func documented(t *testing.T, page []byte, what, name string) {
	t.Helper()
	entry := regexp.MustCompile(`(?m)^\.It (Xo\n\.)?Cm ` + regexp.QuoteMeta(name) + `\b`)
	n := 0
	for _, at := range entry.FindAllIndex(page, -1) {
		if rest := page[at[1]:]; rest[0] == ' ' || rest[0] == '\n' {
			n++
		}
	}
	want := 1
	if name == "version" {
		want = 2
	}
	if n != want {
		t.Errorf("%s %s is in pfsyncctl.8 %d times", what, name, n)
	}
}

// helpNames are the verbs and commands that help tells of.
func helpNames(t *testing.T) []string {
	t.Helper()
	help := printed(t, "help")
	_, verbs, found := strings.Cut(help, "\nverbs:\n")
	if !found {
		t.Fatalf("no verbs in\n%s", help)
	}
	verbs, _, _ = strings.Cut(verbs, "\n\n")
	var names []string
	for line := range strings.Lines(verbs) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) < 9 {
		t.Fatalf("only %q", names)
	}
	return append(names, plain...)
}

// plain are the commands without an interface.
var plain = []string{"completion", "decode", "help", "replay", "version"}
