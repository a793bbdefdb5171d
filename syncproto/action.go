package syncproto

import "strconv"

// Action says what the messages of a region are. The numbers are those of
// version 6 (if_pfsync.h PFSYNC_ACT_*); version 5 writes others from 13 on,
// see Wire.
type Action uint8

// Actions in wire order.
const (
	ActClr    Action = 0    // remove the states of a creator
	ActOIns   Action = 1    // retired: state of an earlier layout
	ActInsAck Action = 2    // insert acknowledged
	ActOUpd   Action = 3    // retired
	ActUpdC   Action = 4    // compressed update
	ActUpdReq Action = 5    // full update wanted; id 0: bulk transfer wanted
	ActDel    Action = 6    // delete, full state record
	ActDelC   Action = 7    // delete, compressed
	ActInsF   Action = 8    // retired: fragment
	ActDelF   Action = 9    // retired: fragment
	ActBus    Action = 10   // bulk transfer status
	ActOTDB   Action = 11   // retired
	ActEOF    Action = 12   // end of frame, version 5 only
	ActIns    Action = 13   // insert, full state record
	ActUpd    Action = 14   // update, full state record
	ActTDB    Action = 15   // IPsec replay counters
	ActLinux  Action = 0xf0 // ours, see FrameInfo: nobody else's kernel knows it
	Actions          = 16   // number of actions of version 6
)

// handling says what a receiver does with an action.
type handling uint8

const (
	unknown handling = iota // no such action
	message                 // messages of at least length bytes
	retired                 // stepped over
	refused                 // ends the frame
	end                     // ends the frame, nothing wrong
)

// actionInfo is what one action byte of one version means.
type actionInfo struct {
	handling handling
	name     string
	action   Action
	format   Format
	length   int // of a message, bytes; 0: none
}

// wire6 is version 6: pfsync_acts of OpenBSD's if_pfsync.c.
var wire6 = [Actions]actionInfo{
	{message, "CLR", ActClr, Format6, ClrLen},
	{retired, "OINS", ActOIns, Format6, 0},
	{message, "INS_ACK", ActInsAck, Format6, IDLen},
	{retired, "OUPD", ActOUpd, Format6, 0},
	{message, "UPD_C", ActUpdC, Format6, UpdCLen},
	{message, "UPD_REQ", ActUpdReq, Format6, IDLen},
	{message, "DEL", ActDel, Format6, StateLen6},
	{message, "DEL_C", ActDelC, Format6, IDLen},
	{retired, "INS_F", ActInsF, Format6, 0},
	{retired, "DEL_F", ActDelF, Format6, 0},
	{message, "BUS", ActBus, Format6, BusLen},
	{retired, "OTDB", ActOTDB, Format6, 0},
	{retired, "EOF", ActEOF, Format6, 0},
	{message, "INS", ActIns, Format6, StateLen6},
	{message, "UPD", ActUpd, Format6, StateLen6},
	{message, "TDB", ActTDB, Format6, TDBLen6},
}

// wire5 is version 5 as FreeBSD 15 has it. FreeBSD 12.1 differs: it ends at
// 12, takes DEL, and its INS and UPD are the ones called 1301 here; what it
// sends is understood all the same, because DEL is accepted there but never
// sent. FreeBSD 14 ends at 14.
var wire5 = [...]actionInfo{
	{message, "CLR", ActClr, Format1301, ClrLen},
	{message, "INS_1301", ActIns, Format1301, StateLen1301},
	{message, "INS_ACK", ActInsAck, Format1301, IDLen},
	{message, "UPD_1301", ActUpd, Format1301, StateLen1301},
	{message, "UPD_C", ActUpdC, Format1301, UpdCLen},
	{message, "UPD_REQ", ActUpdReq, Format1301, IDLen},
	{refused, "DEL", ActDel, Format1301, StateLen1301},
	{message, "DEL_C", ActDelC, Format1301, IDLen},
	{refused, "INS_F", ActInsF, Format1301, 0},
	{refused, "DEL_F", ActDelF, Format1301, 0},
	{message, "BUS", ActBus, Format1301, BusLen},
	{retired, "TDB", ActTDB, Format1301, TDBLen5},
	{end, "EOF", ActEOF, Format1301, 0},
	{message, "INS_1400", ActIns, Format1400, StateLen1400},
	{message, "UPD_1400", ActUpd, Format1400, StateLen1400},
	{message, "INS_1500", ActIns, Format1500, StateLen1500},
	{message, "UPD_1500", ActUpd, Format1500, StateLen1500},
}

// WireActions5 is the number of action bytes that version 5 knows, the length
// of FreeBSD's input histogram.
const WireActions5 = len(wire5)

// linuxInfo is our own action: the first message is the shortest there is.
var linuxInfo = actionInfo{message, "LINUX", ActLinux, Format6, FrameInfoLen}

// lookup returns what the action byte raw means in a version; handling is
// unknown if nothing.
func lookup(version, raw uint8) actionInfo {
	switch {
	case version == Version6 && raw < Actions:
		return wire6[raw]
	case version == Version6 && raw == uint8(ActLinux):
		return linuxInfo
	case version == Version5 && int(raw) < len(wire5):
		return wire5[raw]
	}
	return actionInfo{action: Action(raw)}
}

// Wire returns the action byte that stands for the action in frames of the
// format's version; ok is false if that version has none a sender may use.
// The format matters for INS and UPD only.
func (a Action) Wire(f Format) (raw uint8, ok bool) {
	if f.Version() == Version6 {
		return uint8(a), lookup(Version6, uint8(a)).handling == message
	}
	for i := range wire5 {
		w := &wire5[i]
		if w.action != a || w.handling == refused {
			continue
		}
		if (a != ActIns && a != ActUpd) || w.format == f {
			return uint8(i), true
		}
	}
	return 0, false
}

// Length returns the length of one message of the action in bytes, 0 if it
// has none. For ActLinux it is that of the first message.
func (a Action) Length(f Format) int {
	switch {
	case a == ActIns, a == ActUpd, a == ActDel:
		return f.StateLen()
	case a == ActTDB && f.Version() == Version5:
		return TDBLen5
	}
	return lookup(Version6, uint8(a)).length
}

// String returns the name without PFSYNC_ACT_, as in "UPD_C".
func (a Action) String() string { return WireName(Version6, uint8(a)) }

// WireName returns the name of an action byte in a version, with the format
// where version 5 has several, as in "INS_1400".
func WireName(version, raw uint8) string {
	if i := lookup(version, raw); i.handling != unknown {
		return i.name
	}
	return "UNKNOWN_" + strconv.Itoa(int(raw))
}

// Wire5 returns what an action byte means in version 5: the action, the format
// of its state records and the length of a message in bytes, which is 0 where
// there are none or their layout is unknown. Byte 6, which receivers refuse,
// is told as DEL.
func Wire5(raw uint8) (a Action, f Format, length int) {
	i := lookup(Version5, raw)
	return i.action, i.format, i.length
}
