package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// bsd is a BSD on the link: a table of states as pf has them, two to a forwarded
// connection, and what if_pfsync.c does with it on the wire. It has no Linux
// region, answers a request for the table at once and without marks, and tells
// what changes by UPD_C.
type bsd struct {
	t       testing.TB
	conn    *syncdev.Conn
	creator uint32
	end     chan struct{}
	writes  sync.Mutex // guards what conn sends with
	done    sync.WaitGroup

	mu      sync.Mutex
	table   map[syncproto.ID]*bsdState // guarded by mu, as all below
	made    int                        // connections so far
	deaf    int                        // requests for the table that it will not hear
	away    bool                       // hears and says nothing
	busy    bool                       // packets pass on its connections
	asked   map[syncproto.ID]int       // requests by name
	faults  []string                   // what nobody may say to it
	said    map[syncproto.ID]int       // records that came under a name of its own
	strange map[syncproto.ID]bool      // names of others that it took
}

// bsdState is one state of its table.
type bsdState struct {
	syncproto.State           // Expire is the whole timeout
	born, last      time.Time // last: packet
}

// wire is its record at this moment.
func (s *bsdState) wire() *syncproto.State {
	w := s.State
	w.Creation += uint32(time.Since(s.born).Seconds())
	w.Expire -= min(w.Expire, uint32(time.Since(s.last).Seconds()))
	return &w
}

// bsdCreator reads differently from either end.
const bsdCreator = 0x0a1b2c3d

// bsdPort is the client's port of connection 0.
const bsdPort = 20000

// bsdTick is how often a busy one tells of its connections.
const bsdTick = 20 * time.Millisecond

func newBSD(t testing.TB, ns *nstest.NS) *bsd {
	t.Helper()
	p := &bsd{t: t, creator: bsdCreator, end: make(chan struct{})}
	p.boot()
	p.conn = opened(t, ns, func() (*syncdev.Conn, error) { return syncdev.Open(syncdev.Config{Dev: nstest.SyncDev}) })
	p.done.Go(p.hear)
	p.done.Go(p.live)
	t.Cleanup(func() {
		close(p.end)
		p.conn.Close()
		p.done.Wait()
	})
	return p
}

// boot empties its table, as a restart does.
func (p *bsd) boot() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table, p.asked, p.said, p.strange = map[syncproto.ID]*bsdState{}, map[syncproto.ID]int{}, map[syncproto.ID]int{}, map[syncproto.ID]bool{}
}

