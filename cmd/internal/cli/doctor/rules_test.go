package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// frame is one of a peer at 10.0.3.3, or ours to it or to the group.
func frame(in bool, dev string, unicast bool) packet {
	a, b := netip.MustParseAddr("10.0.3.2"), netip.MustParseAddr("10.0.3.3")
	p := packet{in: in, dev: dev, src: a, dst: b}
	if in {
		p.src, p.dst = b, a
	}
	if !unicast {
		p.dst = control.Group4
	}
	return p
}

// frame6 goes to the group of IPv6.
func frame6(in bool) packet {
	return packet{in: in, dev: "eth2", v6: true, src: netip.MustParseAddr("fd00:3::3"), dst: control.Group6}
}

func recorded(t *testing.T, name string) *ruleset {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	set := newRuleset()
	if _, err := parseNft(set, text, nil); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestRecorded(t *testing.T) {
	for _, tc := range []struct {
		file   string
		p      packet
		level  Level
		where  string
		remedy string
	}{
		{"accepted", frame(true, "eth2", false), OK, "", ""},
		{"accepted", frame(false, "eth2", false), OK, "", ""},
		{"accepted", frame(true, "eth0", false), Fault, "nft chain inet filter input, rule handle 14 (drop)", "nft insert rule inet filter input iifname eth0 meta l4proto 240 accept"},
		{"accepted", frame(false, "veth2", false), Fault, "nft chain inet filter output, policy drop", "nft insert rule inet filter output oifname veth2 meta l4proto 240 accept"},
		{"accepted", frame6(true), OK, "", ""},
		{"accepted", frame6(false), Fault, "nft chain inet filter output, policy drop", "nft insert rule inet filter output oifname eth2 meta l4proto 240 accept"},
		{"dropped", frame(true, "eth2", false), Fault, "nft chain inet filter input, rule handle 4 (drop)", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"dropped", frame(false, "eth2", true), Fault, `nft chain inet filter output, rule handle 6 (drop) "no pfsync"`, "nft insert rule inet filter output oifname eth2 meta l4proto 240 accept"},
		{"dropped", frame(false, "eth1", true), Fault, "nft chain inet filter output, rule handle 5 (drop)", "nft insert rule inet filter output oifname eth1 meta l4proto 240 accept"},
		{"policy", frame(true, "eth2", false), Fault, "nft chain inet filter input, policy drop", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"policy", frame(true, "eth2", true), Warning, "nft chain inet filter input, policy drop", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"policy", frame(true, "eth1", false), OK, "", ""},
		{"notrack", frame(true, "eth2", false), Fault, "nft chain inet filter input, policy drop", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"notrack", frame(true, "eth1", false), Fault, "nft chain inet raw prerouting, rule handle 3 (drop)", "nft insert rule inet raw prerouting iifname eth1 meta l4proto 240 accept"},
		{"unsure", frame(true, "eth2", false), Warning, "nft chain inet filter input, policy drop", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"unsure", frame(false, "eth2", false), Warning, "nft chain inet filter output, rule handle 4 (drop)", "nft insert rule inet filter output oifname eth2 meta l4proto 240 accept"},
		{"rpf", frame(true, "eth2", false), OK, "", ""},
		{"rpf", frame(true, "eth2", true), Fault, "nft chain inet filter input, policy drop", "nft insert rule inet filter input iifname eth2 meta l4proto 240 accept"},
		{"goto", frame(true, "eth2", false), OK, "", ""},
		{"goto", frame6(true), Fault, "nft chain ip6 filter input, policy drop", "nft insert rule ip6 filter input iifname eth2 meta l4proto 240 accept"},
		{"nothing", frame(true, "eth2", false), OK, "", ""},
		{"ingress", frame(true, "eth2", false), Warning, "nft chain netdev early ingress, rule handle 2 (drop)", "nft insert rule netdev early ingress iifname eth2 meta l4proto 240 accept"},
		{"ingress", frame(false, "eth2", false), OK, "", ""},
	} {
		t.Run(fmt.Sprintf("%s in=%v %s %s", tc.file, tc.p.in, tc.p.dev, tc.p.dst), func(t *testing.T) {
			if got, want := recorded(t, tc.file).judge(tc.p), (fate{tc.level, tc.where, tc.remedy}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestTracks(t *testing.T) {
	for file, want := range map[string]bool{"accepted": true, "policy": true, "notrack": true, "iptables-nft": true,
		"dropped": false, "unsure": false, "rpf": false, "nothing": false} {
		if got := recorded(t, file).tracks; got != want {
			t.Errorf("%s: tracks %v", file, got)
		}
	}
}

// TestMixed: what iptables-nft made is read as iptables-nft-save prints it, the
// rest as nft does.
func TestMixed(t *testing.T) {
	h := Host{FS: fstest.MapFS{}, Run: func(_ context.Context, name string, _ ...string) ([]byte, error) {
		switch name {
		case "nft":
			return os.ReadFile("testdata/iptables-nft.json")
		case "iptables-nft-save":
			return os.ReadFile("testdata/iptables-nft.save")
		}
		return nil, exec.ErrNotFound
	}}
	set, err := h.ruleset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !set.tracks {
		t.Error("tracks nothing")
	}
	want := fate{Fault, "iptables chain filter INPUT, rule 1: -i eth2 -p 240 -m conntrack --ctstate NEW -m comment --comment not here -j DROP",
		"iptables -I INPUT -i eth2 -p 240 -j ACCEPT"}
	if got := set.judge(frame(true, "eth2", false)); got != want {
		t.Errorf("got %+v", got)
	}
	if got := set.judge(frame(false, "eth2", false)); got.level != OK {
		t.Errorf("got %+v", got)
	}
	want = fate{Fault, "iptables chain filter OUTPUT, policy drop", "iptables -I OUTPUT -o eth1 -p 240 -j ACCEPT"}
	if got := set.judge(frame(false, "eth1", false)); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestIPTables(t *testing.T) {
	for _, tc := range []struct {
		name, rules string
		p           packet
		level       Level
		where       string
	}{
		{"policy", ":INPUT DROP [0:0]", frame(true, "eth2", false), Fault, "iptables-legacy chain filter INPUT, policy drop"},
		{"accepted", ":INPUT DROP [0:0]\n-A INPUT -i eth+ -p 240 -j ACCEPT", frame(true, "eth2", false), OK, ""},
		{"counters", ":INPUT DROP [0:0]\n[3:180] -A INPUT -s 10.0.3.0/24 -d 224.0.0.240/32 -j ACCEPT", frame(true, "eth2", false), OK, ""},
		{"negated", ":INPUT DROP [0:0]\n-A INPUT ! -i eth2 -j ACCEPT", frame(true, "eth2", false), Fault, "iptables-legacy chain filter INPUT, policy drop"},
		{"state", ":INPUT ACCEPT [0:0]\n-A INPUT -m state --state INVALID,NEW -j DROP", frame(true, "eth2", false), Fault,
			"iptables-legacy chain filter INPUT, rule 1: -m state --state INVALID,NEW -j DROP"},
		{"established", ":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", frame(true, "eth2", true), Warning,
			"iptables-legacy chain filter INPUT, policy drop"},
		{"limit", ":INPUT ACCEPT [0:0]\n-A INPUT -p 240 -m limit --limit 10/sec -j REJECT --reject-with icmp-port-unreachable", frame(true, "eth2", false), Warning,
			"iptables-legacy chain filter INPUT, rule 1: -p 240 -m limit --limit 10/sec -j REJECT --reject-with icmp-port-unreachable"},
		{"chain returns", ":INPUT DROP [0:0]\n:S - [0:0]\n-A INPUT -j S\n-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT\n-A S -i eth2 -j RETURN\n-A S -j DROP",
			frame(true, "eth2", false), OK, ""},
		{"goto", ":INPUT ACCEPT [0:0]\n:S - [0:0]\n-A INPUT -g S\n-A INPUT -j DROP\n-A S -j LOG --log-prefix \"a -j DROP\"", frame(true, "eth2", false), OK, ""},
		{"other protocol", ":OUTPUT DROP [0:0]\n-A OUTPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A OUTPUT -p 240 -j ACCEPT", frame(false, "eth2", false), OK, ""},
		{"queue", ":INPUT ACCEPT [0:0]\n-A INPUT -p 240 -j NFQUEUE --queue-num 1", frame(true, "eth2", false), Warning,
			"iptables-legacy chain filter INPUT, rule 1: -p 240 -j NFQUEUE --queue-num 1"},
		{"loop of chains", ":INPUT ACCEPT [0:0]\n:A - [0:0]\n-A INPUT -j A\n-A A -j A", frame(true, "eth2", false), OK, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := newRuleset()
			parseIPTables(set, "*filter\n"+tc.rules+"\nCOMMIT\n", "ip", "iptables-legacy")
			got := set.judge(tc.p)
			if got.level != tc.level || got.where != tc.where {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestOtherFamily: rules of IPv6 are not asked about a frame in IPv4.
func TestOtherFamily(t *testing.T) {
	set := newRuleset()
	parseIPTables(set, "*filter\n:INPUT DROP [0:0]\nCOMMIT\n", "ip6", "iptables-legacy")
	if got := set.judge(frame(true, "eth2", false)); got.level != OK {
		t.Errorf("got %+v", got)
	}
	got := set.judge(frame6(true))
	if got.level != Fault || !strings.HasPrefix(got.remedy, "ip6tables-legacy -I INPUT") {
		t.Errorf("got %+v", got)
	}
}

// FuzzNft: whatever nft prints one day, there is an answer.
func FuzzNft(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set := newRuleset()
		if _, err := parseNft(set, b, nil); err != nil {
			return
		}
		set.judge(frame(true, "eth2", false))
		set.judge(frame(false, "eth2", true))
	})
}
