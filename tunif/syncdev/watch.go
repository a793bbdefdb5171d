package syncdev

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Status is what a Watcher sees. Receivers may keep it; it is never changed.
type Status struct {
	Links []Link       // of the watched names, in the order of NewWatcher
	Local []netip.Addr // every address of this host, loopback too, without zone, sorted
}

// watchBuf is the receive buffer for events, in bytes. An overrun loses
// nothing but time: everything is then read anew.
const watchBuf = 1 << 20

// Watcher follows interfaces by name, and the addresses of the host.
type Watcher struct {
	devs   []string
	events *netlink.Conn // member of the groups, only received from
	query  *netlink.Conn
	closed atomic.Bool // by Close

	// Of the goroutine of Run:
	links  []Link
	addrs  []ifAddr
	epochs []int  // of links, counted on while a link is absent
	last   Status // as last reported
}

// NewWatcher subscribes, in the network namespace of the calling thread, to the
// changes of the interfaces with the given names, present or not.
func NewWatcher(devs ...string) (*Watcher, error) {
	w := &Watcher{devs: devs, links: make([]Link, len(devs)), epochs: make([]int, len(devs))}
	var err error
	w.events, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	})
	if err != nil {
		return nil, w.opError(err)
	}
	if w.query, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		w.events.Close()
		return nil, w.opError(err)
	}
	if err := w.events.SetReadBuffer(watchBuf); err != nil {
		w.Close()
		return nil, w.opError(err)
	}
	return w, nil
}

// Run calls report once with what is, and then after every change of it, from
// its own goroutine. An interface that was replaced by another of its name is
// first reported absent. Run returns nil when ctx is done or the Watcher
// closed.
func (w *Watcher) Run(ctx context.Context, report func(Status)) error {
	defer context.AfterFunc(ctx, func() { w.events.SetReadDeadline(time.Unix(1, 0)) })()
	if err := w.reread(); err != nil {
		return w.ended(ctx, err)
	}
	w.last = w.status()
	report(w.last)
	for {
		msgs, err := w.events.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			err = w.overrun(report)
		} else if err == nil {
			err = w.handle(msgs, report)
		}
		if err != nil {
			return w.ended(ctx, err)
		}
	}
}

// tell reports what is now if it is not what was last reported.
func (w *Watcher) tell(report func(Status)) {
	if now := w.status(); !now.equal(w.last) {
		w.last = now
		report(now)
	}
}

// Close ends Run.
func (w *Watcher) Close() error {
	w.closed.Store(true)
	return errors.Join(w.events.Close(), w.query.Close())
}

// ended says what an error of the loop means.
func (w *Watcher) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || w.closed.Load() {
		return nil
	}
	return w.opError(err)
}

func (w *Watcher) opError(err error) error {
	dev := "interfaces"
	if len(w.devs) > 0 {
		dev = w.devs[0]
	}
	return &OpError{Op: "watch", Dev: dev, Err: err}
}

// handle takes the events of one read. What concerns a watched interface makes
// it read everything again, so that the order of its addresses is the kernel's;
// an address elsewhere is noted, for there may be many and often.
func (w *Watcher) handle(msgs []netlink.Message, report func(Status)) error {
	reread, changed := false, false
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWLINK:
			l, ok := parseLink(m.Data)
			reread = reread || ok && w.concerns(l)
		case unix.RTM_DELLINK:
			if l, ok := parseLink(m.Data); ok && w.vanished(l.Index) {
				reread = true
				w.tell(report)
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if a, ok := parseAddr(m.Data); ok {
				reread = reread || w.watched(a.index)
				w.note(a, m.Header.Type == unix.RTM_NEWADDR)
				changed = true
			}
		}
	}
	if reread {
		if err := w.reread(); err != nil {
			return err
		}
	}
	if reread || changed {
		w.tell(report)
	}
	return nil
}

// overrun reads everything again after events were lost. Interfaces may have
// gone and come back meanwhile.
func (w *Watcher) overrun(report func(Status)) error {
	for i := range w.epochs {
		w.epochs[i]++
	}
	if err := w.reread(); err != nil {
		return err
	}
	w.tell(report)
	return nil
}

// concerns tells whether an interface is, was or may be a watched one: while
// one is absent every new interface may be it, for it may have it as
// alternative name.
func (w *Watcher) concerns(l linkMsg) bool {
	absent := slices.ContainsFunc(w.links, func(l Link) bool { return !l.Present })
	return absent || w.watched(l.Index) || slices.Contains(w.devs, l.name)
}

func (w *Watcher) watched(index int) bool {
	return slices.ContainsFunc(w.links, func(l Link) bool { return l.Present && l.Index == index })
}

// vanished makes a watched interface absent.
func (w *Watcher) vanished(index int) bool {
	found := false
	for i := range w.links {
		if w.links[i].Present && w.links[i].Index == index {
			w.links[i] = Link{}
			w.epochs[i]++
			found = true
		}
	}
	return found
}

// note adds or removes an address. Its rank may have changed, which is of no
// interest here.
func (w *Watcher) note(a ifAddr, add bool) {
	w.addrs = slices.DeleteFunc(w.addrs, func(b ifAddr) bool { return b.index == a.index && b.addr == a.addr })
	if add {
		w.addrs = append(w.addrs, a)
	}
}

// reread reads everything. An absent Link has index 0.
func (w *Watcher) reread() error {
	links, addrs, err := readAll(w.query, w.devs)
	if err != nil {
		return err
	}
	for i := range links {
		l, old := &links[i], &w.links[i]
		if old.Present && l.Index != old.Index {
			w.epochs[i]++
		}
		if l.Present {
			l.Epoch = w.epochs[i]
		}
	}
	w.links, w.addrs = links, addrs
	return nil
}

// status copies what is known now.
func (w *Watcher) status() Status {
	local := make([]netip.Addr, len(w.addrs))
	for i, a := range w.addrs {
		local[i] = a.addr
	}
	slices.SortFunc(local, netip.Addr.Compare)
	return Status{Links: slices.Clone(w.links), Local: slices.Compact(local)}
}

func (s Status) equal(t Status) bool {
	return slices.Equal(s.Links, t.Links) && slices.Equal(s.Local, t.Local)
}
