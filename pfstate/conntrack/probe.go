package conntrack

import (
	"os"
	"syscall"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// probe asks for an entry that does not exist, one way: the answer tells
// whether there is ctnetlink, whether we may use it, and whether it has zones.
func (i *Injector) probe() error {
	f := pfstate.Flow{AF: pfstate.AFInet, Proto: pfstate.ProtoUDP}
	f.Orig.Src, f.Orig.Dst = pfstate.Addr{127}, pfstate.Addr{127}
	if err := i.single(AppendGet(i.start(), i.seq+1, &f, OneWay)); err != nil {
		return err
	}
	errno := i.solo.errno
	if errno == unix.EINVAL {
		// The subsystem is not registered and could not be loaded.
		if _, err := os.Stat(sysctlPath(sysctlMax)); err != nil {
			return ErrNoConntrack
		}
		return ErrNoNetlink
	}
	i.zones = errno == unix.ENOENT || i.solo.found
	return probeError(errno)
}

// probeError sorts the answers to the probe.
func probeError(errno syscall.Errno) error {
	switch errno {
	case 0, unix.ENOENT, unix.EOPNOTSUPP:
		return nil
	case unix.EPERM, unix.EACCES:
		return ErrPermission
	}
	return &OpError{Op: "ask for an entry", Err: errno}
}
