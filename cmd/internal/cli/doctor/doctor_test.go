package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// patient is a host on which all is well until a test changes something.
type patient struct {
	st    control.Status
	stats control.Stats
	err   error // of the daemon
	step  uint64
	links map[string]Link
	root  fstest.MapFS
	nft   string
	quiet bool // frames do not reach the link
}

func newPatient() *patient {
	p := &patient{nft: "accepted", root: fstest.MapFS{}, step: 1}
	conf := control.DefaultConfig()
	conf.SyncDev, conf.Up, conf.Liberal = "eth2", true, true
	p.st = control.Status{
		Name: "pfsync0", Up: true, Running: true, MTU: 1500, Config: conf, HostID: 0x7f3a9c01, Sync: control.Sync{State: control.SyncOK},
		Peers:  []control.Peer{{Addr: netip.MustParseAddr("10.0.3.3"), Version: 6, Linux: true, Alive: true, Heard: 0.2, Table: 90}},
		States: control.Counts{Total: 100, Kernel: 120, Max: 1000}, Daemon: control.Daemon{PID: 77, Version: "0.1.0"},
	}
	p.stats.Reasons = map[string]uint64{"eventbuffer": 32 << 20}
	p.links = map[string]Link{
		"pfsync0": {Up: true, MTU: 1500},
		"eth2":    {Up: true, Running: true, MTU: 1500, Addrs: []netip.Addr{netip.MustParseAddr("10.0.3.2")}},
	}
	p.write("proc/thread-self/net/igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"+
		"3\teth2      :     2      V3\n\t\t\t\t"+igmpWord()+"     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n")
	p.write("proc/thread-self/net/igmp6", "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"+
		"3    eth2            ff1200000000000000000000000000f0     1 00000004 0\n")
	for name, v := range map[string]string{"nf_conntrack_count": "120", "nf_conntrack_events": "1", "nf_conntrack_tcp_be_liberal": "1", "nf_conntrack_tcp_loose": "0"} {
		p.write("proc/sys/net/netfilter/"+name, v+"\n")
	}
	p.write("proc/sys/net/core/rmem_max", "212992\n")
	p.root["proc/thread-self/ns/net"] = linkTo("net:[1]")
	p.count()
	return p
}

func igmpWord() string {
	if joined4("3\teth2      :\n\t\t\t\tF00000E0     1\n", "eth2", control.Group4) {
		return "F00000E0"
	}
	return "E00000F0"
}

func (p *patient) write(name, text string) { p.root[name] = &fstest.MapFile{Data: []byte(text)} }

// count writes /proc/net/dev.
func (p *patient) count() {
	n := p.stats.Reasons["framesout"]
	if p.quiet {
		n = 0
	}
	p.write("proc/thread-self/net/dev", fmt.Sprintf("Inter-|   Receive\n face |bytes\n  eth2: 1 2 3 4 5 6 7 8 900 %d 0 0 0 0 0 0\n", n))
}

func (p *patient) Status(context.Context) (control.Status, error) { return p.st, p.err }
func (p *patient) Stats(context.Context) (control.Stats, error) {
	st := p.stats
	st.Reasons = map[string]uint64{}
	for k, v := range p.stats.Reasons {
		st.Reasons[k] = v
	}
	return st, p.err
}

// wait is the clock: frames are sent while the doctor waits.
func (p *patient) wait(context.Context, time.Duration) {
	p.stats.Reasons["framesout"] += p.step
	p.count()
}

func (p *patient) doctor() *Doctor {
	return &Doctor{Daemon: p, Name: "pfsync0", Dirs: control.Dirs{Run: "/run/pfsync"}, Host: Host{
		FS: p.root, Wait: p.wait,
		Run: func(context.Context, string, ...string) ([]byte, error) {
			return os.ReadFile("testdata/" + p.nft + ".json")
		},
		Link: func(name string) (Link, error) {
			l, ok := p.links[name]
			if !ok {
				return l, errors.New("no such network interface")
			}
			return l, nil
		},
	}}
}

