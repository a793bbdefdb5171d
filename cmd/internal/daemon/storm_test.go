package daemon

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
)

const (
	stormMax    = 2000  // states of peers
	stormFrames = 60000 // at most
	stormSource = "10.0.3.77"
)

// forged is frame i of a storm: mostly inserts, each of another connection,
// now and then a clear of us, a request of the table, deletes.
func forged(i int, host uint32) []byte {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	switch i % 16 {
	case 13:
		w.AddClr(&syncproto.Clr{CreatorID: host})
	case 14:
		w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
	case 15:
		for k := range 100 {
			w.AddID(syncproto.ActDelC, &syncproto.ID{ID: uint64(i + k), CreatorID: host})
		}
	default:
		for k := range 5 {
			st := forgedState(i*5 + k)
			w.AddState(syncproto.ActIns, syncproto.Format6, &st)
		}
	}
	return w.End()
}

func forgedState(n int) syncproto.State {
	st := syncproto.State{
		ID: uint64(n), CreatorID: 0x66, IfName: syncproto.MakeName("all"), AF: syncproto.FamilyIPv4, Proto: 6, Direction: syncproto.DirIn,
		Timeout: 2, Expire: 86400, Rule: syncproto.NoRule, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule,
		Src: syncproto.Peer{State: 4}, Dst: syncproto.Peer{State: 4}, StateFlags: syncproto.FlagSloppy,
	}
	for i := range st.Key {
		st.Key[i] = syncproto.Key{Addr: [2][16]byte{{172, 16, byte(n >> 16), byte(n >> 8)}, {198, 51, 100, 1}}, Port: [2]uint16{uint16(n), 80}, AF: syncproto.FamilyIPv4}
	}
	return st
}

// TestStorm: a third machine on the link forges inserts, clears, deletes and
// requests as fast as it can send. New connections go on to be told to the
// peer, those from before stay, and what was refused is counted.
func TestStorm(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	n.set("maxstates", "2000")
	before := p.tcpUDP(t)
	p.FW[1].Addr(t, nstest.SyncDev, stormSource+"/24")
	p.FW[1].Run(t, "ip", "route", "add", p.SyncAddr(0)+"/32", "dev", nstest.SyncDev, "src", stormSource)
	from := newRawSender(t, p.FW[1], nstest.SyncDev, 255)
	stop, done := make(chan struct{}), make(chan int)
	host := uint32(n.status().HostID)
	to := &net.IPAddr{IP: net.ParseIP(p.SyncAddr(0))}
	go func() {
		sent := 0
		defer func() { done <- sent }()
		for ; sent < stormFrames; sent++ {
			select {
			case <-stop:
				return
			default:
				// What does not fit the queue is no loss to anybody.
				_, _ = from.conn.WriteTo(forged(sent, host), to)
			}
		}
	}()
	heard := func() bool {
		for _, q := range n.status().Peers {
			if q.Addr == netip.MustParseAddr(stormSource) && q.Frames > 2000 {
				return true
			}
		}
		return false
	}
	nstest.Eventually(t, patience, heard, "the storm to be heard")
	for range 2 {
		for _, f := range p.tcpUDP(t) {
			waitFlow(t, p.FW[1], true, f.family, f.words...)
		}
	}
	close(stop)
	t.Logf("%d frames", <-done)
	for _, f := range before {
		waitFlow(t, p.FW[0], true, f.family, f.words...)
	}
	// Whose states they are is counted now and then.
	nstest.Eventually(t, patience, func() bool {
		st := n.status().States
		return st.Local >= 12 && st.Total <= stormMax+st.Local+64
	}, "states of ours, and not too many others")
	reasons := n.stats().Reasons
	for _, r := range []string{"maxstates", "ratebulk", "rateclr"} {
		if reasons[r] == 0 {
			t.Errorf("%s is not counted", r)
		}
	}
}
