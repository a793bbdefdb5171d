package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/netip"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// walkStep is how many table slots one turn of the loop gives to a client.
const walkStep = 512

// States implements control.Backend: the loop walks the table in steps and does
// other things between two. After it come the states of BSDs that no kernel here
// can hold.
func (d *Daemon) States(ctx context.Context, _ control.StateQuery, emit func([]control.State) error) error {
	next, place := pfstate.Ref(1), 0
	err := d.walkAll(ctx, emit, func(dst []control.State) ([]control.State, bool) {
		next, dst = d.loop.walk(next, dst)
		return dst, next != 0
	})
	if err != nil {
		return err
	}
	return d.walkAll(ctx, emit, func(dst []control.State) ([]control.State, bool) {
		place, dst = d.loop.walkKept(place, dst)
		return dst, place != 0
	})
}

// walkAll emits what step appends, turn of the loop by turn, while there is more.
func (d *Daemon) walkAll(ctx context.Context, emit func([]control.State) error, step func([]control.State) ([]control.State, bool)) error {
	buf := make([]control.State, 0, walkStep)
	for more := true; more; {
		err := d.loop.do(ctx, func() { buf, more = step(buf[:0]) })
		if err == nil && len(buf) > 0 {
			err = emit(buf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk appends the states of one step and returns where the next begins, 0 at
// the end.
func (l *loop) walk(from pfstate.Ref, dst []control.State) (pfstate.Ref, []control.State) {
	tab := l.eng.Table()
	end := min(from+walkStep, tab.End())
	for r := from; r < end; r++ {
		if tab.InUse(r) && !tab.At(r).Has(pfstate.FlagDead) {
			dst = append(dst, l.state(r))
		}
	}
	if end >= tab.End() {
		return 0, dst
	}
	return end, dst
}

// walkKept is walk for the states beside the table.
func (l *loop) walkKept(place int, dst []control.State) (int, []control.State) {
	var k engine.Kept
	for range walkStep {
		if place = l.eng.Kept(l.now, place, &k); place == 0 {
			break
		}
		v := fromRecord(&k.State)
		v.Origin, v.Reason = control.OriginPeer, k.Why.String()
		if from := l.maker(k.State.CreatorID); from.IsValid() {
			v.From = from.String()
		}
		v.Route = routeOf(k.State.Rt, k.State.RtAddr, k.State.RtIfName, k.State.Key[syncproto.KeyWire].AF)
		dst = append(dst, v)
	}
	return place, dst
}

// routeNames are pf.conf(5)'s words for OpenBSD's numbers; FreeBSD up to 13 does
// not tell which it is.
var routeNames = [...]string{"route", "route-to", "dup-to", "reply-to", "fastroute"}

// routeOf is nil if there is none. af is OpenBSD's number.
func routeOf(rt uint8, addr [16]byte, ifname syncproto.Name, af uint8) *control.Route {
	if rt == 0 && addr == [16]byte{} || int(rt) >= len(routeNames) {
		return nil
	}
	r := &control.Route{Kind: routeNames[rt], IfName: ifname.String()}
	switch {
	case addr == [16]byte{}:
	case af == syncproto.FamilyIPv4:
		r.Addr = netip.AddrFrom4([4]byte(addr[:4])).String()
	default:
		r.Addr = netip.AddrFrom16(addr).String()
	}
	return r
}

// state makes a state to be shown.
func (l *loop) state(r pfstate.Ref) control.State {
	var w syncproto.State
	l.eng.Record(l.now, r, &w)
	v := fromRecord(&w)
	s := l.eng.Table().At(r)
	v.Origin = control.OriginPeer
	if creator := s.MainName().CreatorID; creator == l.set.hostID || creator == 0 {
		v.Origin = control.OriginLocal
	} else if from := l.maker(creator); from.IsValid() {
		v.From = from.String()
	}
	v.Names = furtherNames(s)
	v.Carried, v.Kernel = s.Has(pfstate.FlagCarried), s.Has(pfstate.FlagInKernel)
	v.Mark, v.Zone, v.Status = s.Mark, s.Zone[0], s.Status
	v.CTState = stateName(s.Proto, s.ProtoState)
	switch s.Proto {
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		v.ICMP = &control.ICMP{Type: uint8(s.Orig.DstPort >> 8), Code: uint8(s.Orig.DstPort)}
	case pfstate.ProtoGRE:
		v.GRE = &control.GRE{Orig: [2]uint16{s.Orig.SrcPort, s.Orig.DstPort}, Reply: [2]uint16{s.Reply.SrcPort, s.Reply.DstPort}}
	}
	if x := l.eng.Table().Extra(s); x != nil {
		addExtra(&v, x)
		f := &x.Foreign[s.MainSide()]
		v.Route = routeOf(f.Rt, f.RtAddr, f.RtIfName, v.AF)
	}
	return v
}

// maker is the address of the peer with that creatorid.
func (l *loop) maker(creator uint32) netip.Addr {
	for _, p := range l.eng.Peers(l.peerBuf[:0]) {
		if p.CreatorID == creator {
			return p.Addr
		}
	}
	return netip.Addr{}
}

func addExtra(v *control.State, x *pfstate.Extra) {
	if x.Has&pfstate.HasHelper != 0 {
		name, _, _ := bytes.Cut(x.Helper[:], []byte{0})
		v.Helper = string(name)
	}
	if x.Has&pfstate.HasLabels != 0 {
		v.Labels = hex.EncodeToString(x.Labels[:])
	}
}

// furtherNames are those beside the main one.
func furtherNames(s *pfstate.State) []control.Name {
	var names []control.Name
	kinds := [...]struct {
		kind string
		dir  uint8
	}{pfstate.SideIn: {"pair", control.DirIn}, pfstate.SideOut: {"pair", control.DirOut}, pfstate.SideAlias: {"alias", 0}}
	for side, k := range kinds {
		n := s.Name(pfstate.Side(side))
		if n.IsZero() || n == s.MainName() {
			continue
		}
		names = append(names, control.Name{Kind: k.kind, Direction: k.dir, ID: control.HexID64(n.ID), CreatorID: control.HexID(n.CreatorID)})
	}
	return names
}

// fromRecord shows a version 6 record.
func fromRecord(w *syncproto.State) control.State {
	return control.State{
		ID: control.HexID64(w.ID), CreatorID: control.HexID(w.CreatorID), IfName: w.IfName.String(),
		Key: control.Keys{Wire: fromKey(&w.Key[syncproto.KeyWire]), Stack: fromKey(&w.Key[syncproto.KeyStack])},
		Src: fromPeer(&w.Src), Dst: fromPeer(&w.Dst),
		Rule: int64(w.Rule), Anchor: int64(w.Anchor), NATRule: int64(w.NATRule),
		Creation: w.Creation, Expire: w.Expire, Packets: w.Packets, Bytes: w.Bytes,
		Direction: w.Direction, Timeout: w.Timeout, SyncFlags: w.SyncFlags, StateFlags: w.StateFlags,
		RTableID: w.RTableID, MaxMSS: w.MaxMSS, AF: w.AF, Proto: w.Proto,
	}
}

func fromKey(k *syncproto.Key) control.Key {
	v := control.Key{Port: k.Port, RDomain: k.RDomain, AF: k.AF}
	for i, a := range k.Addr {
		if k.AF == syncproto.FamilyIPv4 {
			v.Addr[i] = netip.AddrFrom4([4]byte(a[:4]))
		} else {
			v.Addr[i] = netip.AddrFrom16(a)
		}
	}
	return v
}

func fromPeer(p *syncproto.Peer) control.StatePeer {
	return control.StatePeer{SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, MaxWin: p.MaxWin, MSS: p.MSS, State: p.State, WScale: p.WScale}
}

// Names of conntrack states as conntrack -L prints them
// (nf_conntrack_proto_{tcp,sctp,dccp}.c).
var (
	tcpNames  = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	sctpNames = []string{"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT",
		"HEARTBEAT_SENT", "HEARTBEAT_ACKED"}
	dccpNames = []string{"NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE", "INVALID"}
)

// stateName is "" for protocols without states, and for DCCP without one, which
// a kernel without that tracker has.
func stateName(proto, state uint8) string {
	if proto == pfstate.ProtoDCCP && state == 0 {
		return ""
	}
	names := map[uint8][]string{pfstate.ProtoTCP: tcpNames, pfstate.ProtoSCTP: sctpNames, pfstate.ProtoDCCP: dccpNames}[proto]
	if int(state) < len(names) {
		return names[state]
	}
	return ""
}
