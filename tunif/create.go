package tunif

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// tunPath is the device file of the TUN driver.
const tunPath = "/dev/net/tun"

// openTun makes the interface. It looks for one of that name first: the driver
// would attach to a persistent TUN interface that somebody else made, and
// water leaves its descriptor open when the driver refuses.
func openTun(name string, link *rtnl) (*Device, error) {
	if _, err := net.InterfaceByName(name); err == nil {
		return nil, ErrBusy
	}
	file, err := openWater(name)
	if err != nil {
		return nil, err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Device{name: name, index: ifi.Index, file: file, link: link}, nil
}

// openWater opens the TUN device and sets close-on-exec on it, which water
// does not: a child process that inherits it keeps the interface alive. No
// child may start in between, hence the lock.
func openWater(name string) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ifce, err := water.New(water.Config{
		DeviceType:             water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name},
	})
	if err != nil {
		return nil, err
	}
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		ifce.Close()
		return nil, fmt.Errorf("water gave a %T, not a file", ifce.ReadWriteCloser)
	}
	if err := closeOnExec(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func closeOnExec(file *os.File) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var cerr error
	if err := rc.Control(func(fd uintptr) {
		_, cerr = unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC)
	}); err != nil {
		return err
	}
	return cerr
}

// createError says what an error of openTun means and what helps.
func createError(name string, err error) error {
	e := &OpError{Op: "create", Dev: name, Err: err}
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		e.Err = ErrBusy
		e.Hint = "another pfsyncd may run; otherwise: ip link delete " + name
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Err = fmt.Errorf("%w: %w", ErrNoTun, err)
		e.Hint = "modprobe tun; in a container, " + tunPath + " must be given to it"
	case errors.Is(err, unix.EPERM):
		e.Err = fmt.Errorf("%w: %w", ErrPerm, err)
		e.Hint = "CAP_NET_ADMIN is needed"
	case errors.Is(err, unix.EACCES):
		e.Err = fmt.Errorf("%w: %w", ErrPerm, err)
		e.Hint = "be root, or have access to " + tunPath + " and CAP_NET_ADMIN"
	}
	return e
}
