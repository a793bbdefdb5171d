package tunif

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/tunif/nstest"
)

func TestCreateError(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want error
		hint string
	}{
		{"no device file", &os.PathError{Op: "open", Path: tunPath, Err: unix.ENOENT}, ErrNoTun, "modprobe tun"},
		{"no driver behind it", unix.ENODEV, ErrNoTun, "modprobe tun"},
		{"mode of the device file", unix.EACCES, ErrPerm, "be root"},
		{"capability", os.NewSyscallError("ioctl", unix.EPERM), ErrPerm, "CAP_NET_ADMIN"},
		{"lost race for the name", os.NewSyscallError("ioctl", unix.EBUSY), ErrBusy, "ip link delete pfsync0"},
		{"anything else", unix.ENOMEM, unix.ENOMEM, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := createError("pfsync0", tt.err)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v is not %v", err, tt.want)
			}
			if !strings.HasPrefix(err.Error(), "tunif: create pfsync0: ") || !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("text %q, want %q in it", err, tt.hint)
			}
		})
	}
}

// TestNoLinkLocal is the way out where /proc/sys may not be written.
func TestNoLinkLocal(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	if !ns.HasIPv6() {
		t.Skip("kernel without IPv6")
	}
	ns.Run(t, "ip", "tuntap", "add", "dev", "pfsync0", "mode", "tun")
	index := ns.Interface(t, "pfsync0").Index
	ns.Do(func() {
		link, err := dialRtnl()
		if err != nil {
			t.Fatal(err)
		}
		defer link.close()
		if err := link.noLinkLocal(index); err != nil {
			t.Fatal(err)
		}
	})
	if mode := ns.ReadSysctl(t, "net/ipv6/conf/pfsync0/addr_gen_mode"); mode != "1" {
		t.Errorf("addr_gen_mode %s", mode)
	}
}
