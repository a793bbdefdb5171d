package syncdev

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpError(t *testing.T) {
	c := &Conn{dev: "eth2"}
	for _, tt := range []struct {
		name, op string
		err      error
		want     error
		text     string
	}{
		{"no right to a raw socket", "open", os.NewSyscallError("socket", unix.EPERM), ErrPerm, "CAP_NET_RAW"},
		{"no right to bind", "bind to", os.NewSyscallError("setsockopt", unix.EPERM), ErrPerm, "CAP_NET_RAW"},
		{"dropped by a rule", "write", os.NewSyscallError("sendmmsg", unix.EPERM), unix.EPERM, "firewall rule"},
		{"vanished", "write", os.NewSyscallError("sendmmsg", unix.ENODEV), ErrNoDevice, "eth2"},
		{"no route", "write", os.NewSyscallError("sendmmsg", unix.ENETUNREACH), unix.ENETUNREACH, "no route"},
		{"closed", "read", &net.OpError{Op: "read", Err: net.ErrClosed}, os.ErrClosed, "read eth2"},
		{"anything else", "write", unix.ENOBUFS, unix.ENOBUFS, "write eth2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.opError(tt.op, tt.err)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v is not %v", err, tt.want)
			}
			if !strings.HasPrefix(err.Error(), "syncdev: "+tt.op+" eth2: ") || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("text %q, want %q in it", err, tt.text)
			}
		})
	}
}
