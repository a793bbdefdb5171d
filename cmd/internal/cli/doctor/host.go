package doctor

import (
	"context"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Host is what is looked at beside the daemon.
type Host struct {
	FS   fs.FS                                                                  // the root of the file system, with symbolic links
	Run  func(ctx context.Context, name string, args ...string) ([]byte, error) // stdout of a program
	Link func(name string) (Link, error)
	Wait func(ctx context.Context, d time.Duration)
}

// Link is an interface.
type Link struct {
	Up      bool // set up
	Running bool // has a carrier
	MTU     int  // bytes
	Addrs   []netip.Addr
}

// System is the real host.
func System() Host {
	return Host{FS: os.DirFS("/"), Run: run, Link: link, Wait: wait}
}

func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	return c.Output()
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func link(name string) (Link, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return Link{}, err
	}
	addrs, err := i.Addrs()
	l := Link{Up: i.Flags&net.FlagUp != 0, Running: i.Flags&net.FlagRunning != 0, MTU: i.MTU}
	for _, a := range addrs {
		if p, perr := netip.ParsePrefix(a.String()); perr == nil {
			l.Addrs = append(l.Addrs, p.Addr().Unmap())
		}
	}
	return l, err
}

// procNet is where the network namespace of the process is told of.
const procNet = "proc/thread-self/net/"

// read returns a file of the host, path without the leading slash.
func (h *Host) read(path string) (string, error) {
	b, err := fs.ReadFile(h.FS, path)
	return string(b), err
}

// sysctl reads a variable that is a number, its name with dots.
func (h *Host) sysctl(name string) (int, error) {
	s, err := h.read("proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(s))
}

// sentPackets is the number of packets that left an interface, of
// /proc/net/dev.
func (h *Host) sentPackets(dev string) (uint64, error) {
	s, err := h.read(procNet + "dev")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(s) {
		name, counters, _ := strings.Cut(strings.TrimSpace(line), ":")
		if f := strings.Fields(counters); name == dev && len(f) > devTxPackets {
			return strconv.ParseUint(f[devTxPackets], 10, 64)
		}
	}
	return 0, fs.ErrNotExist
}

// devTxPackets is the column of /proc/net/dev: eight of receiving and the bytes
// stand before.
const devTxPackets = 9
