package daemon

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// setLink takes what became of the syncdev and of the host's addresses.
func (l *loop) setLink(link syncdev.Link, local []netip.Addr) {
	was := l.link
	l.link = link
	if link.MTU != was.MTU || link.Epoch != was.Epoch {
		l.mtuCap = 0
	}
	if was.Present != link.Present || was.Up != link.Up {
		l.log.Info("syncdev", "syncdev", l.set.conf.SyncDev, "present", link.Present, "up", link.Up)
	}
	if !slices.Equal(local, l.local) {
		l.local = local
		l.configure(false)
		l.dump.looks.hint(l.now)
	} else if was.MTU != link.MTU {
		l.configure(false)
	}
	l.eng.Link(l.now, l.engineLink())
}

// engineLink is the link as the engine wants to know it.
func (l *loop) engineLink() engine.Link {
	self := l.self()
	up := l.link.Present && l.link.Up && self.IsValid() && l.sendPort() != nil
	m := l.link.MTU
	if l.mtuCap != 0 {
		m = min(m, l.mtuCap)
	}
	return engine.Link{Up: up, Self: self, MTU: m}
}

// self is our address on the syncdev, of the family of the peer.
func (l *loop) self() netip.Addr {
	if l.peerAddr().Is6() {
		return l.link.Addr6
	}
	return l.link.Addr4
}

// peerAddr is where frames go.
func (l *loop) peerAddr() netip.Addr {
	if p := l.set.conf.SyncPeer; p.IsValid() {
		return p
	}
	return syncdev.Group
}

// apply takes a new configuration.
func (l *loop) apply(s setup) {
	moved := s.port != l.set.port
	if s.hold != l.set.hold {
		l.releaseHeld()
	}
	l.set = s
	if moved {
		l.link, l.mtuCap = s.link, 0
		l.eng.Link(l.now, engine.Link{})
	}
	l.configure(s.resync)
	l.eng.Link(l.now, l.engineLink())
}

// configure hands the engine its configuration. When the filter changes the
// kernel tells all for that moment: it must not leave out what the engine would
// take.
func (l *loop) configure(resync bool) {
	was, c := l.eng.Config().Filter, l.engineConfig()
	same := reflect.DeepEqual(was, c.Filter)
	if !same {
		l.ignore(nil)
	}
	l.eng.Set(l.now, c, resync)
	if !same {
		l.ignore(&c.Filter)
	}
}

// ignore says what the kernel need not tell; the engine judges what it tells all
// the same.
func (l *loop) ignore(f *pfstate.Filter) {
	if err := l.ignored(f); err != nil {
		l.log.Warn("the kernel does not filter events", "err", err)
	}
}

func (l *loop) engineConfig() engine.Config {
	c := l.set.engineConfig()
	c.MTU = l.mtu()
	c.Timeouts = l.timeouts
	c.KnownPeers, c.Known = len(l.known), l.known
	c.KernelMax = l.kernMax
	if c.MaxStates == 0 {
		c.MaxStates = l.kernMax
	}
	if l.set.localFilter {
		c.Filter.Local = make(map[pfstate.Addr]struct{}, len(l.local))
		for _, ip := range l.local {
			a, _ := pfstate.AddrFrom(ip)
			c.Filter.Local[a] = struct{}{}
		}
	}
	return c
}

// setKernel takes limits of the kernel that may change.
func (l *loop) setKernel(t pfstate.Timeouts, most int) {
	if t != l.timeouts || most != l.kernMax {
		l.timeouts, l.kernMax = t, most
		l.configure(false)
	}
}