// with changes it.
func (p *bsd) with(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// frame sends a frame of its own.
func (p *bsd) frame(fill func(w *syncproto.Builder)) {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	fill(&w)
	p.write(w.End())
}

func (p *bsd) write(frames ...[]byte) {
	p.writes.Lock()
	defer p.writes.Unlock()
	if _, err := p.conn.WriteBatch(frames); err != nil && !errors.Is(err, os.ErrClosed) {
		p.t.Log(err)
	}
}

// states sends records, as many in a frame as there is room.
func (p *bsd) states(a syncproto.Action, list []*syncproto.State) {
	for len(list) > 0 {
		p.frame(func(w *syncproto.Builder) {
			for len(list) > 0 && w.AddState(a, syncproto.Format6, list[0]) {
				list = list[1:]
			}
		})
	}
}

// connect makes n connections and announces them unless it is away.
func (p *bsd) connect(n int, seconds uint32) (first int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = p.made
	var list []*syncproto.State
	for range n {
		in, out := p.pair(p.made, seconds)
		p.made++
		for _, st := range []*syncproto.State{in, out} {
			p.add(st)
			list = append(list, st)
		}
	}
	if !p.away {
		p.states(syncproto.ActIns, list)
	}
	return first
}

// add enters a state.
func (p *bsd) add(st *syncproto.State) {
	p.table[syncproto.ID{ID: st.ID, CreatorID: st.CreatorID}] = &bsdState{*st, time.Now(), time.Now()}
}

// id are the names of connection i.
func (p *bsd) id(i int) [2]syncproto.ID {
	base := uint64(0x67400000)<<32 + uint64(2*i)
	return [2]syncproto.ID{{ID: base, CreatorID: p.creator}, {ID: base + 1, CreatorID: p.creator}}
}

// bsdFlow is what a kernel has of connection i: TCP and UDP by turns, every
// third translated to the firewall's address.
func bsdFlow(i int) (orig, reply pfstate.Tuple, proto uint8) {
	proto = [...]uint8{pfstate.ProtoTCP, pfstate.ProtoUDP}[i%2]
	orig = pfstate.Tuple{Src: pfstate.Addr{10, 0, 1, 200}, Dst: pfstate.Addr{10, 0, 2, 200}, SrcPort: uint16(bsdPort + i), DstPort: 7000}
	reply = orig.Inverse(proto)
	if i%3 == 0 {
		reply.Dst, reply.DstPort = pfstate.Addr{10, 0, 2, 1}, uint16(40000+i)
	}
	return orig, reply, proto
}

// pair is a forwarded connection as pf has it.
func (p *bsd) pair(i int, seconds uint32) (in, out *syncproto.State) {
	orig, reply, proto := bsdFlow(i)
	ids := p.id(i)
	in = &syncproto.State{
		ID: ids[0].ID, CreatorID: p.creator, IfName: syncproto.MakeName("all"), AF: syncproto.FamilyIPv4, Proto: proto, Direction: syncproto.DirIn,
		Creation: seconds, Expire: 86400, Timeout: pfstate.TimeoutTCPEstablished, Rule: 3, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule, RTableID: [2]int32{-1, -1},
		Src: syncproto.Peer{SeqLo: 1000, SeqHi: 66000, MaxWin: 512, WScale: 0x87, State: pfstate.PFEstablished},
		Dst: syncproto.Peer{SeqLo: 0x90000000, SeqHi: 0x90010000, MaxWin: 512, WScale: 0x87, State: pfstate.PFEstablished},
	}
	if proto == pfstate.ProtoUDP {
		in.Expire, in.Timeout = 3000, pfstate.TimeoutUDPMultiple
		in.Src, in.Dst = syncproto.Peer{State: pfstate.PFMultiple}, syncproto.Peer{State: pfstate.PFMultiple}
	}
	in.StackAF, in.StackProto = in.AF, proto
	both := *in
	out = &both
	out.ID, out.Direction = ids[1].ID, syncproto.DirOut
	wire := reply.Inverse(proto)
	put := func(k *syncproto.Key, t *pfstate.Tuple, src, dst int) {
		k.AF, k.Addr[src], k.Addr[dst] = syncproto.FamilyIPv4, t.Src, t.Dst
		k.Port[src], k.Port[dst] = t.SrcPort, t.DstPort
	}
	put(&in.Key[syncproto.KeyWire], &orig, 0, 1)
	put(&in.Key[syncproto.KeyStack], &orig, 0, 1)
	put(&out.Key[syncproto.KeyWire], &wire, 1, 0)
	put(&out.Key[syncproto.KeyStack], &orig, 1, 0)
	return in, out
}

// number is which connection a state is of.
func (s *bsdState) number() int {
	if s.Direction == syncproto.DirIn {
		return int(s.Key[syncproto.KeyStack].Port[0]) - bsdPort
	}
	return int(s.Key[syncproto.KeyStack].Port[1]) - bsdPort
}

// finish ends n connections from the first on: both states, by name alone, in
// bytes of the test's own writing. Away, it tells nobody.
func (p *bsd) finish(first, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, st := range p.table {
		if i := st.number(); i < first || i >= first+n {
			continue
		}
		delete(p.table, id)
		b := append([]byte{6, 0, 0, syncproto.HeaderLen + 4 + 12}, make([]byte, syncproto.HeaderLen-4)...)
		b = append(b, byte(syncproto.ActDelC), 12/4, 0, 1)
		b = binary.BigEndian.AppendUint64(b, id.ID)
		b = binary.BigEndian.AppendUint32(b, id.CreatorID)
		if !p.away {
			p.write(b)
		}
	}
}

// live tells of packets while it is busy.
func (p *bsd) live() {
	for tick := time.NewTicker(bsdTick); ; {
		select {
		case <-p.end:
			tick.Stop()
			return
		case <-tick.C:
		}
		p.mu.Lock()
		if p.busy && !p.away {
			p.packets()
		}
		p.mu.Unlock()
	}
}

// packets moves every TCP connection of its own on and tells so.
func (p *bsd) packets() {
	var list []*bsdState
	for id, st := range p.table {
		if id.CreatorID == p.creator && st.Proto == pfstate.ProtoTCP {
			st.last = time.Now()
			st.Src.SeqLo, st.Src.SeqHi = st.Src.SeqLo+100, st.Src.SeqHi+100
			list = append(list, st)
		}
	}
	for len(list) > 0 {
		p.frame(func(w *syncproto.Builder) {
			for len(list) > 0 {
				st := list[0]
				if !w.AddUpdC(&syncproto.UpdC{ID: st.ID, CreatorID: st.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: st.Timeout}) {
					return
				}
				list = list[1:]
			}
		})
	}
}

// hear reads frames until the end of the test.
func (p *bsd) hear() {
	packets := make([]syncdev.Packet, 16)
	for i := range packets {
		packets[i].Buf = make([]byte, syncdev.MaxPacket)
	}
	self := netip.MustParseAddr("10.0.3.3")
	for {
		n, err := p.conn.ReadBatch(packets)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				p.t.Error(err)
			}
			return
		}
		p.mu.Lock()
		for i := range packets[:n] {
			if !p.away && packets[i].Src != self {
				p.take(packets[i].Data)
			}
		}
		p.mu.Unlock()
	}
}

