package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// ifAll is the interface name of a state that is bound to none.
var ifAll = syncproto.MakeName("all")

// toWire writes the record of a state under its name of a side
// (pf_state_export).
func (e *Engine) toWire(now int64, s *pfstate.State, side pfstate.Side, w *syncproto.State) {
	id := s.Name(side)
	*w = syncproto.State{
		ID: id.ID, CreatorID: id.CreatorID, IfName: ifAll,
		Src: peerToWire(s, &s.Src), Dst: peerToWire(s, &s.Dst),
		Rule: syncproto.NoRule, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule,
		Creation: seconds(now - s.Created), Expire: seconds(s.Expire - now),
		AF: e.wireFamily(s.AF), Proto: s.Proto, Direction: syncproto.DirIn, Timeout: s.Timeout,
		RTableID: [2]int32{-1, -1},
	}
	if side == pfstate.SideOut {
		w.Direction = syncproto.DirOut
	}
	w.StackAF, w.StackProto = w.AF, w.Proto
	if s.Proto == pfstate.ProtoTCP && !e.strictSide(s, side) {
		w.StateFlags = syncproto.FlagSloppy // Linux has no sequence numbers to tell (linux-facts 9)
	}
	e.keysToWire(s, w)
	if f := e.foreign(s, side); f != nil {
		foreignToWire(e.cfg.Format, f, w)
		if e.cfg.Format == syncproto.Format1301 && !f.Halves {
			w.RtAddr = [16]byte{} // FreeBSD 14 leaves out a state whose route the format cannot tell (pfsync-protocol.md section 10, 7)
		}
	}
	if f := e.words(s, side); f != nil && e.toPF(now) {
		w.Src, w.Dst, w.Timeout, w.Expire = peerToWire(s, &f.Src), peerToWire(s, &f.Dst), f.Timeout, seconds(f.Expire-now)
	}
	w.Src.SeqDiff, w.Dst.SeqDiff = e.seqDiff(s, side, 0), e.seqDiff(s, side, 1)
	w.Timeout = e.timeoutIndex(s, w.Timeout)
}

// countsToWire adds what has passed of the connection.
func (e *Engine) countsToWire(r pfstate.Ref, w *syncproto.State) {
	c := e.tab.Counts(r)
	w.Packets, w.Bytes = c.Packets, c.Bytes
}

// timeoutIndex is an index that the format knows: FreeBSD has some of its own.
func (e *Engine) timeoutIndex(s *pfstate.State, i uint8) uint8 {
	if i < e.cfg.Format.TimeoutLimit() {
		return i
	}
	return pfstate.TimeoutIndex(s.Proto, s.Src.State, s.Dst.State)
}

// seconds is a duration in whole seconds, rounded, not negative.
func seconds(d int64) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d+second/2)/second, 1<<32-1))
}

func (e *Engine) wireFamily(af uint8) uint8 {
	if af == pfstate.AFInet {
		return syncproto.FamilyIPv4
	}
	return e.cfg.Format.FamilyIPv6()
}

func peerToWire(s *pfstate.State, p *pfstate.Peer) syncproto.Peer {
	w := syncproto.Peer{
		SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, ScrubTSMod: p.TSMod,
		MaxWin: p.MaxWin, MSS: p.MSS, ScrubFlags: p.ScrubFlags, ScrubTTL: p.ScrubTTL, ScrubValid: p.ScrubValid,
		State: p.State, WScale: p.WScale,
	}
	if s.Proto == pfstate.ProtoTCP && p.SeqHi == 0 && p.MaxWin == 0 {
		w.SeqHi, w.MaxWin = 1, 1 // design section 5, to pf
	}
	return w
}

// keysToWire makes the keys of the two tuples; record.keys is the inverse. A
// state with both names shows each side's own translation.
func (e *Engine) keysToWire(s *pfstate.State, w *syncproto.State) {
	wire, stack := s.Orig, s.Reply.Inverse(s.Proto)
	if !s.Name(pfstate.SideIn).IsZero() && !s.Name(pfstate.SideOut).IsZero() {
		inner := pfstate.Tuple{Src: s.Orig.Src, SrcPort: s.Orig.SrcPort, Dst: stack.Dst, DstPort: stack.DstPort}
		if w.Direction == syncproto.DirIn {
			stack = inner
		} else {
			wire = inner
		}
	}
	src, dst := 0, 1
	if w.Direction == syncproto.DirOut {
		src, dst = 1, 0
		wire, stack = stack, wire
	}
	e.keyToWire(s, &wire, &w.Key[syncproto.KeyWire], src, dst)
	e.keyToWire(s, &stack, &w.Key[syncproto.KeyStack], src, dst)
}

