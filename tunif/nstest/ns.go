package nstest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// NS is one network namespace. Its methods may be called from any goroutine.
type NS struct {
	name string
	fd   int
}

// Name is the name the namespace has in its bed.
func (ns *NS) Name() string { return ns.name }

// Path names the namespace to other programs, as nsenter --net=PATH and
// ip link set DEV netns PATH take it. It is valid while the test runs.
func (ns *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.fd) }

// Do calls fn on the calling goroutine with its thread in the namespace.
// Descriptors that fn opens stay in the namespace wherever they are used;
// goroutines that fn starts do not run in it. Do may be nested, and fn may end
// the test with t.Fatal.
func (ns *NS) Do(fn func()) {
	runtime.LockOSThread()
	old, err := threadNetns()
	if err != nil {
		panic(fmt.Sprintf("nstest: open own namespace: %v", err))
	}
	if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
		panic(fmt.Sprintf("nstest: enter %s: %v", ns.name, err))
	}
	defer func() {
		if err := unix.Setns(old, unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("nstest: leave %s: %v", ns.name, err))
		}
		unix.Close(old)
		runtime.UnlockOSThread()
	}()
	fn()
}

// Cmd is exec.CommandContext for a program that runs in the namespace,
// whichever thread starts it. /sys stays the one of the test's namespace.
func (ns *NS) Cmd(ctx context.Context, args ...string) *exec.Cmd {
	argv := append([]string{"--net=" + ns.Path(), "--"}, args...)
	return exec.CommandContext(ctx, "nsenter", argv...)
}

// Try runs a program in the namespace and gives what it wrote to stdout and
// stderr together. The error contains it too.
func (ns *NS) Try(args ...string) (string, error) {
	return ns.input("", args...)
}

// Run is Try for a program that must succeed: otherwise the test ends.
func (ns *NS) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := ns.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Nft loads an nftables ruleset, all or nothing.
func (ns *NS) Nft(t testing.TB, ruleset string) {
	t.Helper()
	if _, err := ns.input(ruleset, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

func (ns *NS) input(stdin string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	var err error
	ns.Do(func() { err = cmd.Start() }) // the child starts in the thread's namespace
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("nstest: %s: %s: %w: %s", ns.name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), err
}

// Sysctl sets a kernel parameter of the namespace; key is written with dots or,
// where a name in it has some, with slashes.
func (ns *NS) Sysctl(t testing.TB, key, val string) {
	t.Helper()
	var err error
	ns.Do(func() { err = os.WriteFile(sysctlPath(key), []byte(val), 0) })
	if err != nil {
		t.Fatalf("nstest: %s: sysctl %s=%s: %v", ns.name, key, val, err)
	}
}

// MachineSysctl sets a kernel parameter that all namespaces share, until the end
// of the test: for tests that have a machine of their own.
func MachineSysctl(t testing.TB, key string, val int) {
	t.Helper()
	was, err := os.ReadFile(sysctlPath(key))
	if err == nil {
		err = os.WriteFile(sysctlPath(key), strconv.AppendInt(nil, int64(val), 10), 0)
	}
	if err != nil {
		t.Fatalf("nstest: sysctl %s=%d: %v", key, val, err)
	}
	t.Cleanup(func() { _ = os.WriteFile(sysctlPath(key), was, 0) })
}

// ReadSysctl gives the value of a kernel parameter without its newline.
func (ns *NS) ReadSysctl(t testing.TB, key string) string {
	t.Helper()
	return strings.TrimSpace(ns.ReadFile(t, sysctlPath(key)))
}

// ReadFile reads a file with the thread in the namespace: for /proc/sys/net,
// and for /proc/thread-self/net (/proc/net is the one of the main thread).
func (ns *NS) ReadFile(t testing.TB, path string) string {
	t.Helper()
	var b []byte
	var err error
	ns.Do(func() { b, err = os.ReadFile(path) })
	if err != nil {
		t.Fatalf("nstest: %s: %v", ns.name, err)
	}
	return string(b)
}

// HasIPv6 tells whether the kernel has IPv6 at all.
func (ns *NS) HasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return filepath.Join("/proc/sys", key)
}