// take does what if_pfsync.c does with a frame.
func (p *bsd) take(frame []byte) {
	var rd syncproto.Reader
	if err := rd.Reset(frame); err != nil {
		p.fault("a frame that is none: %v", err)
		return
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := range reg.Whole() {
			p.message(&reg, reg.Message(i))
		}
	}
}

func (p *bsd) message(reg *syncproto.Region, b []byte) {
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		var st syncproto.State
		if err := syncproto.ParseState(b, reg.Format, &st); err != nil {
			p.fault("a record: %v", err)
			return
		}
		p.record(reg.Action, &st)
	case syncproto.ActUpdC:
		var u syncproto.UpdC
		if syncproto.ParseUpdC(b, &u) == nil {
			p.updated(syncproto.ID{ID: u.ID, CreatorID: u.CreatorID}, u.Src)
		}
	case syncproto.ActDelC, syncproto.ActUpdReq:
		var id syncproto.ID
		if syncproto.ParseID(b, &id) != nil {
			return
		}
		if reg.Action == syncproto.ActUpdReq {
			p.request(id)
			return
		}
		if id.CreatorID == p.creator && p.table[id] != nil {
			p.fault("DEL_C of %x, which lives", id)
		}
		delete(p.table, id)
	case syncproto.ActClr:
		p.fault("CLR")
	}
}

func (p *bsd) fault(format string, args ...any) {
	if len(p.faults) < 20 {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

// record takes INS or UPD: an insert of what it has under another name does not
// get in.
func (p *bsd) record(a syncproto.Action, st *syncproto.State) {
	id := syncproto.ID{ID: st.ID, CreatorID: st.CreatorID}
	if id.CreatorID == p.creator {
		p.said[id]++
		if have := p.table[id]; have != nil && have.Key != st.Key {
			p.fault("%v of %x is another connection", a, id)
		}
	} else {
		p.strange[id] = true
	}
	if p.table[id] != nil {
		return
	}
	for other, have := range p.table {
		if have.Key == st.Key && have.Direction == st.Direction && have.Proto == st.Proto {
			p.fault("%v of %x is %x under another name", a, id, other)
			return
		}
	}
	p.add(st)
}

// updated takes UPD_C.
func (p *bsd) updated(id syncproto.ID, src syncproto.Peer) {
	have := p.table[id]
	switch {
	case have == nil:
		p.ask(id)
	case have.Proto == pfstate.ProtoTCP && id.CreatorID == p.creator && src.SeqLo < have.Src.SeqLo:
		p.fault("UPD_C of %x goes back", id)
	default:
		p.said[id]++
	}
}

// ask sends UPD_REQ.
func (p *bsd) ask(id syncproto.ID) {
	p.frame(func(w *syncproto.Builder) { w.AddID(syncproto.ActUpdReq, &id) })
}

// request answers UPD_REQ.
func (p *bsd) request(id syncproto.ID) {
	p.asked[id]++
	if id != (syncproto.ID{}) {
		if st := p.table[id]; st != nil {
			p.states(syncproto.ActUpd, []*syncproto.State{st.wire()})
		}
		return
	}
	if p.deaf > 0 {
		p.deaf--
		return
	}
	bus := func(status uint8) {
		p.frame(func(w *syncproto.Builder) { w.AddBus(&syncproto.Bus{CreatorID: p.creator, Status: status}) })
	}
	list := make([]*syncproto.State, 0, len(p.table))
	for st := range maps.Values(p.table) {
		list = append(list, st.wire())
	}
	if len(list) > 0 { // OpenBSD begins nothing for an empty table
		bus(syncproto.BusStart)
	}
	p.states(syncproto.ActUpd, list)
	bus(syncproto.BusEnd)
}
