package engine

import (
	"net/netip"
	"sync"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// speaker is a peer whose words the test writes.
type speaker struct {
	r       *desk
	addr    netip.Addr
	creator uint32
	epoch   uint32
	frame   uint32
	size    uint32 // of its table
	bsd     bool   // no Linux region
}

// item is one message, and what the Linux region says of it.
type item struct {
	put  func(*syncproto.Builder)
	name pfstate.ID
	tlvs []byte
}

// say sends a frame of a peer that carries all states in it.
func (p *speaker) say(items ...item) { p.frameOf(syncproto.InfoCarried, items) }

// hearsay sends a frame about states that the peer does not carry.
func (p *speaker) hearsay(items ...item) { p.frameOf(0, items) }

// sending is a frame of a bulk transfer.
func (p *speaker) sending(items ...item) { p.frameOf(syncproto.InfoSending, items) }

func (p *speaker) frameOf(flags uint8, items []item) {
	p.frame++
	p.r.e.Remote(p.r.now, p.addr, p.bytes(p.frame, flags, items))
}

// lost makes a frame that does not arrive.
func (p *speaker) lost() { p.frame++ }

func (p *speaker) bytes(no uint32, flags uint8, items []item) []byte {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 8000, nil)
	stride := syncproto.FrameInfoLen
	for _, it := range items {
		if it.put != nil {
			it.put(&w)
		}
		stride = max(stride, syncproto.Stride(len(it.tlvs)))
	}
	if p.bsd {
		return w.End()
	}
	w.AddFrameInfo(stride, &syncproto.FrameInfo{
		Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Flags: flags,
		Epoch: p.epoch, Frame: no, TableSize: p.size, CreatorID: p.creator,
	})
	for _, it := range items {
		if len(it.tlvs) > 0 {
			w.AddExtra(&syncproto.Extra{ID: it.name.ID, CreatorID: it.name.CreatorID, TLVs: it.tlvs})
		}
	}
	return w.End()
}

// scribe writes records; to make an engine for each takes its time.
var scribe = sync.OnceValue(func() *Engine {
	return New(10*second, Config{HostID: 1, Timeouts: pfstate.DefaultTimeouts(), MTU: 1500})
})

// wire is the record of a connection under a name.
func wire(name pfstate.ID, f pfstate.Flow) syncproto.State {
	const now = 10 * second
	e := scribe()
	r := e.enter(now, &f)
	defer e.tab.Free(r)
	s := e.tab.At(r)
	side := pfstate.SideIn
	if s.Direction() == pfstate.DirOut {
		side = pfstate.SideOut
	}
	var w syncproto.State
	e.tab.SetName(r, side, name)
	e.toWire(now, s, side, &w)
	return w
}

func record6(a syncproto.Action, name pfstate.ID, f pfstate.Flow) item {
	w := wire(name, f)
	return item{name: name, put: func(b *syncproto.Builder) { b.AddState(a, syncproto.Format6, &w) }}
}

func ins(name pfstate.ID, f pfstate.Flow) item { return record6(syncproto.ActIns, name, f) }

func upd(name pfstate.ID, f pfstate.Flow) item { return record6(syncproto.ActUpd, name, f) }

// askAck is the record with the flag that asks for an INS_ACK.
func askAck(name pfstate.ID, f pfstate.Flow) item {
	w := wire(name, f)
	w.StateFlags |= syncproto.FlagAck
	return item{name: name, put: func(b *syncproto.Builder) { b.AddState(syncproto.ActIns, syncproto.Format6, &w) }}
}

func updc(name pfstate.ID, f pfstate.Flow) item {
	w := wire(name, f)
	u := syncproto.UpdC{ID: name.ID, CreatorID: name.CreatorID, Src: w.Src, Dst: w.Dst, Timeout: w.Timeout}
	return item{name: name, put: func(b *syncproto.Builder) { b.AddUpdC(&u) }}
}

func withID(a syncproto.Action, name pfstate.ID) item {
	id := syncproto.ID(name)
	return item{name: name, put: func(b *syncproto.Builder) { b.AddID(a, &id) }}
}

func del(name pfstate.ID) item { return withID(syncproto.ActDelC, name) }

func insAck(name pfstate.ID) item { return withID(syncproto.ActInsAck, name) }

func ask(name pfstate.ID) item { return withID(syncproto.ActUpdReq, name) }

// kill is a delete of what ended before its time.
func kill(name pfstate.ID) item {
	it := del(name)
	it.tlvs = syncproto.AppendTLV(nil, syncproto.TLVKilled, nil)
	return it
}

func bus(status uint8) item { return busOf(hostB, status) }

func busOf(creator uint32, status uint8) item {
	return item{put: func(b *syncproto.Builder) { b.AddBus(&syncproto.Bus{CreatorID: creator, Status: status}) }}
}

func clr(creator uint32) item {
	return item{put: func(b *syncproto.Builder) { b.AddClr(&syncproto.Clr{CreatorID: creator}) }}
}

// unsure is an update of what its sender carries for want of anybody else.
func unsure(name pfstate.ID, f pfstate.Flow) item {
	it := upd(name, f)
	it.tlvs = syncproto.AppendTLV(nil, syncproto.TLVUnsure, nil)
	return it
}

// paired is a record of one name of a pair, with the other name and what its keys
// do not tell.
func paired(it item, other pfstate.ID, f pfstate.Flow) item {
	it.tlvs = syncproto.AppendPair(nil, &syncproto.Pair{Other: syncproto.ID(other), Addr: f.Reply.Dst, Port: f.Reply.DstPort})
	return it
}

// control is something for a peer.
func control(to uint32, tlvs []byte) item {
	return item{name: pfstate.ID{CreatorID: to}, tlvs: tlvs}
}

func markTLV(mark uint32) []byte { return syncproto.AppendMark(nil, mark) }

func labelTLV(bit uint8) []byte {
	var l [16]byte
	l[bit/8] |= 1 << (bit % 8)
	return syncproto.AppendLabels(nil, &l)
}

func framesAgain(epoch, first, last uint32, forgotten bool) []byte {
	return syncproto.AppendFramesAgain(nil, &syncproto.FramesAgain{
		Frames: syncproto.Frames{Epoch: epoch, First: first, Last: last}, Forgotten: forgotten,
	})
}

func wantFrames(epoch, first, last uint32) []byte {
	return syncproto.AppendWantFrames(nil, []syncproto.Frames{{Epoch: epoch, First: first, Last: last}})
}
