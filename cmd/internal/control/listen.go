package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Listen binds the socket at path, so that only root, and group if there is
// one of that name, can connect. It refuses with ErrRunning if somebody
// answers there, and removes the socket of a daemon that died. The caller has
// made sure with LockPID that nobody else does the same at the same time.
//
// It must run before the daemon gives up CAP_CHOWN: afterwards the socket
// cannot be handed to the group.
func Listen(path, group string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control: %s: %w", path, ErrTooLong)
	}
	if err := clearDead(path); err != nil {
		return nil, fmt.Errorf("control: %s: %w", path, err)
	}
	ln, err := bindTight(path)
	if err != nil {
		return nil, err
	}
	if err := admit(path, group); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control: %s: %w", path, err)
	}
	return ln, nil
}

// clearDead removes a socket nobody listens on. Any other file is left alone.
func clearDead(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return ErrRunning
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", ErrRunning, err) // its queue of clients is full: it lives
	}
	return os.Remove(path)
}

// bindTight binds with a umask that lets nobody but the owner in, so there is
// no moment at which anybody else could connect. The umask belongs to the
// process; Listen runs before other goroutines make files.
func bindTight(path string) (*net.UnixListener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// admit opens the socket to the group. A host without that group keeps it to
// the owner.
func admit(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// MakeDirs makes the run and the state directory where they are missing.
func (d Dirs) MakeDirs() error {
	if err := os.MkdirAll(filepath.Clean(d.Run), 0o755); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if err := os.MkdirAll(filepath.Clean(d.State), 0o755); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}
