package conntrack

import (
	"os"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// DefaultRcvBuf is the event buffer asked for when nothing else is said. The
// kernel doubles it and charges about 1.3 KB an event: 25 000 events.
const DefaultRcvBuf = 16 << 20

// Overruns double the buffer up to this many times its first size.
const maxRcvBufGrowth = 16

// An event is one datagram of 150 to 600 bytes.
const (
	eventBatch = 64
	eventSize  = 4096
)

// eventGroups are the multicast groups of entries made, changed and gone.
const eventGroups = 1<<(unix.NFNLGRP_CONNTRACK_NEW-1) |
	1<<(unix.NFNLGRP_CONNTRACK_UPDATE-1) |
	1<<(unix.NFNLGRP_CONNTRACK_DESTROY-1)

// ListenConfig is what a Listener needs to know.
type ListenConfig struct {
	Own    []uint32                      // port ids of the sockets whose doings are not news; at most 200
	RcvBuf int                           // bytes; 0 is DefaultRcvBuf
	Warn   func(msg string, args ...any) // told once if the buffer cannot be had; may be nil
}

// ListenStats counts what a Listener met.
type ListenStats struct {
	Events    uint64 // handed out
	Overruns  uint64 // ENOBUFS
	Malformed uint64 // could not be decoded
	Foreign   uint64 // not from the kernel
	Skipped   uint64 // never synchronised, or of our own making, let through by the kernel
	RcvBuf    int    // bytes, as the kernel counts
}

// Listener hears the events of one network namespace.
type Listener struct {
	file   *os.File
	raw    syscall.RawConn
	recv   *receiver
	own    []uint32
	closed atomic.Bool

	// Of the call under way: readFn is made once so that Read allocates nothing.
	readFn  func(fd uintptr) bool
	limit   int
	n       int
	readErr error
	lossy   bool // since an overrun the buffer has not been empty: nothing arrives

	first                                       int // the receive buffer we began with
	rcvBuf                                      int
	events, overruns, malformed, foreign, skips atomic.Uint64
	size                                        atomic.Int64
}

// Listen opens the event socket in the calling thread's network namespace and
// subscribes to new, changed and destroyed entries. What the sockets cfg.Own
// caused, and protocols 240 and 112, are dropped by the kernel.
func Listen(cfg ListenConfig) (*Listener, error) {
	if cfg.RcvBuf == 0 {
		cfg.RcvBuf = DefaultRcvBuf
	}
	l := &Listener{own: cfg.Own, recv: newReceiver(eventBatch, eventSize), first: cfg.RcvBuf, rcvBuf: cfg.RcvBuf}
	s, err := openSocket(unix.SOCK_NONBLOCK, eventGroups, func(fd int) error {
		got, forced := forceRcvBuf(fd, cfg.RcvBuf)
		l.size.Store(int64(got))
		if !forced && got < cfg.RcvBuf && cfg.Warn != nil {
			cfg.Warn("event buffer is small, events will be lost: set net.core.rmem_max", "rmem_max", cfg.RcvBuf, "bytes", got)
		}
		return ignore(fd, cfg.Own, nil)
	})
	if err != nil {
		return nil, err
	}
	l.file = s.pollable()
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, opError("poll netlink socket", err)
	}
	l.readFn = l.receive
	return l, nil
}

// Read waits for events and fills evs with those that are there, at least one.
// If the kernel lost some, an EventOverrun stands where they are missing. It is
// Partial, and another one that is not follows: from the overrun on the kernel
// drops all that happens until the buffer has been emptied, and says nothing more
// of it (af_netlink.c, NETLINK_S_CONGESTED). After Close the error is
// os.ErrClosed; no other error is to be expected.
func (l *Listener) Read(evs []pfstate.Event) (int, error) {
	for n := 0; ; {
		l.limit = min(len(evs), eventBatch)
		err := l.raw.Read(l.readFn)
		switch {
		case l.closed.Load():
			return 0, os.ErrClosed
		case err != nil:
			return 0, opError("poll netlink socket", err)
		case l.readErr == unix.ENOBUFS:
			return l.overrun(evs), nil
		case l.readErr != nil:
			return 0, opError("read events", l.readErr)
		}
		for i := range l.n {
			n += l.decode(i, &evs[n])
		}
		l.events.Add(uint64(n))
		if l.lossy && l.n < l.limit {
			l.lossy = false
			evs[n] = pfstate.Event{Kind: pfstate.EventOverrun}
			n++
		}
		if n > 0 {
			return n, nil
		}
	}
}

// Ignore lets the kernel drop what f matches, as far as it can judge (see
// bpfnosync.go): such events take no room and are not counted. What gets through
// is still to be judged by f. nil takes it back. It may be called from any
// goroutine; after an error, for want of memory, the kernel drops nothing, and only
// protocols 240 and 112 and what own sockets caused are left out here.
func (l *Listener) Ignore(f *pfstate.Filter) (err error) {
	if cerr := l.raw.Control(func(fd uintptr) { err = ignore(int(fd), l.own, f) }); cerr != nil {
		return opError("attach filter", cerr)
	}
	return err
}

// receive is called by the poller when there may be something to read; false
// waits on.
func (l *Listener) receive(fd uintptr) bool {
	l.n, l.readErr = l.recv.recv(int(fd), l.limit, unix.MSG_DONTWAIT)
	if l.lossy && l.readErr == unix.EAGAIN {
		l.n, l.readErr = 0, nil
	}
	return l.readErr != unix.EAGAIN
}

// decode turns the i-th datagram into an event; 0 if it holds none.
func (l *Listener) decode(i int, ev *pfstate.Event) int {
	b, whole, kernel := l.recv.datagram(i)
	if !kernel {
		l.foreign.Add(1)
		return 0
	}
	h, body, _, err := nextMessage(b)
	kind := h.eventKind()
	if err == nil && whole && kind != 0 {
		err = ParseFlow(body, &ev.Flow)
	}
	if err != nil || !whole || kind == 0 {
		l.malformed.Add(1)
		return 0
	}
	if skipped(ev.Flow.Proto) || isForth(&ev.Flow) || slices.Contains(l.own, h.portid) { // the last from before the program was there
		l.skips.Add(1)
		return 0
	}
	ev.Kind, ev.Partial, ev.Asked = kind, false, h.portid != 0
	return 1
}

func skipped(proto uint8) bool {
	for _, p := range skipProtocols {
		if p == proto {
			return true
		}
	}
	return false
}

// overrun reports lost events and gives those to come more room.
func (l *Listener) overrun(evs []pfstate.Event) int {
	l.overruns.Add(1)
	if l.rcvBuf < l.first*maxRcvBufGrowth {
		l.rcvBuf *= 2
		l.raw.Control(func(fd uintptr) {
			got, _ := forceRcvBuf(int(fd), l.rcvBuf)
			l.size.Store(int64(got))
		})
	}
	l.lossy = true
	evs[0] = pfstate.Event{Kind: pfstate.EventOverrun, Partial: true}
	return 1
}

// Stats may be called from any goroutine.
func (l *Listener) Stats() ListenStats {
	return ListenStats{
		Events: l.events.Load(), Overruns: l.overruns.Load(),
		Malformed: l.malformed.Load(), Foreign: l.foreign.Load(), Skipped: l.skips.Load(),
		RcvBuf: int(l.size.Load()),
	}
}

// Close ends a Read that waits. It may be called from any goroutine, more than
// once.
func (l *Listener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return opError("close", l.file.Close())
}
