package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that stay.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW"},
}

// capHeader and capData are struct __user_cap_header_struct and
// __user_cap_data_struct of capget(2), version 3.
type (
	capHeader struct {
		version uint32
		pid     int32
	}
	capData [2]struct{ effective, permitted, inheritable uint32 }
)

// checkCapabilities tells which of the needed rights are missing.
func checkCapabilities() error {
	_, d, err := capabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range needed {
		if d[c.bit/32].permitted&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if missing != nil {
		return fmt.Errorf("%w: %s needed; be root", ErrCapability, strings.Join(missing, " and "))
	}
	return nil
}

func capabilities() (h capHeader, d capData, err error) {
	h.version = unix.LINUX_CAPABILITY_VERSION_3
	_, _, errno := syscall.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d)), 0)
	if errno != 0 {
		return h, d, fmt.Errorf("capget: %w", errno)
	}
	return h, d, nil
}

// dropCapabilities gives up all rights but the needed ones, on all threads,
// those that are made later included, and for programs that this one may
// start.
func dropCapabilities(log *slog.Logger) error {
	if err := checkCapabilities(); err != nil {
		return err
	}
	err := dropBounding()
	if err == nil {
		err = dropThreads()
	}
	if errors.Is(err, syscall.ENOTSUP) {
		log.Warn("built with cgo: capabilities are kept")
		return nil
	}
	return err
}

// dropBounding takes the rest out of the bounding set. Without CAP_SETPCAP that
// is refused, and does not matter: see capabilities(7), the bounding set limits
// only what an exec can gain.
func dropBounding() error {
	var keep uint64
	for _, c := range needed {
		keep |= 1 << c.bit
	}
	for bit := uintptr(0); bit <= unix.CAP_LAST_CAP; bit++ {
		if keep&(1<<bit) != 0 {
			continue
		}
		_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, bit, 0, 0, 0, 0)
		switch errno {
		case 0, unix.EINVAL: // the latter: a kernel with fewer
		case unix.EPERM:
			return nil
		default:
			return fmt.Errorf("prctl PR_CAPBSET_DROP: %w", errno)
		}
	}
	return nil
}

func dropThreads() error {
	h, d, err := capabilities()
	if err != nil {
		return err
	}
	var n capData
	for _, c := range needed {
		n[c.bit/32].permitted |= d[c.bit/32].permitted & (1 << (c.bit % 32))
	}
	for i := range n {
		n[i].effective = n[i].permitted
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return fmt.Errorf("capset: %w", errno)
	}
	return nil
}
