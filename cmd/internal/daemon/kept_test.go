package daemon

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// TestKeptShown: states of a BSD that no kernel here can hold are shown with the
// reason, counted, and go with their delete; those beside them are taken.
func TestKeptShown(t *testing.T) {
	link := tuntest.NewLink(1500)
	n, _ := newFakeNode(t, link, "10.0.3.2")
	n.set("syncdev", "eth2")
	pf := link.Open(syncdev.Config{Dev: "eth2"}, netip.MustParseAddr("10.0.3.9"))
	defer pf.Close()
	want := map[string]string{"nat46-in": "afto", "nat64-in": "afto", "rdomain": "rdomain", "tcp-states-3": "synproxy", "route-to": ""}
	creators := map[uint32]bool{}
	for _, c := range golden.Cases(t, "openbsd6") {
		if _, ok := want[c.Name]; !ok {
			continue
		}
		for _, p := range c.Packets {
			if _, err := pf.WriteBatch([][]byte{p.Frame()}); err != nil {
				t.Fatal(err)
			}
			creators[creatorOf(p.Frame())] = true
		}
	}
	reasons := func() (got map[string]int, routes int) {
		got = map[string]int{}
		err := n.States(t.Context(), control.StateQuery{}, func(states []control.State) error {
			for i := range states {
				s := &states[i]
				got[s.Reason]++
				if s.Reason != "" && (s.Kernel || s.Origin != control.OriginPeer || !s.Key.Wire.Addr[0].IsValid() || !s.Key.Stack.Addr[1].IsValid()) {
					t.Errorf("%+v", s)
				}
				if s.Route != nil {
					routes++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got, routes
	}
	nstest.EventuallyNil(t, patience, func() error {
		got, routes := reasons()
		r := n.stats().Reasons
		kept := got["afto"] + got["rdomain"] + got["synproxy"]
		if got["afto"] < 2 || got["rdomain"] < 1 || got["synproxy"] < 1 || routes == 0 || r["routeto"] == 0 || r["kept"] != uint64(kept) {
			return fmt.Errorf("%v, %d routes, counted %v", got, routes, r)
		}
		return nil
	}, "what is kept")
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1400, nil)
	for creator := range creators {
		w.AddClr(&syncproto.Clr{CreatorID: creator})
	}
	if _, err := pf.WriteBatch([][]byte{w.End()}); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, func() bool { return n.stats().Reasons["kept"] == 0 }, "nothing kept")
}

// creatorOf is that of the first state inserted.
func creatorOf(frame []byte) uint32 {
	var r syncproto.Reader
	if r.Reset(frame) != nil {
		return 0
	}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		var w syncproto.State
		if reg.Action == syncproto.ActIns && syncproto.ParseState(reg.Message(0), reg.Format, &w) == nil {
			return w.CreatorID
		}
	}
	return 0
}
