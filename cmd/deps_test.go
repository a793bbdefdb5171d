package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pfsync/pfsync"

// ours says which of our packages a package may import outside of its tests: imports
// point one way, the roots import nothing of ours. A package that is not named
// here may import none.
var ours = map[string][]string{
	"pfstate/conntrack":                {"pfstate"},
	"pfstate/nfqueue":                  {"pfstate", "pfstate/conntrack"},
	"syncproto/text":                   {"syncproto"},
	"syncproto/capture":                {"syncproto", "syncproto/text"},
	"syncproto/engine":                 {"syncproto", "pfstate"},
	"tunif/tuntest":                    {"tunif", "tunif/syncdev"},
	"cmd/internal/control/controltest": {"cmd/internal/control"},
	"cmd/internal/cli/doctor":          {"cmd/internal/control"},
	"cmd/internal/cli/top":             {"cmd/internal/control"},
	"cmd/internal/cli":                 {"cmd/internal/cli/doctor", "cmd/internal/cli/top", "cmd/internal/control", "syncproto", "syncproto/text", "syncproto/capture", "syncproto/engine", "pfstate"},
	"cmd/internal/daemon": {"cmd/internal/control", "syncproto/engine", "syncproto", "pfstate", "pfstate/conntrack", "pfstate/nfqueue",
		"tunif", "tunif/syncdev"},
	"cmd/pfsyncctl":   {"cmd/internal/cli"},
	"scripts/traffic": {"pfstate", "pfstate/conntrack"},
	"cmd/pfsyncd":     {"cmd/internal/daemon"},
}

// homes says where a foreign module may be imported outside of tests; one that
// is not named nowhere. It keeps heavy ones off the data path.
var homes = map[string][]string{
	"github.com/songgao/water":     {"tunif"},
	"github.com/google/gopacket":   {"syncproto/capture"},
	"github.com/gopacket/gopacket": {"syncproto/capture"},
	"github.com/spf13/cobra":       {"cmd/internal/cli"},
	"github.com/spf13/pflag":       {"cmd/internal/cli"},
	"github.com/charmbracelet":     {"cmd/internal/cli/top"},
	"github.com/mdlayher/netlink":  {"tunif", "tunif/syncdev"},
	"github.com/vishvananda":       {"tunif", "tunif/syncdev"},
	"golang.org/x/net":             {"tunif/syncdev"},
	"golang.org/x/sync":            {"cmd/internal/daemon"},
	"golang.org/x/sys":             {"tunif", "tunif/nstest", "tunif/syncdev", "pfstate/conntrack", "pfstate/nfqueue", "cmd/internal/daemon", "scripts/traffic"},
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imp := range p.Imports {
			if !allowed(name, imp) {
				t.Errorf("%s imports %s", name, imp)
			}
		}
	}
}

func allowed(pkg, imp string) bool {
	if imp == module {
		return false
	}
	if own, ok := strings.CutPrefix(imp, module+"/"); ok {
		return slices.Contains(ours[pkg], own)
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	for prefix, at := range homes {
		if imp == prefix || strings.HasPrefix(imp, prefix+"/") {
			return slices.Contains(at, pkg)
		}
	}
	return false
}

// packages asks the go command for all packages of the module.
func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list told of %d packages only", len(all))
	}
	return all
}

// TestAllowed makes sure that the rule refuses what it is there for.
func TestAllowed(t *testing.T) {
	for _, tc := range []struct {
		name, pkg, imp string
		want           bool
	}{
		{"root imports nothing of ours", "pfstate", module + "/syncproto", false},
		{"engine knows the wire", "syncproto/engine", module + "/syncproto", true},
		{"engine does no I/O", "syncproto/engine", module + "/pfstate/conntrack", false},
		{"cli goes through control", "cmd/internal/cli", module + "/cmd/internal/daemon", false},
		{"water has one home", "cmd/internal/daemon", "github.com/songgao/water", false},
		{"gopacket is off the data path", "syncproto/engine", "github.com/gopacket/gopacket/layers", false},
		{"standard library", "pfstate", "encoding/binary", true},
		{"unknown module", "pfstate", "example.org/x", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := allowed(tc.pkg, tc.imp); got != tc.want {
				t.Errorf("allowed(%s, %s) = %v", tc.pkg, tc.imp, got)
			}
		})
	}
}
