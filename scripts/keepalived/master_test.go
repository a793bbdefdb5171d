package keepalived

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// rise is a machine that became master: it has got a shared address.
type rise struct {
	who     int
	at      time.Time
	missing []string // in flight, and not in its kernel a moment later
}

// watch follows who is master.
type watch struct {
	known func() map[flow]string // what has to be there

	mu    sync.Mutex
	rises []rise  // guarded by mu, as the rest
	has   [2]bool // who has the address
}

// newWatch watches both machines; known may be called at any time.
func newWatch(t *testing.T, n *network, known func() map[flow]string) *watch {
	t.Helper()
	w := &watch{known: known}
	for i, m := range n.fw {
		var fd int
		var err error
		var d *conntrack.Dumper
		m.Do(func() {
			if fd, err = addressSocket(); err == nil {
				d, err = conntrack.NewDumper()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); w.follow(i, fd, d) }()
		t.Cleanup(func() {
			unix.Shutdown(fd, unix.SHUT_RDWR)
			m.Try("ip", "addr", "add", "192.0.2.1/32", "dev", "lo") // wakes the reader
			<-ended
			unix.Close(fd)
			d.Close()
		})
	}
	return w
}

// addressSocket hears of IPv4 addresses.
func addressSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR})
}

var (
	sharedInAddr = netip.MustParseAddr(sharedIn)
	endAddr      = netip.MustParseAddr("192.0.2.1")
)

// follow looks at the kernel's table as soon as the inner shared address comes.
func (w *watch) follow(who, fd int, d *conntrack.Dumper) {
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			continue
		}
		at := time.Now()
		msgs, _ := syscall.ParseNetlinkMessage(buf[:n])
		for _, m := range msgs {
			switch a := localAddress(&m); {
			case a == endAddr:
				return
			case a == sharedInAddr:
				w.note(who, m.Header.Type == unix.RTM_NEWADDR, at, d)
			}
		}
	}
}

// localAddress is that of an RTM_NEWADDR or RTM_DELADDR message (rtnetlink(7)).
func localAddress(m *syscall.NetlinkMessage) (a netip.Addr) {
	attrs, _ := syscall.ParseNetlinkRouteAttr(m)
	for _, at := range attrs {
		if at.Attr.Type == unix.IFA_LOCAL {
			a, _ = netip.AddrFromSlice(at.Value)
		}
	}
	return a
}

// note is told that a machine has the address now, or no longer.
func (w *watch) note(who int, has bool, at time.Time, d *conntrack.Dumper) {
	var names []string
	if has {
		names = missing(d, w.known())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.has[who] = has
	if has {
		w.rises = append(w.rises, rise{who, at, names})
	}
}

// missing tells what of known the kernel does not have, or not as answered.
func missing(d *conntrack.Dumper, known map[flow]string) (names []string) {
	if err := d.Begin(conntrack.Filter{}); err != nil {
		return []string{err.Error()}
	}
	evs := make([]pfstate.Event, 256)
	for {
		n, err := d.Read(evs)
		for i := range evs[:n] {
			f := &evs[i].Flow
			if evs[i].Kind == pfstate.EventDump && f.Status&pfstate.StatusSeenReply != 0 {
				delete(known, flow{f.AF, f.Proto, f.Orig})
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []string{err.Error()}
		}
	}
	for f, name := range known {
		names = append(names, fmt.Sprintf("%s %v", name, f.orig.Src.IP(f.af)))
	}
	slices.Sort(names)
	return names
}

// missing is what a machine's kernel does not have now.
func (w *watch) missing(m *machine) []string {
	var d *conntrack.Dumper
	var err error
	m.Do(func() { d, err = conntrack.NewDumper() })
	if err != nil {
		return []string{err.Error()}
	}
	defer d.Close()
	return missing(d, w.known())
}

// seen gives what has happened since.
func (w *watch) seen(since int) []rise {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rises[since:])
}

func (w *watch) count() int { return len(w.seen(0)) }

// master is who has the address; if both do, one of them being dead, who got
// it last; -1 nobody.
func (w *watch) master() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.has[a] && w.has[b]:
		return w.rises[len(w.rises)-1].who
	case w.has[a]:
		return a
	case w.has[b]:
		return b
	}
	return -1
}

func (w *watch) wait(t *testing.T, who int) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		if m := w.master(); m != who {
			return fmt.Errorf("master is %s", letter(m))
		}
		return nil
	}, letter(who)+" to be the master")
}

func letter(who int) string {
	if who < 0 {
		return "nobody"
	}
	return string("AB"[who])
}
