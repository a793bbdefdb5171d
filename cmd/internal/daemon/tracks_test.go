package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestUntracked: where no rule uses connection tracking the log says so, once;
// the probe makes no state.
func TestUntracked(t *testing.T) {
	for _, rule := range []bool{false, true} {
		t.Run(map[bool]string{false: "no rule", true: "a rule"}[rule], func(t *testing.T) {
			bed := nstest.New(t)
			ns := bed.NS("fw1")
			bed.Veth(ns, "eth2", bed.NS("fw2"), "eth2")
			ns.Addr(t, "eth2", "10.0.3.2/24")
			if rule {
				ns.Run(t, "nft", "add table inet f; add chain inet f c { type filter hook input priority 0; }; add rule inet f c ct state established accept")
			}
			h := newHost(t, ns)
			p := h.daemon()
			h.ctl("pfsync0", "syncdev", "eth2")
			if rule {
				told := func(line string) bool { return strings.Contains(line, "no rule uses connection tracking") }
				if slices.ContainsFunc(p.Lines(), told) {
					t.Errorf("log %q", p.Lines())
				}
			} else {
				p.WaitFor(t, patience, "level=WARN msg=\"no rule uses connection tracking")
			}
			if out := h.ctl("pfsync0", "states"); out != "" {
				t.Errorf("states of the probe: %s", out)
			}
		})
	}
}
