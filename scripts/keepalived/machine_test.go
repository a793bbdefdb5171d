package keepalived

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// machine is a firewall: a network namespace, a /run of its own, which a
// reboot empties, and a disk.
type machine struct {
	*nstest.NS
	t     *testing.T
	name  string // a or b, as the files end
	bin   string // directory of the programs
	disk  string // etc and state
	words string // of hostname.pfsync0
	wires wires
	waits bool // keepalived starts after pfsyncctl wait

	byScript bool // the init script starts pfsync

	holder              *nstest.Proc // keeps the mount namespace
	pfsyncd, keepalived *nstest.Proc
}

func newMachine(t *testing.T, ns *nstest.NS, name string) *machine {
	t.Helper()
	m := &machine{NS: ns, t: t, name: name, bin: nstest.Bin(t), disk: t.TempDir(), words: "syncdev " + syncDev}
	m.holder = ns.Start(t, "^ready", "unshare", "--mount", "--propagation", "private", "--", "sh", "-c",
		"mount -t tmpfs none /run && echo ready && exec sleep infinity")
	return m
}

// argv is a command in the machine's namespaces.
func (m *machine) argv(args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", m.holder.Pid()), "--", "env",
		"PATH=" + m.bin + ":" + os.Getenv("PATH"), "PFSYNC_ETCDIR=" + m.disk, "PFSYNC_STATEDIR=" + m.disk, "NOTIFY_SOCKET=",
		"PFSYNCCTL=" + m.bin + "/pfsyncctl"}, args...)
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	return m.Run(m.t, m.argv(args...)...)
}

// file names a file of the machine to us.
func (m *machine) file(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.holder.Pid(), path)
}

// boot starts what a boot starts, in its order: the files of tmpfiles.d, then
// pfsync, then keepalived.
func (m *machine) boot() {
	m.t.Helper()
	m.tmpfiles()
	m.startDaemon()
	if m.waits {
		m.run("pfsyncctl", "pfsync0", "wait", "--timeout", "60")
	}
	m.startKeepalived()
}

// tmpfiles does what systemd-tmpfiles would with our file.
func (m *machine) tmpfiles() {
	m.t.Helper()
	b, err := os.ReadFile("../tmpfiles.d/pfsync.conf")
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 7 && f[0] == "d":
			err = os.MkdirAll(m.file(f[1]), 0o755)
		case len(f) == 7 && f[0] == "f":
			err = os.WriteFile(m.file(f[1]), []byte(f[6]), 0o644)
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// startDaemon is what the unit does: ExecStart, then ExecStartPost.
func (m *machine) startDaemon() {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.disk, "hostname.pfsync0"), []byte(m.words+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if m.byScript {
		m.run("sh", absolute(m.t, "../sysv/pfsync"), "start")
		m.t.Cleanup(func() { m.Try(m.argv("sh", absolute(m.t, "../sysv/pfsync"), "stop")...) })
		return
	}
	m.pfsyncd = m.Start(m.t, "msg=ready", m.argv("pfsyncd", "-f")...)
	m.run("pfsyncctl", "pfsync0", "start")
}

func (m *machine) startKeepalived() {
	m.t.Helper()
	conf := absolute(m.t, "keepalived.conf."+m.name)
	m.keepalived = m.Start(m.t, "Entering BACKUP STATE", m.argv("keepalived", "-n", "-l", "-D", "-P", "-G", "-f", conf)...)
}

// absolute names a file of this directory: a program in another mount namespace
// begins in its root.
func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// processes are keepalived's: the one started, and its child.
func (m *machine) processes() []int {
	return append([]int{m.keepalived.Pid()}, m.keepalived.Children()...)
}

// killKeepalived ends it so that it can do nothing any more; its addresses
// stay.
func (m *machine) killKeepalived() {
	children := m.keepalived.Children()
	m.keepalived.Stop()
	for _, pid := range children {
		m.gone(pid)
	}
	// Where process 1 reaps nobody, a dead process looks like one that runs.
	os.Remove(m.file("/run/vrrp.pid"))
}

// stopKeepalived ends it as init does.
func (m *machine) stopKeepalived() {
	m.t.Helper()
	syscall.Kill(m.keepalived.Pid(), syscall.SIGTERM)
	for _, pid := range m.processes() {
		m.gone(pid)
	}
	m.keepalived.Stop()
}

func (m *machine) stopDaemon() {
	m.t.Helper()
	syscall.Kill(m.pfsyncd.Pid(), syscall.SIGTERM)
	m.pfsyncd.WaitFor(m.t, patience, "msg=stopped")
	m.pfsyncd.Stop()
}

// gone waits until a process is no more, or has nothing left to do but to be
// waited for.
func (m *machine) gone(pid int) {
	m.t.Helper()
	nstest.Eventually(m.t, patience, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	}, "end of a process")
}

// freeze stops all programs of the machine where they are; thaw lets them go on.
func (m *machine) freeze() { m.signal(syscall.SIGSTOP) }
func (m *machine) thaw()   { m.signal(syscall.SIGCONT) }

func (m *machine) signal(sig syscall.Signal) {
	m.t.Helper()
	for _, pid := range append(m.processes(), m.pfsyncd.Pid()) {
		if err := syscall.Kill(pid, sig); err != nil {
			m.t.Fatal(err)
		}
	}
}

// powerOff ends everything at once, and takes the cables.
func (m *machine) powerOff() {
	m.t.Helper()
	m.wires.cut(m.t, outDev, inDev, syncDev)
	m.killKeepalived()
	m.pfsyncd.Stop()
}

// powerOn is a machine that boots: an empty table, an empty /run, and no
// address that is not configured.
func (m *machine) powerOn() {
	m.t.Helper()
	m.run("sh", "-c", "rm -rf /run/*")
	m.Run(m.t, "conntrack", "-F")
	for _, dev := range []string{outDev, inDev} {
		for line := range strings.Lines(m.Run(m.t, "ip", "-o", "addr", "show", "dev", dev)) {
			f := strings.Fields(line)
			if i := slices.Index(shared, strings.Split(f[3], "/")[0]); i >= 0 {
				m.Run(m.t, "ip", "addr", "del", f[3], "dev", dev)
			}
		}
	}
	m.wires.mend(m.t, outDev, inDev, syncDev)
	for _, dev := range []string{outDev, inDev, syncDev} {
		m.WaitCarrier(m.t, dev)
	}
}

// shared are all addresses that keepalived moves.
var shared = []string{sharedOut, sharedOut6, sharedIn, sharedIn6, "fe80::1:1", "fe80::2:1"}

// demotion is what keepalived reads.
func (m *machine) demotion() string {
	b, err := os.ReadFile(m.file("/run/pfsync/pfsync0.demotion"))
	if errors.Is(err, os.ErrNotExist) {
		return "none"
	}
	return strings.TrimSpace(string(b))
}

// waitSync waits until the machine has what its peers have.
func (m *machine) waitSync() {
	m.t.Helper()
	m.run("pfsyncctl", "pfsync0", "wait", "--timeout", "60")
}

// tell prints what the machine's programs have logged.
func (m *machine) tell() {
	for name, p := range map[string]*nstest.Proc{"pfsyncd": m.pfsyncd, "keepalived": m.keepalived} {
		if p != nil {
			m.t.Logf("%s of %s:\n%s", name, m.name, strings.Join(p.Lines(), "\n"))
		}
	}
}