func (p *patient) examine(t *testing.T) map[string]Finding {
	all := map[string]Finding{}
	for _, f := range p.doctor().Examine(t.Context()) {
		if _, twice := all[f.Check]; twice && f.Check != "peer" {
			t.Errorf("%s is told twice", f.Check)
		}
		if f.Level == OK && f.Remedy != "" {
			t.Errorf("a remedy for what is well: %+v", f)
		}
		all[f.Check] = f
	}
	return all
}

func TestHealthy(t *testing.T) {
	found := newPatient().examine(t)
	for _, f := range found {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
	if len(found) != 23 {
		t.Errorf("%d checks", len(found))
	}
}

// TestOrder: the questions come in the order a person would ask them.
func TestOrder(t *testing.T) {
	p := newPatient()
	p.stats.Reasons["dumpinterval"] = 10
	var order []string
	for _, f := range p.doctor().Examine(t.Context()) {
		order = append(order, f.Check)
	}
	want := "daemon, device, syncdev, address, mtu, group, sending, peer, ttl, version, rules in, rules out, conntrack, " +
		"events, liberal, loose, table, peer table, liveness, bulk, hostid, conntrackd, keepalived, buffers"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestFindings: one thing is wrong, and that is what is found.
func TestFindings(t *testing.T) {
	peer := func(p *patient) *control.Peer { return &p.st.Peers[0] }
	for _, tc := range []struct {
		name   string
		ill    func(*patient)
		check  string
		level  Level
		text   string
		remedy string
	}{
		{"no daemon", func(p *patient) { p.err = control.ErrNotRunning }, "daemon", Fault, "no daemon runs", "syncdev IF starts it"},
		{"denied", func(p *patient) { p.err = control.ErrPermission }, "daemon", Fault, "permission denied", "be root"},
		{"other version", func(p *patient) { p.err = control.ErrVersion }, "daemon", Fault, "other version", "restart"},
		{"stopped", func(p *patient) { p.err = control.ErrTimeout }, "daemon", Fault, "does not answer", "kill -CONT"},
		{"other namespace", func(p *patient) { p.err = control.ErrNetNS }, "daemon", Fault, "another network namespace", "journal"},
		{"no device", func(p *patient) { delete(p.links, "pfsync0") }, "device", Fault, "pfsync0 is not there", "restart"},
		{"down", func(p *patient) { p.st.Up = false }, "device", Fault, "pfsync0 is down", "pfsync0 up"},
		{"down from outside", func(p *patient) { p.links["pfsync0"] = Link{} }, "device", Fault, "from outside", "ip link set pfsync0 up"},
		{"no syncdev", func(p *patient) { p.st.Config.SyncDev = "" }, "syncdev", Fault, "no syncdev is set", "syncdev IF"},
		{"syncdev gone", func(p *patient) { delete(p.links, "eth2") }, "syncdev", Fault, "eth2 is not there", "make it"},
		{"syncdev down", func(p *patient) { p.links["eth2"] = Link{MTU: 1500} }, "syncdev", Fault, "eth2 is down", "ip link set eth2 up"},
		{"no link", func(p *patient) { p.links["eth2"] = Link{Up: true, MTU: 1500} }, "syncdev", Fault, "no link", "cable"},
		{"no address", func(p *patient) { p.links["eth2"] = Link{Up: true, Running: true, MTU: 1500} }, "address", Fault, "no IPv4 address", "ip addr add"},
		{"no address of IPv6", func(p *patient) { p.st.Config.SyncPeer = control.Group6 }, "address", Fault, "no IPv6 address", "ip addr add fd00"},
		{"small mtu", func(p *patient) { l := p.links["eth2"]; l.MTU = 576; p.links["eth2"] = l }, "mtu", Warning, "576", "mtu 1500"},
		{"mtu too large", func(p *patient) { p.st.MTU = 9000 }, "mtu", Fault, "up to 9000", "mtu 1500"},
		{"mtu of the way", func(p *patient) { p.stats.Reasons["mtushrunk"] = 2 }, "mtu", Warning, "2 times", "MTU of the whole way"},
		{"group not joined", func(p *patient) {
			p.write("proc/thread-self/net/igmp", "3\teth2      :     1      V3\n\t\t\t\t010000E0 1\n")
		}, "group", Fault, "not joined", "-syncdev"},
		{"group on another", func(p *patient) {
			p.write("proc/thread-self/net/igmp", "3\teth20     :     1      V3\n\t\t\t\t"+igmpWord()+" 1\n")
		}, "group", Fault, "not joined", "-syncdev"},
		{"unicast needs no group", func(p *patient) {
			p.st.Config.SyncPeer = netip.MustParseAddr("10.0.3.3")
			p.write("proc/thread-self/net/igmp", "")
		}, "group", OK, "not needed", ""},
		{"group of IPv6", func(p *patient) { p.st.Config.SyncPeer = control.Group6 }, "group", OK, "ff12::f0 is joined", ""},
		{"silent daemon", func(p *patient) { p.step = 0 }, "sending", Fault, "sends nothing", "journal"},
		{"frames lost inside", func(p *patient) { p.quiet = true; p.count() }, "sending", Fault, "do not leave", "egress"},
		{"no peer", func(p *patient) { p.st.Peers, p.st.Sync.State = nil, control.SyncAlone }, "peer", Fault, "no peer has been heard", "IGMP snooping"},
		{"silent peer", func(p *patient) { peer(p).Alive, peer(p).Heard = false, 61 }, "peer", Fault, "heard 61.0 s ago: it is silent", "tcpdump"},
		{"wrong syncpeer", func(p *patient) {
			p.st.Config.SyncPeer, p.stats.Reasons["badsrc"], p.st.Peers = netip.MustParseAddr("10.0.3.9"), 12, nil
		}, "peer", Fault, "10.0.3.9 is not heard, another firewall is: 12 frames", "syncpeer"},
		{"routed", func(p *patient) { p.stats.Counters.BadTTL, p.st.Peers = 3, nil }, "ttl", Fault, "3 packets", "router"},
		{"some routed", func(p *patient) { p.stats.Counters.BadTTL = 3 }, "ttl", Warning, "3 packets", "forges"},
		{"other version spoken", func(p *patient) {
			peer(p).Version, peer(p).Format, peer(p).Mismatch = 5, 1400, true
		}, "version", Fault, "10.0.3.3 speaks 1400, we send 6", "version 1400"},
		{"format not known", func(p *patient) { peer(p).Version, peer(p).Mismatch = 5, true }, "version", Fault, "speaks 5", "1301, 1400 or 1500"},
		{"other format", func(p *patient) {
			p.st.Config.Version, peer(p).Version, peer(p).Format = 1301, 5, 1400
		}, "version", Fault, "speaks 1400, we send 1301", "version 1400"},
		{"unknown version", func(p *patient) { p.stats.Counters.BadVer = 1 }, "version", Warning, "nobody knows", "tcpdump"},
		{"clash", func(p *patient) { p.st.Sync = control.Sync{State: control.SyncClash, Addr: peer(p).Addr} }, "hostid", Fault, "10.0.3.3 has our hostid 7f3a9c01", "hostid random"},
		{"dropped on the way in", func(p *patient) { p.nft = "policy" }, "rules in", Fault, "nft chain inet filter input, policy drop", "nft insert rule"},
		{"dropped on the way out", func(p *patient) { p.nft = "dropped" }, "rules out", Fault, "rule handle 6 (drop)", "nft insert rule"},
		{"perhaps dropped", func(p *patient) { p.nft = "unsure" }, "rules out", Warning, "may be dropped", "nft insert rule"},
		{"rules unreadable", func(p *patient) { p.nft = "no such" }, "rules", Warning, "cannot read the rules", "be root"},
		{"nothing tracked", func(p *patient) {
			p.nft = "nothing"
			p.write("proc/sys/net/netfilter/nf_conntrack_count", "0")
		}, "conntrack", Fault, "no rule uses connection tracking", "nft 'add table"},
		{"nothing tracked but entries", func(p *patient) { p.nft = "nothing" }, "conntrack", Warning, "120 entries", "nft 'add table"},
		{"no conntrack", func(p *patient) { delete(p.root, "proc/sys/net/netfilter/nf_conntrack_count") }, "conntrack", Fault, "no connection tracking", "modprobe"},
		{"no events", func(p *patient) { p.write("proc/sys/net/netfilter/nf_conntrack_events", "0\n") }, "events", Fault, "tells of no change", "nf_conntrack_events=1"},
		{"some events", func(p *patient) { p.write("proc/sys/net/netfilter/nf_conntrack_events", "2\n") }, "events", Warning, "silent for ever", "nf_conntrack_events=1"},
		{"strict windows", func(p *patient) { p.write("proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "0\n") }, "liberal", Warning, "may be invalid", "be_liberal=1"},
		{"strict windows wanted", func(p *patient) {
			p.st.Config.Liberal = false
			p.write("proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "0\n")
		}, "liberal", Warning, "-liberal", "pfsync0 liberal"},
		{"loose", func(p *patient) { p.write("proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1\n") }, "loose", OK, "stricter", ""},
		{"table full", func(p *patient) { p.st.States.Kernel = 1000 }, "table", Fault, "1000 of 1000", "nf_conntrack_max=2000"},
		{"table was full", func(p *patient) { p.stats.Reasons["kernfull"] = 5 }, "table", Fault, "5 inserts refused", "nf_conntrack_max=2000"},
		{"table nearly full", func(p *patient) { p.st.States.Kernel = 900 }, "table", Warning, "nearly full", "nf_conntrack_max"},
		{"maxstates", func(p *patient) { p.st.Config.MaxStates, p.st.States.Peer = 50, 50 }, "table", Fault, "50 of 50", "maxstates 0"},
		{"peer too large", func(p *patient) { peer(p).Table = 1001 }, "peer table", Fault, "1001", "nf_conntrack_max"},
		{"peer nearly too large", func(p *patient) { peer(p).Table = 950 }, "peer table", Warning, "950", "nf_conntrack_max"},
		{"looks often", func(p *patient) { p.stats.Reasons["dumpinterval"] = 10 }, "liveness", OK, "every 10 s", ""},
		{"looks seldom", func(p *patient) { p.stats.Reasons["dumpinterval"], p.stats.Reasons["dumppermille"] = 40, 48 }, "liveness", Warning, "every 40 s, for 4.8 %", "udp_timeout=160"},
		{"small buffer", func(p *patient) { p.stats.Reasons["eventbuffer"] = 425984 }, "buffers", Warning, "rmem_max is 212992", "rmem_max="},
		{"overrun", func(p *patient) { p.stats.Reasons["overrun"] = 1 }, "buffers", Warning, "read again, 1 time", "rmem_max="},
		{"bulk runs", func(p *patient) { p.st.Sync = control.Sync{State: control.SyncBulk, Percent: 41} }, "bulk", Warning, "bulk 41%", "wait"},
		{"bulk failed", func(p *patient) { p.st.Sync = control.Sync{State: control.SyncFailed, Tries: 12} }, "bulk", Fault, "asked 12 times", "bulk"},
		{"diverged", func(p *patient) { p.st.Sync.State = control.SyncDiverged }, "bulk", Warning, "repaired", "wait"},
		{"link down", func(p *patient) { p.st.Sync.State = control.SyncLinkDown }, "bulk", Fault, "link is down", "syncdev"},
		{"conntrackd", func(p *patient) { running(p.root, "9", "conntrackd", "net:[1]", "conntrackd", "-d") }, "conntrackd", Fault, "pid 9", "disable"},
		{"keepalived unreadable", func(p *patient) { running(p.root, "9", "keepalived", "net:[1]", "keepalived") }, "keepalived", Warning, "cannot be read", "be root"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPatient()
			tc.ill(p)
			got := p.examine(t)[tc.check]
			if got.Level != tc.level || !strings.Contains(got.Text, tc.text) || !strings.Contains(got.Remedy, tc.remedy) {
				t.Errorf("got %+v", got)
			}
			if got.Level != OK && got.Remedy == "" {
				t.Error("no remedy")
			}
		})
	}
}

func TestWorst(t *testing.T) {
	for _, tc := range []struct {
		levels string
		want   Level
	}{{"", OK}, {"ok ok", OK}, {"ok warning", Warning}, {"warning fault ok", Fault}, {"fault warning", Fault}} {
		var all []Finding
		for _, l := range strings.Fields(tc.levels) {
			all = append(all, Finding{Level: Level(l)})
		}
		if got := Worst(all); got != tc.want {
			t.Errorf("%s: %s", tc.levels, got)
		}
	}
}

var _ fs.ReadLinkFS = fstest.MapFS{} // or processes are found nowhere