func (e *Engine) keyToWire(s *pfstate.State, t *pfstate.Tuple, k *syncproto.Key, src, dst int) {
	k.AF = e.wireFamily(s.AF)
	k.Addr[src], k.Addr[dst] = t.Src, t.Dst
	switch s.Proto {
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		k.Port[src], k.Port[dst] = t.SrcPort, t.DstPort>>8
		if e.cfg.Format == syncproto.Format1301 {
			k.Port[dst] = t.SrcPort
		}
	default:
		if hasPorts(s.Proto) {
			k.Port[src], k.Port[dst] = t.SrcPort, t.DstPort
		}
	}
}

// updCOf writes a compressed update.
func (e *Engine) updCOf(now int64, s *pfstate.State, side pfstate.Side, u *syncproto.UpdC) {
	id := s.Name(side)
	*u = syncproto.UpdC{
		ID: id.ID, CreatorID: id.CreatorID, Timeout: s.Timeout,
		Src: peerToWire(s, &s.Src), Dst: peerToWire(s, &s.Dst),
	}
	if f := e.words(s, side); f != nil && e.toPF(now) {
		u.Src, u.Dst, u.Timeout = peerToWire(s, &f.Src), peerToWire(s, &f.Dst), f.Timeout
	}
	u.Src.SeqDiff, u.Dst.SeqDiff = e.seqDiff(s, side, 0), e.seqDiff(s, side, 1)
	u.Timeout = e.timeoutIndex(s, u.Timeout)
}

// extrasBound is how long the extras of a record of s can be.
func (e *Engine) extrasBound(now int64, s *pfstate.State) int {
	const pairAndCarried = 32 + 2 // or unsure
	e.scratch.tlvs = e.extras(e.scratch.tlvs[:0], now, s, pfstate.SideAlias, true)
	return len(e.scratch.tlvs) + pairAndCarried
}

// extras appends the TLVs that a record of s needs beside it: what a Linux
// peer cannot tell from the record of a side. full is false for an UPD_C, which
// has what changes with the halves only. What is not listed here or in
// extrasRare does not travel; readTLV is the inverse.
func (e *Engine) extras(b []byte, now int64, s *pfstate.State, side pfstate.Side, full bool) []byte {
	const told = pfstate.StatusSeenReply | pfstate.StatusAssured | pfstate.StatusFixedTimeout
	if s.Status&told != pfstate.StatusFromPeers(s.Proto, s.Src.State, s.Dst.State)&told {
		b = syncproto.AppendStatus(b, s.Status)
	}
	if flags, odd := s.OddTCP(); odd {
		b = syncproto.AppendTCP(b, &syncproto.TCP{State: s.ProtoState, Flags: flags})
	}
	if !full {
		return b
	}
	if side < pfstate.SideAlias && !s.Name(side.Other()).IsZero() {
		p := pairOf(s, side)
		b = syncproto.AppendPair(b, &p)
	}
	if s.Mark != 0 {
		b = syncproto.AppendMark(b, s.Mark)
	}
	if s.Zone != [2]uint16{} {
		b = syncproto.AppendZone(b, &syncproto.Zone{Orig: s.Zone[0], Reply: s.Zone[1]})
	}
	switch s.Proto {
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		if code := uint8(s.Orig.DstPort); code != 0 {
			b = syncproto.AppendICMPCode(b, code)
		}
	case pfstate.ProtoGRE:
		b = syncproto.AppendGRE(b, &syncproto.GRE{
			Orig:  [2]uint16{s.Orig.SrcPort, s.Orig.DstPort},
			Reply: [2]uint16{s.Reply.SrcPort, s.Reply.DstPort},
		})
	}
	if x := e.tab.Extra(s); x != nil {
		b = extrasRare(b, s, x)
	}
	return e.extrasExpect(b, now, s)
}

func extrasRare(b []byte, s *pfstate.State, x *pfstate.Extra) []byte {
	switch {
	case s.Proto == pfstate.ProtoSCTP:
		b = syncproto.AppendSCTP(b, &syncproto.SCTP{State: s.ProtoState, VTag: x.VTag})
	case s.Proto == pfstate.ProtoDCCP:
		b = syncproto.AppendDCCP(b, &syncproto.DCCP{State: s.ProtoState, Role: x.DCCPRole, HandshakeSeq: x.DCCPSeq})
	}
	if x.Has&pfstate.HasLabels != 0 {
		b = syncproto.AppendLabels(b, &x.Labels)
	}
	if x.Has&pfstate.HasHelper != 0 {
		b = syncproto.AppendTLV(b, syncproto.TLVHelper, trimZero(x.Helper[:]))
	}
	if x.Has&pfstate.HasSeqAdj != 0 {
		b = syncproto.AppendSeqAdj(b, &[2]syncproto.SeqAdj{syncproto.SeqAdj(x.SeqAdj[0]), syncproto.SeqAdj(x.SeqAdj[1])})
	}
	if x.Has&pfstate.HasSynproxy != 0 {
		b = syncproto.AppendSynproxy(b, (*syncproto.Synproxy)(&x.Proxy))
	}
	if x.Has&pfstate.HasMaster != 0 {
		b = masterTLV(b, s, x)
	}
	return b
}

func trimZero(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
