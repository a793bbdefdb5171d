package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// What only a pf understands goes back to it as it came. To a pf of the other
// kind it is translated as far as there are words: numbers of routes differ,
// some flags are one system's own (pfsync-protocol.md sections 7.5 and 7.6).

// Routes of a state as they are kept, OpenBSD's numbers; FreeBSD has one more.
const (
	rtNone uint8 = iota
	rtRouteTo
	rtDupTo
	rtReplyTo
	rtFastRoute // PF_FASTROUTE
)

// rtOfFreeBSD are FreeBSD's numbers.
var rtOfFreeBSD = [...]uint8{rtNone, rtFastRoute, rtRouteTo, rtDupTo, rtReplyTo}

// rtFromWire takes a number that is none of the system's as it is.
func rtFromWire(f syncproto.Format, rt uint8) uint8 {
	if f != syncproto.Format6 && int(rt) < len(rtOfFreeBSD) {
		return rtOfFreeBSD[rt]
	}
	return rt
}

// rtToWire is the inverse; what OpenBSD does not have is none.
func rtToWire(f syncproto.Format, rt uint8) uint8 {
	if f == syncproto.Format6 {
		if rt == rtFastRoute {
			return rtNone
		}
		return rt
	}
	for number, kept := range rtOfFreeBSD {
		if kept == rt {
			return uint8(number)
		}
	}
	return rt
}

// flagsOfBoth are those that mean the same on both systems.
const flagsOfBoth = syncproto.FlagAllowOpts | syncproto.FlagSloppy | syncproto.FlagNoDF | syncproto.FlagSetTOS |
	syncproto.FlagRandomID | syncproto.FlagScrubTCP | syncproto.FlagSetPrio

// foreign keeps what only a pf understands.
func (m *record) foreign(f syncproto.Format, w *syncproto.State) {
	m.pf = pfstate.Foreign{
		Set: true, Version: f.Version(), IfName: w.IfName, Rule: w.Rule, Anchor: w.Anchor, RtAddr: w.RtAddr, Rt: rtFromWire(f, w.Rt),
		Log: w.Log, MinTTL: w.MinTTL, SetTOS: w.SetTOS, StateFlags: w.StateFlags &^ syncproto.FlagAck,
		MaxMSS: w.MaxMSS, SetPrio: w.SetPrio, RTableID: w.RTableID,
		RDomain:  [2]uint16{w.Key[0].RDomain, w.Key[1].RDomain},
		Queues:   [4]uint16{w.QID, w.PQID, w.DNPipe, w.DNRPipe},
		RtIfName: w.RtIfName, OrigIfName: w.OrigIfName, RtAF: w.RtAF, SyncFlags: w.SyncFlags,
	}
	switch f { // fields that the format has not: the default table
	case syncproto.Format1301:
		m.pf.RTableID = [2]int32{-1, -1}
	case syncproto.Format1400, syncproto.Format1500:
		m.pf.RTableID[1] = -1
	}
}

// countRoute counts a state that a pf sends another way than its routing table.
// FreeBSD up to 13 tells the address only.
func (e *Engine) countRoute(m *record) {
	if m.pf.Rt != rtNone || m.pf.RtAddr != [16]byte{} {
		e.reason(ReasonRouteTo)
	}
}

// foreignToWire gives a pf back what it said.
func foreignToWire(format syncproto.Format, f *pfstate.Foreign, w *syncproto.State) {
	w.IfName, w.Rule, w.Anchor = f.IfName, f.Rule, f.Anchor
	w.RtAddr, w.Rt, w.Log, w.MinTTL, w.SetTOS = f.RtAddr, rtToWire(format, f.Rt), f.Log, f.MinTTL, f.SetTOS
	flags := f.StateFlags
	if f.Version != format.Version() {
		flags &= flagsOfBoth
	}
	w.StateFlags |= flags
	w.MaxMSS, w.SetPrio, w.RTableID = f.MaxMSS, f.SetPrio, f.RTableID
	w.Key[0].RDomain, w.Key[1].RDomain = f.RDomain[0], f.RDomain[1]
	w.QID, w.PQID, w.DNPipe, w.DNRPipe = f.Queues[0], f.Queues[1], f.Queues[2], f.Queues[3]
	w.RtIfName, w.OrigIfName, w.RtAF, w.SyncFlags = f.RtIfName, f.OrigIfName, f.RtAF, f.SyncFlags
}
