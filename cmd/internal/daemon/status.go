package daemon

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// Status implements control.Backend.
func (d *Daemon) Status(ctx context.Context) (control.Status, error) {
	count, err := d.counts(ctx)
	if err != nil {
		return control.Status{}, err
	}
	st := control.Status{
		Name: d.name, Groups: control.Groups(),
		Daemon: control.Daemon{PID: os.Getpid(), Version: control.Release, Started: d.started, NetNS: d.netns},
	}
	l := d.loop
	err = l.do(ctx, func() {
		st.Config = l.set.conf.Clone()
		st.Up, st.Running = st.Config.Up, l.link.Present && l.link.Up
		st.MTU = effectiveMTU(l.set.conf, l.link)
		st.HostID = control.HexID(l.set.hostID)
		st.Demotion = l.demotion
		st.Sync = l.sync
		st.Peers = l.tellPeers(count.by)
		st.States = control.Counts{
			Total: l.eng.Table().Len(), Local: count.by[l.set.hostID],
			Carried: l.eng.Status(l.now).Carried, Max: l.kernMax,
		}
	})
	st.States.Peer = max(0, st.States.Total-st.States.Local)
	if n, err := d.host.Count(); err == nil {
		st.States.Kernel = int(n)
	}
	return st, err
}

// Peers implements control.Backend.
func (d *Daemon) Peers(ctx context.Context) (peers []control.Peer, err error) {
	count, err := d.counts(ctx)
	if err != nil {
		return nil, err
	}
	err = d.loop.do(ctx, func() { peers = d.loop.tellPeers(count.by) })
	return peers, err
}

// tellPeers shows the peers the engine knows.
func (l *loop) tellPeers(made map[uint32]int) []control.Peer {
	peers := []control.Peer{}
	st := l.eng.Status(l.now)
	serve := st.Serve
	for _, p := range l.eng.Peers(nil) {
		v := control.Peer{
			Addr: p.Addr, Version: int(p.Version), Linux: p.Linux, Alive: p.Living(l.now),
			Heard: time.Duration(l.now - p.Last).Seconds(), FirstHeard: l.wall().Add(-time.Duration(l.now - p.First)),
			Table: -1, Demotion: -1, CreatorIDs: []control.HexID{}, Frames: p.Frames, Lost: p.Lost,
			Mismatch: p.Version != l.eng.Config().Format.Version() || p.Spoken && p.Format != l.eng.Config().Format,
		}
		if p.Version == 5 {
			v.Format = wordVersion(&p)
		}
		if p.CreatorID != 0 {
			v.CreatorIDs = append(v.CreatorIDs, control.HexID(p.CreatorID))
			v.States = made[p.CreatorID]
		}
		if slices.Contains(serve.To[:], p.Addr) {
			v.Bulk = control.PeerBulk{Sending: serve.Sending, Sent: serve.Sent, Total: serve.Total}
		}
		if st.Sync == engine.SyncBulk && st.From == p.Addr {
			v.Bulk.Receiving, v.Bulk.Percent = true, st.Percent
		}
		if p.Linux {
			v.Table, v.Demotion, v.InSync = int(p.States), int(p.Demotion), p.InSync
		}
		peers = append(peers, v)
	}
	return peers
}

// wordVersion is the format of a version 5 peer as the word version calls it, 0
// if it has sent no state yet.
func wordVersion(p *engine.Peer) int {
	for word, f := range formats {
		if f == p.Format && word != 6 && p.Spoken {
			return word
		}
	}
	return 0
}

// noteSync keeps when the state of synchronisation last changed.
func (l *loop) noteSync(st *engine.Status) {
	state, addr := syncState(st)
	if state != l.sync.State || addr != l.sync.Addr {
		l.sync.State, l.sync.Addr, l.sync.Since = state, addr, l.wall()
	}
	l.sync.Percent, l.sync.Tries, l.sync.Reason = st.Percent, st.Tries, ""
	if st.Lasting > 0 && state == control.SyncDiverged {
		l.sync.Reason = strconv.Itoa(st.Lasting) + " states differ and cannot be put right"
	}
	if st.Sync == engine.SyncSent {
		l.sync.Percent = 0
	}
}

// syncState is the engine's state as status calls it.
func syncState(st *engine.Status) (control.SyncState, netip.Addr) {
	switch {
	case st.Clash.IsValid():
		return control.SyncClash, st.Clash
	case st.LinkDown:
		return control.SyncLinkDown, netip.Addr{}
	}
	switch st.Sync {
	case engine.SyncStart, engine.SyncSent, engine.SyncBulk:
		return control.SyncBulk, st.From
	case engine.SyncFailed:
		return control.SyncFailed, netip.Addr{}
	case engine.SyncOK:
		if st.Diverged {
			return control.SyncDiverged, netip.Addr{}
		}
		return control.SyncOK, netip.Addr{}
	}
	return control.SyncAlone, netip.Addr{}
}

// census is how many states each creator made, as last counted.
type census struct {
	at   time.Time
	took time.Duration
	by   map[uint32]int
}

// A count of a large table is not made for every question.
const (
	censusStep  = 1 << 14 // table slots in one turn of the loop
	censusEvery = 500 * time.Millisecond
	censusShare = 20 // not oftener than so many times its cost
)

// counts returns the census, counted anew if it is old.
func (d *Daemon) counts(ctx context.Context) (census, error) {
	d.censusMu.Lock()
	defer d.censusMu.Unlock()
	c := &d.census
	if age := time.Since(c.at); c.by != nil && age < max(censusEvery, c.took*censusShare) {
		return *c, nil
	}
	start, by := time.Now(), map[uint32]int{}
	for next := pfstate.Ref(1); next != 0; {
		if err := d.loop.do(ctx, func() { next = d.loop.countStep(next, by) }); err != nil {
			return census{}, err
		}
	}
	*c = census{at: time.Now(), took: time.Since(start), by: by}
	return *c, nil
}

func (l *loop) countStep(from pfstate.Ref, by map[uint32]int) pfstate.Ref {
	tab := l.eng.Table()
	end := min(from+censusStep, tab.End())
	for r := from; r < end; r++ {
		if tab.InUse(r) {
			by[tab.At(r).MainName().CreatorID]++
		}
	}
	if end >= tab.End() {
		return 0
	}
	return end
}
