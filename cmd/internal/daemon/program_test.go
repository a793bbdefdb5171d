package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var binDir string // of the programs, set by newHost

// host is a namespace in which the programs run with directories of their own.
type host struct {
	*nstest.NS
	t   *testing.T
	dir string
}

func newHost(t *testing.T, ns *nstest.NS) *host {
	t.Helper()
	binDir = nstest.Bin(t)
	h := &host{ns, t, t.TempDir()}
	t.Cleanup(h.killLeft)
	return h
}

// killLeft ends a daemon that pfsyncctl has started in the background.
func (h *host) killLeft() {
	pid, err := os.ReadFile(filepath.Join(h.dir, "pfsync0.pid"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil || n <= 1 {
		return
	}
	// The file of one that was killed may name another process by now.
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n)); err == nil && exe == filepath.Join(binDir, "pfsyncd") {
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

func (h *host) env(args ...string) []string {
	return append([]string{"env", "PFSYNC_RUNDIR=" + h.dir, "PFSYNC_ETCDIR=" + h.dir, "NOTIFY_SOCKET="}, args...)
}

// ctl runs pfsyncctl, which must succeed.
func (h *host) ctl(args ...string) string {
	h.t.Helper()
	out, err := h.tryCtl(args...)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func (h *host) tryCtl(args ...string) (string, error) {
	return h.Try(h.env(append([]string{filepath.Join(binDir, "pfsyncctl")}, args...)...)...)
}

// daemon runs pfsyncd in the foreground and waits until it is ready.
func (h *host) daemon(args ...string) *nstest.Proc {
	h.t.Helper()
	return h.Start(h.t, "msg=ready", h.env(append([]string{filepath.Join(binDir, "pfsyncd"), "-f"}, args...)...)...)
}

// fails runs a command that must fail, and checks code and text.
func (h *host) fails(code int, text string, args ...string) {
	h.t.Helper()
	out, err := h.Try(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		h.t.Errorf("%s: %v, want exit code %d", strings.Join(args, " "), err, code)
	}
	if !strings.Contains(out, text) {
		h.t.Errorf("%s: want %q in\n%s", strings.Join(args, " "), text, out)
	}
}

func (h *host) pfsyncd(args ...string) []string {
	return h.env(append([]string{filepath.Join(binDir, "pfsyncd")}, args...)...)
}

// pid is what the daemon wrote of itself; 0 if there is none.
func (h *host) pid() int {
	b, _ := os.ReadFile(filepath.Join(h.dir, "pfsync0.pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// gone waits until no process has that id.
func gone(t *testing.T, pid int) {
	t.Helper()
	nstest.Eventually(t, patience, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, "end of the daemon")
}

// TestPrograms: the command starts the daemon, a second is refused, other
// namespaces are refused, destroy ends it.
func TestPrograms(t *testing.T) {
	bed := nstest.New(t)
	ns, other := bed.NS("fw1"), bed.NS("fw2")
	bed.Veth(ns, "eth2", other, "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	h := newHost(t, ns)
	h.ctl("pfsync0", "syncdev", "eth2", "maxupd", "64")
	pid := h.pid()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("no daemon: %v", err)
	}
	if out := h.ctl("pfsync0"); !strings.HasPrefix(out, "pfsync0: flags=41<UP,RUNNING> mtu 1500\n\tpfsync: syncdev: eth2 maxupd: 64 defer: off\n") {
		t.Errorf("status %q", out)
	}
	checkThreads(t, pid)
	h.fails(1, "syncpeer 10.0.3.2: invalid: that of eth2 itself", h.env(filepath.Join(binDir, "pfsyncctl"), "pfsync0", "syncpeer", "10.0.3.2")...)
	h.fails(1, "a daemon is running already (pid "+strconv.Itoa(pid)+")", h.pfsyncd("-f")...)
	h.fails(1, "a daemon is running already", h.pfsyncd()...)
	elsewhere := &host{other, t, h.dir}
	elsewhere.fails(1, "daemon runs in another network namespace; set PFSYNC_RUNDIR", elsewhere.env(filepath.Join(binDir, "pfsyncctl"), "pfsync0")...)
	second := newHost(t, ns)
	second.fails(1, "one pfsync interface per network namespace", second.pfsyncd("-f", "pfsync1")...)
	second.fails(1, "an interface of that name exists", second.pfsyncd("-f")...)
	h.ctl("pfsync0", "destroy")
	h.fails(3, "", h.env(filepath.Join(binDir, "pfsyncctl"), "pfsync0")...)
	gone(t, pid)
	h.ctl("pfsync0", "create")
	h.ctl("pfsync0", "destroy")
	h.ctl("pfsync0", "create") // while the last one may still be on its way out
	h.ctl("pfsync0", "destroy")
}

// TestReplaced: a word that comes while the daemon ends, or has just been
// killed and still takes connections, starts another.
func TestReplaced(t *testing.T) {
	h := newHost(t, nstest.New(t).NS("fw1"))
	h.ctl("pfsync0", "create")
	for range 5 {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			pid := h.pid()
			syscall.Kill(pid, sig)
			h.ctl("pfsync0", "maxupd", "7")
			if h.pid() != pid {
				continue
			}
			if sig == syscall.SIGKILL {
				t.Fatal("nothing was started in place of a killed daemon")
			}
			gone(t, pid) // it took the word before the signal
			h.ctl("pfsync0", "create")
		}
	}
	h.ctl("pfsync0", "destroy")
}

// checkThreads: every thread has the two capabilities and no other.
func checkThreads(t *testing.T, pid int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads %v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // ended
		}
		for line := range strings.Lines(string(b)) {
			name, set, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch name {
			case "CapPrm", "CapEff", "CapBnd":
				if set != "0000000000003000" {
					t.Errorf("%s: %s %s", f, name, set)
				}
			}
		}
	}
}

// TestSignals: SIGHUP reads the start file, SIGTERM ends in order.
func TestSignals(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw1")
	bed.Veth(ns, "eth2", bed.NS("fw2"), "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	h := newHost(t, ns)
	p := h.daemon()
	h.ctl("pfsync0", "maxupd", "7")
	syscall.Kill(h.pid(), syscall.SIGHUP)
	p.WaitFor(t, patience, "configuration not changed.*no such file")
	start := filepath.Join(h.dir, "hostname.pfsync0")
	write := func(text string) {
		if err := os.WriteFile(start, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("syncdev eth2\nmaxupd 300\n")
	syscall.Kill(h.pid(), syscall.SIGHUP)
	p.WaitFor(t, patience, "configuration not changed.*maxupd 300: too large")
	if out := h.ctl("pfsync0"); strings.Contains(out, "eth2") {
		t.Errorf("an error changed something: %s", out)
	}
	write("description again\nsyncdev eth2\nup\n")
	syscall.Kill(h.pid(), syscall.SIGHUP)
	p.WaitFor(t, patience, "configuration read again")
	if out := h.ctl("pfsync0"); !strings.Contains(out, "syncdev: eth2 maxupd: 128") || !strings.Contains(out, "description: again") {
		t.Errorf("status %s", out)
	}
	syscall.Kill(h.pid(), syscall.SIGTERM)
	p.WaitFor(t, patience, "msg=stopped")
	if _, err := ns.Try("ip", "link", "show", "pfsync0"); err == nil {
		t.Error("the interface is still there")
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "pfsync0.demotion"))
	if err != nil || string(b) != "0\n" {
		t.Errorf("demotion %q, %v", b, err)
	}
}

// TestNotify: the service manager hears that the daemon is ready and stops.
func TestNotify(t *testing.T) {
	ns := nstest.New(t).NS("fw1")
	h := newHost(t, ns)
	path := filepath.Join(h.dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h.Start(t, "msg=ready", "env", "PFSYNC_RUNDIR="+h.dir, "NOTIFY_SOCKET="+path, filepath.Join(binDir, "pfsyncd"), "-f")
	buf := make([]byte, 256)
	hear := func(want string) {
		t.Helper()
		n, err := c.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("%q, %v; want %s", buf[:n], err, want)
		}
	}
	hear("READY=1")
	syscall.Kill(h.pid(), syscall.SIGHUP)
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	syscall.Kill(h.pid(), syscall.SIGTERM)
	hear("STOPPING=1")
}

// TestKilled: after kill -9 the next start finds nothing in its way, and the
// states of both sides are there again.
func TestKilled(t *testing.T) {
	p := &pair{Topology: nstest.NewTopology(t, nstest.Options{})}
	h := newHost(t, p.FW[0])
	proc := h.daemon()
	h.ctl("pfsync0", "syncdev", nstest.SyncDev)
	p.n[1] = newNode(t, p.FW[1], t.TempDir())
	p.n[1].set("syncdev", nstest.SyncDev)
	p.n[1].waitSync(control.SyncOK)
	h.ctl("pfsync0", "wait", "--timeout", "60")
	flows := p.tcpUDP(t)
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	if out := h.ctl("pfsync0", "states"); !strings.Contains(out, "all tcp 10.0.2.10:") {
		t.Errorf("states %q", out)
	}
	if out := h.ctl("pfsync0", "peers", "-j"); !strings.Contains(out, `"addr":"10.0.3.3"`) {
		t.Errorf("peers %q", out)
	}
	if out := h.ctl("pfsync0", "stats"); !strings.Contains(out, "state inserts sent") {
		t.Errorf("stats %q", out)
	}
	proc.Stop() // kill -9
	for _, f := range flows {
		waitFlow(t, p.FW[0], true, f.family, f.words...)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "pfsync0.sock")); err != nil {
		t.Fatalf("a killed daemon leaves its socket: %v", err)
	}
	later := p.tcpUDP(t) // nobody hears of them now
	h.daemon()
	h.ctl("pfsync0", "syncdev", nstest.SyncDev)
	h.ctl("pfsync0", "wait", "--timeout", "60")
	for _, f := range append(flows, later...) {
		waitFlow(t, p.FW[0], true, f.family, f.words...)
		waitFlow(t, p.FW[1], true, f.family, f.words...)
		p.FW[0].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
		waitFlow(t, p.FW[1], false, f.family, f.words...)
	}
}

// TestMissing: what the host lacks is said plainly, with the remedy, and
// nothing is left behind.
func TestMissing(t *testing.T) {
	ns := nstest.New(t, "unshare", "setpriv").NS("fw1")
	h := newHost(t, ns)
	daemon := h.pfsyncd("-f")
	h.fails(1, "no TUN driver", append([]string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$@"`, "sh"}, daemon...)...)
	h.fails(1, "CAP_NET_ADMIN needed; be root", append([]string{"setpriv", "--bounding-set=-net_admin"}, daemon...)...)
	h.fails(1, "CAP_NET_ADMIN and CAP_NET_RAW needed", append([]string{"setpriv", "--bounding-set=-all"}, daemon...)...)
	h.fails(2, "usage: pfsyncd", h.pfsyncd("eth0")...)
	h.fails(2, "usage: pfsyncd", h.pfsyncd("--no-such-flag")...)
	if err := os.WriteFile(filepath.Join(h.dir, "pfsync0.hostid"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.fails(1, "no hostid in it", daemon...)
	if _, err := ns.Try("ip", "link", "show", "pfsync0"); err == nil {
		t.Error("a start that failed leaves the interface")
	}
}
