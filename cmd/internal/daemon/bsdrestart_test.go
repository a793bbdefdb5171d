package daemon

import (
	"context"
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// bsdBed is a firewall with a daemon of its own process, and a BSD.
type bsdBed struct {
	*bsd
	t           *testing.T
	h           *host
	proc        *nstest.Proc
	client      *control.Client
	first, last int // connections that live
}

func newBSDBed(t *testing.T) *bsdBed {
	t.Helper()
	top := nstest.NewTopology(t, nstest.Options{})
	b := &bsdBed{bsd: newBSD(t, top.FW[1]), t: t, h: newHost(t, top.FW[0])}
	b.start()
	b.client = control.NewClient(b.h.dir + "/pfsync0.sock")
	t.Cleanup(b.client.Close)
	return b
}

func (b *bsdBed) start() {
	b.t.Helper()
	b.proc = b.h.daemon()
	b.h.ctl("pfsync0", "syncdev", nstest.SyncDev)
}

// more has connections begin.
func (b *bsdBed) more(n int) {
	b.connect(n, 100)
	b.last += n
}

// fewer has the oldest end.
func (b *bsdBed) fewer(n int) {
	b.finish(b.first, n)
	b.first += n
}

// TestBSDRestart: a daemon that is killed and started again knows the states of
// a BSD by the BSD's names, lacks none, has none too many, and says nothing to
// the BSD that it should not.
func TestBSDRestart(t *testing.T) {
	t.Parallel()
	const some = 20
	b := newBSDBed(t)
	b.more(8 * some)
	b.same("at first")
	b.with(func() { b.busy = true })
	for _, step := range []struct {
		name   string
		before func() // before the daemon is killed
		killed func() // while no daemon runs
		early  func() // before the BSD has told its table
		later  func() // when all is well again
	}{
		{name: "packets pass, connections begin and end", killed: func() { b.fewer(some); b.more(some) }, later: func() { b.fewer(some) }},
		{name: "nothing passes", killed: func() { b.with(func() { b.busy = false }) }, later: func() { b.fewer(some) }},
		{name: "connections end before the table is told", killed: func() { b.with(func() { b.deaf = 1 }) }, early: func() { b.fewer(some) }, later: func() { b.more(some) }},
		{name: "the BSD had been restarted before", before: func() { b.boot(); b.ask(syncproto.ID{}) }, killed: func() { b.fewer(some) }, later: func() { b.fewer(some) }},
		{name: "the BSD is restarted", killed: b.boot, later: func() { b.fewer(some); b.more(some) }},
	} {
		if step.before != nil {
			step.before()
			b.same(step.name + ", before")
		}
		b.proc.Stop() // kill -9
		step.killed()
		b.start()
		if step.early != nil {
			step.early()
		}
		b.same(step.name)
		step.later()
		b.same(step.name + ", later")
	}
}

// same waits until the kernel has the connections that live, and no other, and
// the daemon has their names, and no other.
func (b *bsdBed) same(when string) {
	b.t.Helper()
	b.h.ctl("pfsync0", "wait", "--timeout", "60")
	nstest.EventuallyNil(b.t, patience, func() error {
		have := farFlows(b.t, b.h.NS)
		missing, stale := 0, len(have)
		for i := b.first; i < b.last; i++ {
			if orig, _, _ := bsdFlow(i); have[orig] {
				stale--
			} else {
				missing++
			}
		}
		if missing+stale > 0 {
			return fmt.Errorf("missing %d stale %d", missing, stale)
		}
		return b.sameNames()
	}, when)
	b.told(when)
	b.with(func() {
		for _, f := range b.faults {
			b.t.Errorf("%s: %s", when, f)
		}
		b.faults = nil
	})
}

// told has the daemon tell the BSD some of its own states, as it has them: both
// of a connection whichever is asked for, once.
func (b *bsdBed) told(when string) {
	b.t.Helper()
	for i := b.first; i < b.last; i += 1 + (b.last-b.first)/4 {
		ids := b.id(i)
		own := false
		b.with(func() {
			clear(b.said)
			own = b.table[ids[0]] != nil
		})
		if !own {
			continue
		}
		b.ask(ids[i%2])
		nstest.Eventually(b.t, patience, func() (both bool) {
			b.with(func() { both = b.said[ids[0]] > 0 && b.said[ids[1]] > 0 })
			return both
		}, when+": a state of the BSD's own to be told")
	}
}

// sameNames compares the names of the daemon's states with those of the BSD's.
func (b *bsdBed) sameNames() error {
	names := map[syncproto.ID]bool{}
	var err error
	b.h.Do(func() {
		err = b.client.States(context.Background(), control.StateQuery{}, func(s *control.State) error {
			names[syncproto.ID{ID: uint64(s.ID), CreatorID: uint32(s.CreatorID)}] = true
			for _, n := range s.Names {
				names[syncproto.ID{ID: uint64(n.ID), CreatorID: uint32(n.CreatorID)}] = true
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.table {
		if !names[id] {
			return fmt.Errorf("%x has no state", id)
		}
		delete(names, id)
	}
	for id := range names {
		return fmt.Errorf("%d names too many, as %x", len(names), id)
	}
	return nil
}
