package sim

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Times of a run, from its start.
const (
	warmUp  = 3 * second
	trouble = 18 * second // faults begin until then
	calm    = 20 * second // and are over by then
	hush    = 28 * second // no more packets
	settled = calm + 30*second
	listen  = 12 * second // for what is still said then
)

// scenario says all of a run.
type scenario struct {
	seed     uint64
	salt     uint64 // changes the fate of frames, and nothing else
	nodes    int
	opts     [maxNodes]nodeOpts
	timeouts pfstate.Timeouts
	wire     wire
	mixed    bool // some speak version 5, and are heard and answered as BSDs are
	pf       bool // one is in the group, so that every connection has two names
	conns    []numbered[connSpec]
	faults   []numbered[faultSpec]
	also     func(w *world) // judges too, for the tests of the shrinking
}

// numbered keeps its place in the whole list when others are taken out.
type numbered[T any] struct {
	no   int
	spec T
}

const maxNodes = 5

// nodeOpts is how a firewall is set up.
type nodeOpts struct {
	maxDelay int64
	deferOn  bool
	guesses  bool
	format   syncproto.Format
	wall     int64
}

func (sc *scenario) setUp(n *node) {
	o := &sc.opts[n.no]
	n.cfg.MaxDelay = duration(o.maxDelay)
	n.cfg.Defer, n.cfg.DeferDelay, n.guesses = o.deferOn, duration(20*milli), o.guesses
	n.format, n.wall = o.format, o.wall
}

// makeScenario makes the scenario of a seed.
func makeScenario(seed uint64) *scenario {
	rng := rand.New(rand.NewPCG(seed, 2))
	sc := &scenario{seed: seed, nodes: pick(rng, 2, 2, 2, 3, 3, 3, 4, 5), timeouts: pfstate.DefaultTimeouts()}
	if rng.IntN(3) == 0 {
		sc.timeouts.TCP = [pfstate.TCPMax]uint32{20, 20, 20, 120, 20, 20, 10, 15, 5, 20}
		sc.timeouts.UDP, sc.timeouts.UDPStream, sc.timeouts.ICMP = 12, 25, 10
	}
	deferring := rng.IntN(6) == 0
	for i := range sc.opts {
		sc.opts[i] = nodeOpts{maxDelay: pick(rng, 10*milli, 10*milli, 0), deferOn: deferring, guesses: rng.IntN(2) == 0, format: syncproto.Format6}
	}
	sc.wire = wire{loss: pick(rng, 0, 0, 0.01, 0.05, 0.2), dup: pick(rng, 0, 0.05), jitter: pick(rng, 0, 5*milli, 50*milli)}
	sc.pf = rng.IntN(5) == 0
	many := 10 + rng.IntN(30)
	if rng.IntN(25) == 0 {
		many = 200
	}
	for no := range many {
		sc.conns = append(sc.conns, numbered[connSpec]{no, makeConn(rng, many)})
	}
	slices.SortStableFunc(sc.conns, func(a, b numbered[connSpec]) int { return cmp.Compare(a.spec.at, b.spec.at) })
	for no := range rng.IntN(7) {
		sc.faults = append(sc.faults, numbered[faultSpec]{no, makeFault(rng)})
	}
	if rng.IntN(10) == 0 {
		sc.mix(rng)
	}
	return sc
}

// mix makes a group in the middle of an upgrade. Version 5 numbers no frames, so
// nothing repairs what gets lost, and nothing tells that one has overtaken
// another: there is no loss, no fault that is one, and frames come in order.
func (sc *scenario) mix(rng *rand.Rand) {
	sc.mixed, sc.pf, sc.wire.loss, sc.wire.jitter = true, false, 0, 0
	for i := range sc.opts {
		sc.opts[i].format = pick(rng, syncproto.Format6, syncproto.Format1301, syncproto.Format1400, syncproto.Format1500)
	}
	sc.opts[rng.IntN(sc.nodes)].format = pick(rng, syncproto.Format1301, syncproto.Format1400, syncproto.Format1500)
	sc.faults = slices.DeleteFunc(sc.faults, func(f numbered[faultSpec]) bool {
		return !slices.Contains([]string{"crash", "reboot", "takeover", "clock"}, faultKinds[f.spec.kind].name)
	})
}

func makeConn(rng *rand.Rand, many int) connSpec {
	c := connSpec{
		at: rng.Int64N(trouble), life: rng.Int64N(12 * second), nat: pick(rng, 0, 0, 0, 1, 1, 2, 3),
		src: 1 + rng.IntN(3), port: rng.IntN(4 + many/20), gap: pick(rng, 50*milli, second, 4*second, 15*second),
		ending: rng.IntN(endings), asym: rng.IntN(8) == 0, seed: rng.Uint64(),
	}
	c.proto = pick(rng, pfstate.ProtoTCP, pfstate.ProtoTCP, pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoUDP, pfstate.ProtoICMP)
	if c.port%3 == 2 { // a rule's doing, on whichever firewall
		c.mark = uint32(c.src)
	}
	return c
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }
