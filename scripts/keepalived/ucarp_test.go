package keepalived

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestUcarpScript: the script of ../ucarp gives and takes an address under the
// names that it says it has, in whatever order ucarp calls it.
func TestUcarpScript(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw")
	bed.Veth(ns, "eth0", bed.NS("outside"), "eth0")
	ns.Addr(t, "eth0", "198.51.100.2/24")
	dir := t.TempDir()
	for _, name := range []string{"vip-up", "vip-down", "vip-other"} {
		if err := os.Symlink(absolute(t, "../ucarp/vip.sh"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name  string
		there bool
	}{{"vip-down", false}, {"vip-up", true}, {"vip-up", true}, {"vip-down", false}, {"vip-down", false}} {
		if out := ns.Run(t, filepath.Join(dir, step.name), "eth0", "198.51.100.1"); out != "" {
			t.Errorf("%s says %s", step.name, out)
		}
		have := ns.Run(t, "ip", "-4", "-br", "address", "show", "dev", "eth0")
		if strings.Contains(have, "198.51.100.1/32") != step.there || !strings.Contains(have, "198.51.100.2/24") {
			t.Errorf("after %s: %s", step.name, have)
		}
	}
	for _, args := range [][]string{{"vip-up", "eth0"}, {"vip-other", "eth0", "198.51.100.1"}} {
		args[0] = filepath.Join(dir, args[0])
		if out, err := ns.Try(args...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}
