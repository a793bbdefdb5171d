package conntrack

import (
	"net"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// Call numbers: that the client wants to see in what it gets, that the server
// sees of it, and the server's.
const (
	callClient uint16 = 110
	callSeen   uint16 = 37896
	callServer uint16 = 1110
)

// calls are translated as the kernel's helper has them: with the address that of
// the client gets another number.
var calls = []struct {
	name, dialled, seenAs string
	seen                  uint16
	turned                bool // the server's packet was first
}{
	{"plain", nstest.ServerAddr, nstest.ClientAddr, callClient, false},
	{"snat", nstest.ServerAddr, nstest.OutsideAddr, callSeen, false},
	{"snat, the server first", nstest.ServerAddr, nstest.OutsideAddr, callSeen, true},
	{"dnat", public4, nstest.ClientAddr, callSeen, false},
	{"both", public4, nstest.OutsideAddr, callSeen, false},
}

// TestCallTakeover moves calls of PPTP to a firewall whose kernel has not read
// them: they go on both ways, translated as before, also after their time was
// changed, and until they are removed.
func TestCallTakeover(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{Rules: natHooks})
	top.FW[1].Nft(t, onlyEstablished)
	top.Master(1)
	inj := newInjector(t, top.FW[1])
	for _, tt := range calls {
		t.Run(tt.name, func(t *testing.T) {
			f := plainFlow(pfstate.ProtoGRE, tuple(nstest.ClientAddr, callClient, tt.dialled, callServer))
			f.Reply = tuple(nstest.ServerAddr, callServer, tt.seenAs, tt.seen)
			f.Mark, f.Has = 3, f.Has|pfstate.HasMark
			gre := newTunnel(t, top, tt.dialled, tt.seenAs, tt.seen)

			told := f
			if tt.turned {
				told = f.Reversed()
			}
			must(t, inj, pfstate.OpCreate, told, pfstate.ResultOK)
			gre.carries(t, "made")
			must(t, inj, pfstate.OpCreate, told, pfstate.ResultExists)
			if tt.turned {
				must(t, inj, pfstate.OpGet, told, pfstate.ResultReversed)
				must(t, inj, pfstate.OpUpdate, told, pfstate.ResultReversed)
				must(t, inj, pfstate.OpDelete, told, pfstate.ResultReversed)
			}
			oneCall(t, top.FW[1], inj, f)

			f.Timeout, f.Mark = 6000, 4
			must(t, inj, pfstate.OpUpdate, f, pfstate.ResultOK)
			gre.carries(t, "made anew")
			oneCall(t, top.FW[1], inj, f)

			must(t, inj, pfstate.OpDelete, f, pfstate.ResultOK)
			must(t, inj, pfstate.OpGet, forthOf(&f), pfstate.ResultMissing)
			if flows, _ := dumpAll(t, newDumper(t, top.FW[1]), Filter{}); len(flows) != 0 {
				t.Errorf("left: %+v", flows)
			}
		})
	}
	if n := top.Invalid(1); n != 0 {
		t.Errorf("%d packets were invalid", n)
	}
}

// oneCall looks the call up, and finds it once in a dump, as it was told.
func oneCall(t *testing.T, fw *nstest.NS, inj *Injector, want pfstate.Flow) {
	t.Helper()
	got := must(t, inj, pfstate.OpGet, want, pfstate.ResultOK)
	flows, _ := dumpAll(t, newDumper(t, fw), Filter{})
	if len(flows) != 1 {
		t.Fatalf("%d entries: %+v", len(flows), flows)
	}
	for _, f := range []pfstate.Flow{got, flows[0]} {
		if f.Orig != want.Orig || f.Reply != want.Reply || f.Mark != want.Mark || f.Timeout < want.Timeout/2 || f.Timeout > want.Timeout {
			t.Errorf("%+v, want %+v", f, want)
		}
	}
	if flows[0].Has&pfstate.HasCounts == 0 {
		t.Error("no counters")
	}
}

// tunnel is both ends of a call, without its control connection.
type tunnel struct {
	client, server  net.PacketConn
	dialled, seenAs net.Addr
	seen            uint16 // the client's number as the server sees it
}

func newTunnel(t *testing.T, top *nstest.Topology, dialled, seenAs string, seen uint16) *tunnel {
	t.Helper()
	return &tunnel{
		client:  top.Client.ListenPacket(t, "ip4:47", nstest.ClientAddr),
		server:  top.Server.ListenPacket(t, "ip4:47", nstest.ServerAddr),
		dialled: &net.IPAddr{IP: net.ParseIP(dialled)}, seenAs: &net.IPAddr{IP: net.ParseIP(seenAs)},
		seen: seen,
	}
}

// carries sends a word through the call, and back.
func (c *tunnel) carries(t *testing.T, word string) {
	t.Helper()
	nstest.PassCall(t, c.client, c.dialled, callServer, c.server, c.seenAs, callServer, word, patience/4)
	nstest.PassCall(t, c.server, c.seenAs, c.seen, c.client, c.dialled, callClient, word, patience/4)
}
