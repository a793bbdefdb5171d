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
