package engine

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
)

// TestAliasPF: a pf that did not answer while we started comes back with names
// of its own for what has ours by then, and knows only its own: when it deletes
// them the connection has ended, unless it passes here.
func TestAliasPF(t *testing.T) {
	for host, id := range map[string]uint32{"lower": hostA, "higher": 0xe000} {
		for where, expire := range map[string]uint32{"passes there": 86300, "passes here": 432000 - 1} {
			t.Run(where+", our hostid is "+host, func(t *testing.T) {
				in, out := sloppyPair(nil, pfstate.PFEstablished, 86000)
				kernel := writtenEntry(tcpFlow(pfstate.TCPEstablished, nil))
				kernel.Timeout = expire
				r := newDesk(t, func(c *Config) { c.HostID, c.KernelKept, c.DownFor, c.KnownPeers = id, true, 20*time.Second, 1 })
				r.linkUp()
				r.dump(kernel)
				r.until(r.now + 120*second)
				for range 2 {
					r.transferPF(in, out)
				}
				if n := r.e.tab.Len(); n != 1 {
					t.Fatalf("%d states for one connection", n)
				}
				r.kernel()
				r.sent()
				for _, name := range []pfstate.ID{pfstate.ID(in.StateID()), pfstate.ID(out.StateID())} {
					r.bsd.say(del(name))
				}
				want := []int{1, 0} // operations, states
				if where == "passes here" {
					want = []int{0, 1}
				}
				if ops, names := r.ops(), r.names(); len(ops) != want[0] || len(names) != want[1] {
					t.Errorf("operations %v, states %v", ops, names)
				}
			})
		}
	}
}
