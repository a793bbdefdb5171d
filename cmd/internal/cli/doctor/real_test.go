package doctor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/cli/doctor"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// patience bounds every wait; only a failing test spends it.
const patience = 60 * time.Second

func TestMain(m *testing.M) { nstest.Main(m) }

// firewall is a namespace with a daemon.
type firewall struct {
	*nstest.NS
	t   *testing.T
	dir string
}

func (f *firewall) env(args ...string) []string {
	return append([]string{"env", "PFSYNC_RUNDIR=" + f.dir, "NOTIFY_SOCKET=", "NO_COLOR=1"}, args...)
}

func (f *firewall) ctl(args ...string) (string, error) {
	return f.Try(f.env(append([]string{filepath.Join(nstest.Bin(f.t), "pfsyncctl"), "pfsync0"}, args...)...)...)
}

func (f *firewall) must(args ...string) string {
	f.t.Helper()
	out, err := f.ctl(args...)
	if err != nil {
		f.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// start runs the daemon on the sync link.
func (f *firewall) start() {
	f.t.Helper()
	f.Start(f.t, "msg=ready", f.env(filepath.Join(nstest.Bin(f.t), "pfsyncd"), "-f")...)
	f.must("syncdev", nstest.SyncDev)
}

// doctor returns what is found, and checks that the exit code agrees.
func (f *firewall) doctor() map[string]doctor.Finding {
	f.t.Helper()
	out, err := f.ctl("doctor", "-j")
	all := map[string]doctor.Finding{}
	worst := doctor.OK
	for line := range strings.Lines(out) {
		var one doctor.Finding
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			f.t.Fatalf("%v: %s", err, line)
		}
		if one.Level != doctor.OK && all[one.Check].Level == doctor.Fault {
			continue // of two peers the worse
		}
		all[one.Check] = one
		if one.Level == doctor.Fault {
			worst = doctor.Fault
		}
	}
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if want := map[doctor.Level]int{doctor.OK: 0, doctor.Fault: 5}[worst]; code != want {
		f.t.Errorf("exit code %d, want %d: %s", code, want, out)
	}
	return all
}

// expect waits until a check finds that.
func (f *firewall) expect(check string, level doctor.Level, text string) {
	f.t.Helper()
	nstest.EventuallyNil(f.t, patience, func() error {
		if got := f.doctor()[check]; got.Level != level || !strings.Contains(got.Text+got.Remedy, text) {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	}, check+": "+text)
}

// two are firewalls in sync.
func two(t *testing.T, tools ...string) (a, b *firewall) {
	t.Helper()
	top := nstest.NewTopology(t, nstest.Options{})
	top.Bed.Need(tools...)
	a, b = &firewall{top.FW[0], t, t.TempDir()}, &firewall{top.FW[1], t, t.TempDir()}
	a.start()
	b.start()
	for _, f := range []*firewall{a, b} {
		f.must("wait", "--timeout", "60")
	}
	return a, b
}

// TestReal: a pair on which all is well, then one thing after the other that is
// not.
func TestReal(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	for _, f := range []*firewall{a, b} {
		nstest.EventuallyNil(t, patience, func() error {
			for _, one := range f.doctor() {
				if one.Level != doctor.OK {
					return fmt.Errorf("%+v", one)
				}
			}
			return nil
		}, f.Name()+" to be well")
	}
	nstest.EventuallyNil(t, patience, func() error {
		out, err := a.ctl("doctor")
		if err != nil || !strings.Contains(out, "ok       rules in    no rule drops frames of the peers on eth2\n") {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	}, "a good report")

	a.Nft(t, "table inet in { chain input { type filter hook input priority 5; policy drop; ct state established,related accept; }; }")
	a.expect("rules in", doctor.Fault, "nft chain inet in input, policy drop")
	a.Run(t, "nft", "insert", "rule", "inet", "in", "input", "iifname", nstest.SyncDev, "meta", "l4proto", "240", "accept")
	a.expect("rules in", doctor.OK, "")

	a.Nft(t, "table inet out { chain output { type filter hook output priority 5; meta l4proto 240 drop; }; }")
	a.expect("rules out", doctor.Fault, "nft chain inet out output, rule handle 2 (drop)")
	a.expect("sending", doctor.Fault, "the kernel refuses to send")
	a.Run(t, "nft", "delete", "table", "inet", "out")
	a.expect("sending", doctor.OK, "")

	a.Run(t, "nft", "flush", "ruleset")
	a.Run(t, "conntrack", "-F")
	a.expect("conntrack", doctor.Fault, "no rule uses connection tracking")
	a.Sysctl(t, "net.netfilter.nf_conntrack_events", "0")
	a.expect("events", doctor.Fault, "tells of no change")

	b.Down(t, nstest.SyncDev)
	a.expect("syncdev", doctor.Fault, "no link")
	b.expect("syncdev", doctor.Fault, "eth2 is down")
	a.expect("peer", doctor.Fault, "it is silent")
	a.must("destroy")
	a.expect("daemon", doctor.Fault, "no daemon runs")
}

// TestProvoked: what is wrong between two firewalls, or with one of them, one
// thing after the other, each put right again.
func TestProvoked(t *testing.T) {
	t.Parallel()
	a, b := two(t, "iptables", "conntrack", "nft")
	for _, chain := range []struct{ check, name string }{{"rules in", "INPUT"}, {"rules out", "OUTPUT"}} {
		a.Run(t, "iptables", "-A", chain.name, "-p", "tcp", "--dport", "9", "-j", "ACCEPT")
		a.Run(t, "iptables", "-A", chain.name, "-p", "240", "-j", "DROP")
		a.expect(chain.check, doctor.Fault, "filter "+chain.name+", rule ")
		a.Run(t, "iptables", "-D", chain.name, "2")
		a.expect(chain.check, doctor.OK, "")
	}

	b.Nft(t, "table ip age { chain output { type filter hook output priority 5; ip protocol 240 ip ttl set 64; }; }")
	a.expect("ttl", doctor.Warning, "forges")
	b.Run(t, "nft", "delete", "table", "ip", "age")

	b.must("version", "1400")
	a.expect("version", doctor.Fault, ", we send 6")
	b.must("version", "6")
	a.expect("version", doctor.OK, "")

	for _, f := range []*firewall{a, b} {
		f.Run(t, "ip", "link", "set", nstest.SyncDev, "mtu", "576")
	}
	a.expect("mtu", doctor.Warning, "576")
	for _, f := range []*firewall{a, b} {
		f.Run(t, "ip", "link", "set", nstest.SyncDev, "mtu", "1500")
	}
	a.expect("mtu", doctor.OK, "")

	for _, port := range []string{"1", "2"} {
		b.Run(t, "conntrack", "-I", "-s", "10.0.1.9", "-d", "10.0.9.9", "-p", "udp", "--sport", port, "--dport", "9", "-t", "1000")
	}
	nstest.Eventually(t, patience, func() bool { return strings.Count(a.must("states"), "10.0.1.9:") == 2 }, "both states")
	a.must("maxstates", "2")
	a.expect("table", doctor.Fault, "2 of 2")
	a.must("maxstates", "0")
	a.expect("table", doctor.OK, "")

	_, id, _ := strings.Cut(a.must(), "hostid: ")
	b.must("hostid", strings.Fields(id)[0])
	a.expect("hostid", doctor.Fault, "has our hostid")
	b.must("hostid", "random")
	a.expect("hostid", doctor.OK, "")
}

// TestNobody: a firewall that has never heard another.
func TestNobody(t *testing.T) {
	t.Parallel()
	top := nstest.NewTopology(t, nstest.Options{})
	a := &firewall{top.FW[0], t, t.TempDir()}
	a.start()
	a.expect("peer", doctor.Fault, "no peer has been heard")
	a.Run(t, "ip", "addr", "flush", "dev", nstest.SyncDev)
	a.expect("address", doctor.Fault, "no IPv4 address")
}

// TestPrograms: conntrackd and keepalived, the real ones.
func TestPrograms(t *testing.T) {
	t.Parallel()
	a, _ := two(t, "conntrackd", "keepalived", "unshare")
	conf := filepath.Join(a.dir, "conntrackd.conf")
	write(t, conf, fmt.Sprintf(conntrackdConf, a.dir, a.dir))
	p := a.Start(t, "", "conntrackd", "-C", conf)
	a.expect("conntrackd", doctor.Fault, "two masters")
	p.Stop()
	a.expect("conntrackd", doctor.OK, "")

	conf = filepath.Join(a.dir, "keepalived.conf")
	write(t, conf, fmt.Sprintf(keepalivedText, a.dir))
	keepalived := []string{"unshare", "-m", "keepalived", "-n", "-l", "-D", "-f", conf, "-p", filepath.Join(a.dir, "ka.pid"), "-r", filepath.Join(a.dir, "vrrp.pid")}
	a.Start(t, "", keepalived...)
	a.expect("keepalived", doctor.Warning, "in instance V, which belongs to sync group G")
	write(t, conf, strings.ReplaceAll(fmt.Sprintf(keepalivedText, a.dir), "vrrp_sync_group G { group { V } }", ""))
	a.expect("keepalived", doctor.OK, "keepalived tracks "+filepath.Join(a.dir, "pfsync0.demotion"))
	write(t, conf, "vrrp_instance V { }\n")
	a.expect("keepalived", doctor.Fault, "becomes master before it has the states")
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const conntrackdConf = `
Sync {
	Mode FTFW { }
	Multicast {
		IPv4_address 225.0.0.50
		Group 3780
		IPv4_interface 10.0.3.2
		Interface eth2
		Checksum on
	}
}
General {
	LockFile %s/conntrackd.lock
	UNIX { Path %s/conntrackd.sock }
	NetlinkBufferSize 2097152
	NetlinkBufferSizeMaxGrowth 8388608
}
`

const keepalivedText = `
track_file p {
	file %s/pfsync0.demotion
	weight -1
}
vrrp_sync_group G { group { V } }
vrrp_instance V {
	interface eth0
	virtual_router_id 9
	priority 100
	advert_int 1
	virtual_ipaddress { 10.0.1.99/24 }
	track_file { p weight -1 }
}
`
