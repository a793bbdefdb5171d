package control_test

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.sock")
	ln, err := control.Listen(path, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("without a group: %v, %v", fi.Mode(), err)
	}
	if _, err := control.Listen(path, "no-such-group"); !errors.Is(err, control.ErrRunning) {
		t.Errorf("second Listen = %v, want %v", err, control.ErrRunning)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	ln, err = control.Listen(path, "no-such-group")
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after Close: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		want       error
	}{
		{"a file", file, control.ErrNotSocket},
		{"a directory", dir, control.ErrNotSocket},
		{"no directory", filepath.Join(dir, "none", "s"), os.ErrNotExist},
		{"too long", "/" + strings.Repeat("x", 107), control.ErrTooLong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := control.Listen(tc.path, "no-such-group"); !errors.Is(err, tc.want) {
				t.Errorf("Listen = %v, want %v", err, tc.want)
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// TestListenBusy finds a daemon whose queue of clients is full, which does not
// answer but lives.
func TestListenBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := control.Listen(path, "no-such-group"); !errors.Is(err, control.ErrRunning) {
		t.Errorf("Listen = %v, want %v", err, control.ErrRunning)
	}
}

func TestListenGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a socket to a group")
	}
	g, err := user.LookupGroup("daemon")
	if err != nil {
		t.Skipf("no group to give it to: %v", err)
	}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := control.Listen(path, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if gid := fi.Sys().(*syscall.Stat_t).Gid; fi.Mode().Perm() != 0o660 || strconv.Itoa(int(gid)) != g.Gid {
		t.Errorf("mode %v group %d, want 0660 group %s", fi.Mode(), gid, g.Gid)
	}
}

func TestLockPID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.pid")
	p, err := control.LockPID(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("file %q, %v", b, err)
	}
	_, err = control.LockPID(path)
	if !errors.Is(err, control.ErrRunning) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second LockPID = %v, want %v with the number", err, control.ErrRunning)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	p, err = control.LockPID(path)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	p.Close()
	if _, err := control.LockPID(filepath.Join(t.TempDir(), "none", "pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LockPID without a directory = %v", err)
	}
}

func TestReady(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cause error
		want  string
	}{
		{"ready", nil, ""},
		{"not ready", errors.New("no /dev/net/tun"), "no /dev/net/tun"},
		{"two lines", errors.New("one\ntwo"), "one; two"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fd, err := syscall.Dup(int(w.Fd())) // ReportReady takes the descriptor over
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv(control.EnvReady, strconv.Itoa(fd))
			if err := control.ReportReady(tc.cause); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := control.WaitReady(r); err != nil {
				got = err.Error()
			}
			if got != tc.want || os.Getenv(control.EnvReady) != "" {
				t.Errorf("WaitReady = %q, want %q", got, tc.want)
			}
		})
	}
	if err := control.WaitReady(strings.NewReader("")); err == nil {
		t.Error("a daemon that died without a word is ready")
	}
	if err := control.ReportReady(errors.New("x")); err != nil {
		t.Errorf("without a pipe: %v", err)
	}
	t.Setenv(control.EnvReady, "stdin")
	if err := control.ReportReady(nil); !errors.Is(err, control.ErrInvalid) {
		t.Errorf("bad descriptor: %v", err)
	}
}
