package conntrack

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// childEnv is set in the process that TestUserNamespace starts.
const childEnv = "CONNTRACK_TEST_CHILD"

// TestUserNamespace runs itself again as root of a user namespace, who may use
// conntrack but not force buffers: that is warned of, and batches shrink to
// what the buffers hold.
func TestUserNamespace(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		limitedBuffers(t)
		return
	}
	nstest.New(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestUserNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func limitedBuffers(t *testing.T) {
	var warned []any
	l, err := Listen(ListenConfig{Warn: func(msg string, args ...any) { warned = append([]any{msg}, args...) }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(warned) == 0 {
		t.Error("no warning of the small buffer")
	}
	i, err := NewInjector()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	// As if net.core.rmem_max were what it is by default.
	if err := unix.SetsockoptInt(i.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 212992); err != nil {
		t.Fatal(err)
	}
	i.batch = batchFor(2 * 212992)
	if i.batch >= maxBatch {
		t.Errorf("batches of %d", i.batch)
	}
	createMany(t, i, 1000)
	ops, res := manyOps(pfstate.OpGet, 1000), make([]pfstate.Result, 1000)
	if _, err := i.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for k := range res {
		if res[k].Code != pfstate.ResultOK {
			t.Fatalf("result %d: %v (%v)", k, res[k].Code, res[k].Errno)
		}
	}
}

// TestNoCapability: without CAP_NET_ADMIN every door says which right it wants.
func TestNoCapability(t *testing.T) {
	ns := newNS(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends without its rights
		ns.Do(func() {
			dropCaps(t)
			if _, err := NewInjector(); !errors.Is(err, ErrPermission) {
				t.Errorf("NewInjector: %v", err)
			}
			if _, err := Listen(ListenConfig{}); !errors.Is(err, ErrPermission) {
				t.Errorf("Listen: %v", err)
			}
			raiseCaps(t)
		})
	}()
	<-done
}

// dropCaps takes the calling thread's effective capabilities, raiseCaps gives
// it back all that it is permitted.
func dropCaps(t *testing.T) {
	setCaps(t, func(d *[2]unix.CapUserData) { d[0].Effective, d[1].Effective = 0, 0 })
}

func raiseCaps(t *testing.T) {
	setCaps(t, func(d *[2]unix.CapUserData) { d[0].Effective, d[1].Effective = d[0].Permitted, d[1].Permitted })
}

func setCaps(t *testing.T, fn func(*[2]unix.CapUserData)) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Error(err)
	}
	fn(&data)
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Error(err)
	}
}
