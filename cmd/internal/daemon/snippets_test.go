package daemon

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// strict drops in both directions what no rule accepts.
const strict = `add table inet filter
add chain inet filter input { type filter hook input priority filter; policy drop; }
add chain inet filter output { type filter hook output priority filter; policy drop; }
add rule inet filter input ct state established,related accept
add rule inet filter output ct state established,related accept
`

// TestRuleSnippets: with each of the forms in scripts/nft frames pass a host
// that drops everything else, and make no entries in the state table.
func TestRuleSnippets(t *testing.T) {
	dir, err := filepath.Abs("../../../scripts/nft")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		strict [][]string
		let    [][]string
	}{
		{"nft", [][]string{{"nft", strict}}, append([][]string{{"nft", "-f", filepath.Join(dir, "pfsync.nft")}}, insertRules(t, dir)...)},
		{"iptables", [][]string{{"iptables", "-P", "INPUT", "DROP"}, {"iptables", "-P", "OUTPUT", "DROP"}},
			[][]string{{"iptables-restore", "--noflush", filepath.Join(dir, "pfsync.iptables")}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bed := nstest.New(t, "iptables-restore", "conntrack")
			ns, other := bed.NS("fw1"), bed.NS("fw2")
			bed.Veth(ns, "eth2", other, "eth2")
			ns.Addr(t, "eth2", "10.0.3.2/24")
			other.Addr(t, "eth2", "10.0.3.3/24")
			for _, args := range tc.strict {
				ns.Run(t, args...)
			}
			a, b := newNode(t, ns, t.TempDir()), newNode(t, other, t.TempDir())
			b.set("syncdev", "eth2")
			a.set("syncdev", "eth2")
			nstest.Eventually(t, patience, func() bool { return a.stats().Counters.OErrors > 0 }, "frames refused by the rules")
			for _, args := range tc.let {
				ns.Run(t, args...)
			}
			for _, n := range []*node{a, b} {
				nstest.Eventually(t, patience, func() bool { return len(n.status().Peers) == 1 }, "frames that pass the rules")
				if err := n.Bulk(t.Context()); err != nil {
					t.Error(err)
				}
				n.waitSync(control.SyncOK)
			}
			ns.Run(t, "conntrack", "-F") // what was tracked before the rules
			before := a.stats().Counters.OPackets
			nstest.Eventually(t, patience, func() bool { return a.stats().Counters.OPackets >= before+2 }, "more frames")
			if out := ns.Run(t, "conntrack", "-L"); strings.Contains(out, "224.0.0.240") {
				t.Errorf("frames are tracked: %s", out)
			}
		})
	}
}

// insertRules are the commands at the end of pfsync.nft, as an administrator
// would copy them.
func insertRules(t *testing.T, dir string) (rules [][]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "pfsync.nft"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if cmd, ok := strings.CutPrefix(line, "#\tnft insert rule "); ok {
			rules = append(rules, []string{"nft", "insert rule " + strings.TrimSpace(cmd)})
		}
	}
	if len(rules) != 2 {
		t.Fatalf("rules %q", rules)
	}
	return rules
}

// TestFirewalldZone: the zone is XML that lets protocol 240 in on the syncdev.
func TestFirewalldZone(t *testing.T) {
	b, err := os.ReadFile("../../../scripts/nft/pfsync.firewalld.xml")
	if err != nil {
		t.Fatal(err)
	}
	var zone struct {
		XMLName   xml.Name `xml:"zone"`
		Target    string   `xml:"target,attr"`
		Interface struct {
			Name string `xml:"name,attr"`
		} `xml:"interface"`
		Protocol struct {
			Value string `xml:"value,attr"`
		} `xml:"protocol"`
	}
	if err := xml.Unmarshal(b, &zone); err != nil {
		t.Fatal(err)
	}
	if zone.Target != "DROP" || zone.Interface.Name != "eth2" || zone.Protocol.Value != "240" {
		t.Errorf("zone %+v", zone)
	}
}
