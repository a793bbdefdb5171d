package cmd

import (
	"bytes"
	"os"
	"regexp"
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
	}
}

// documented looks for .It Cm NAME, or .Cm NAME below .It Xo.
func documented(t *testing.T, page []byte, what, name string) {
	t.Helper()
	entry := regexp.MustCompile(`(?m)^\.It (Xo\n\.)?Cm ` + regexp.QuoteMeta(name) + `\b`)
	if !entry.Match(page) {
		t.Errorf("%s %s is not in pfsyncctl.8", what, name)
	}
}

// helpNames are the verbs and commands that help tells of.
func helpNames(t *testing.T) []string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main([]string{"help"}, strings.NewReader(""), &out, &errs, func(string) string { return "" }); code != 0 {
		t.Fatalf("help: %d %s", code, errs.String())
	}
	_, verbs, found := strings.Cut(out.String(), "\nverbs:\n")
	if !found {
		t.Fatalf("no verbs in\n%s", out.String())
	}
	verbs, _, _ = strings.Cut(verbs, "\n\n")
	var names []string
	for line := range strings.Lines(verbs) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) < 9 {
		t.Fatalf("only %q", names)
	}
	return append(names, "completion", "decode", "help", "replay", "version")
}
