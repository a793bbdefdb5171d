package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireEnv is the environment variable that, set to 1, turns the skip of a
// test for want of rights or tools into a failure.
const RequireEnv = "PFSYNC_REQUIRE_NETNS"

// Bed is a set of namespaces that lives as long as its test.
type Bed struct {
	t   testing.TB
	nss map[string]*NS
}

// New gives an empty bed. It skips the test if network namespaces cannot be
// made here (root or CAP_SYS_ADMIN and CAP_NET_ADMIN are needed) or one of the
// programs ip, nft, nsenter or those named in tools is not installed.
func New(t testing.TB, tools ...string) *Bed {
	t.Helper()
	b := &Bed{t: t, nss: make(map[string]*NS)}
	b.Need("ip", "nft", "nsenter")
	b.Need(tools...)
	if err := probe(); err != nil {
		b.skip(fmt.Sprintf("no network namespaces: %v (root or CAP_SYS_ADMIN needed)", err))
	}
	return b
}

// Need skips the test if one of the named programs is not installed.
func (b *Bed) Need(tools ...string) {
	b.t.Helper()
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			b.skip(fmt.Sprintf("program %s not found", name))
		}
	}
}

// skip ends the test: as skipped, or as failed where RequireEnv says so.
func (b *Bed) skip(reason string) {
	b.t.Helper()
	if os.Getenv(RequireEnv) == "1" {
		b.t.Fatalf("nstest: %s, and %s=1", reason, RequireEnv)
	}
	b.t.Skipf("nstest: %s", reason)
}

// NS gives the namespace of that name within the bed and makes it when it is
// not there: loopback up, IPv6 duplicate address detection off, so that an
// address is usable at once, IPv6 addresses kept when an interface goes down.
// It is gone, with all in it, when the test ends.
func (b *Bed) NS(name string) *NS {
	b.t.Helper()
	if ns, ok := b.nss[name]; ok {
		return ns
	}
	fd, err := newNetns()
	if err != nil {
		b.t.Fatalf("nstest: new namespace %s: %v", name, err)
	}
	ns := &NS{name: name, fd: fd}
	b.nss[name] = ns
	b.t.Cleanup(func() { unix.Close(fd) })

	ns.Run(b.t, "ip", "link", "set", "lo", "up")
	if ns.HasIPv6() {
		for _, scope := range []string{"all", "default"} {
			ns.Sysctl(b.t, "net.ipv6.conf."+scope+".accept_dad", "0")
			ns.Sysctl(b.t, "net.ipv6.conf."+scope+".keep_addr_on_down", "1")
		}
	}
	return ns
}

// probe tells whether this process may make a network namespace.
func probe() error {
	fd, err := newNetns()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// newNetns makes a network namespace and gives a descriptor of it. The calling
// thread is back in its own when newNetns returns.
func newNetns() (fd int, err error) {
	runtime.LockOSThread()
	old, err := threadNetns()
	if err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	defer unix.Close(old)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	fd, err = threadNetns()
	if rerr := unix.Setns(old, unix.CLONE_NEWNET); rerr != nil {
		// The thread stays locked: it ends with its goroutine and runs no
		// other one in the wrong namespace.
		return -1, errors.Join(err, rerr)
	}
	runtime.UnlockOSThread()
	return fd, err
}

// threadNetns opens the network namespace of the calling thread.
func threadNetns() (int, error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
