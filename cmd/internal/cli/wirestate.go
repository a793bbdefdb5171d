package cli

import (
	"net/netip"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
)

// wireState reads a message with a whole state in it.
func wireState(reg *syncproto.Region, m []byte) (control.State, bool) {
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd, syncproto.ActDel:
	default:
		return control.State{}, false
	}
	var w syncproto.State
	if reg.Skip || syncproto.ParseState(m, reg.Format, &w) != nil {
		return control.State{}, false
	}
	return fromWire(&w), true
}

// fromWire shows a record of the wire as a state.
func fromWire(w *syncproto.State) control.State {
	return control.State{
		ID: control.HexID64(w.ID), CreatorID: control.HexID(w.CreatorID), IfName: w.IfName.String(),
		Key: control.Keys{Wire: keyFromWire(&w.Key[syncproto.KeyWire], w.AF), Stack: keyFromWire(&w.Key[syncproto.KeyStack], w.AF)},
		Src: peerFromWire(&w.Src), Dst: peerFromWire(&w.Dst),
		Rule: int64(w.Rule), Anchor: int64(w.Anchor), NATRule: int64(w.NATRule),
		Creation: w.Creation, Expire: w.Expire, Packets: w.Packets, Bytes: w.Bytes,
		Direction: w.Direction, Timeout: w.Timeout, SyncFlags: w.SyncFlags, StateFlags: w.StateFlags,
		RTableID: w.RTableID, MaxMSS: w.MaxMSS, AF: w.AF, Proto: w.Proto,
	}
}

// keyFromWire takes the record's family for a key that has none (version 5,
// and version 6 with 0 in both keys).
func keyFromWire(k *syncproto.Key, af uint8) control.Key {
	if k.AF != 0 {
		af = k.AF
	}
	n := control.Key{Port: k.Port, RDomain: k.RDomain, AF: af}
	for i := range n.Addr {
		if af == syncproto.FamilyIPv4 {
			n.Addr[i] = netip.AddrFrom4([4]byte(k.Addr[i][:4]))
		} else {
			n.Addr[i] = netip.AddrFrom16(k.Addr[i])
		}
	}
	return n
}

func peerFromWire(p *syncproto.Peer) control.StatePeer {
	return control.StatePeer{SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, MaxWin: p.MaxWin, MSS: p.MSS, State: p.State, WScale: p.WScale}
}

// creatorOf returns the creatorid in a message, if it is of a kind that has one.
func creatorOf(reg *syncproto.Region, m []byte) (id uint32, ok bool) {
	if s, ok := wireState(reg, m); ok {
		return uint32(s.CreatorID), true
	}
	if reg.Skip {
		return 0, false
	}
	switch reg.Action {
	case syncproto.ActInsAck, syncproto.ActUpdReq, syncproto.ActDelC, syncproto.ActUpdC:
		var v syncproto.ID
		err := syncproto.ParseID(m[:syncproto.IDLen], &v)
		return v.CreatorID, err == nil
	case syncproto.ActClr:
		var v syncproto.Clr
		err := syncproto.ParseClr(m, &v)
		return v.CreatorID, err == nil
	case syncproto.ActBus:
		var v syncproto.Bus
		err := syncproto.ParseBus(m, &v)
		return v.CreatorID, err == nil
	}
	return 0, false
}

// extra is what the Linux region tells of a state, as far as filters ask.
type extra struct {
	mark uint32
	zone uint16
}

// extras reads the Linux region of a frame; without one, or if nobody asks for
// what is in it, there is nothing.
func (o *frameFilter) extras(frame []byte) map[syncproto.ID]extra {
	if o.query.Mark == nil && o.query.Zone == nil {
		return nil
	}
	var r syncproto.Reader
	if r.Reset(frame) != nil {
		return nil
	}
	all := map[syncproto.ID]extra{}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		if reg.Action != syncproto.ActLinux || reg.Skip {
			continue
		}
		for i := 1; i < reg.Whole(); i++ { // the first is about the frame
			var m syncproto.Extra
			if syncproto.ParseExtra(reg.Message(i), &m) == nil {
				all[syncproto.ID{ID: m.ID, CreatorID: m.CreatorID}] = extraOf(m.TLVs)
			}
		}
	}
	return all
}

// extraOf leaves at 0 what is absent or too short.
func extraOf(tlvs []byte) extra {
	var x extra
	if v, ok := syncproto.FindTLV(tlvs, syncproto.TLVMark); ok {
		_ = syncproto.ParseUint32(v, &x.mark)
	}
	if v, ok := syncproto.FindTLV(tlvs, syncproto.TLVZone); ok {
		var z syncproto.Zone
		_ = syncproto.ParseZone(v, &z)
		x.zone = z.Orig
	}
	return x
}
