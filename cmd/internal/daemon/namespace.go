package daemon

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"golang.org/x/sys/unix"
)

// interfaceNames lists the interfaces of the calling thread's namespace.
func interfaceNames() ([]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Name
	}
	return names, nil
}

// soNetNSCookie is SO_NETNS_COOKIE (Linux 5.14): unlike the inode it is never
// given to a second namespace.
const soNetNSCookie = 71

// kernelID names the state table of the calling thread's namespace: the boot,
// and the namespace within it.
func kernelID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := control.NetNS()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", strings.TrimSpace(string(boot)), ns, netnsCookie())
}

// netnsCookie is 0 on kernels without.
func netnsCookie() uint64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, soNetNSCookie)
	if err != nil {
		return 0
	}
	return cookie
}
