package sim

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Nothing that came from a peer is sent as one's own: of what a firewall
// inserts, or says to carry, it has seen a packet itself, or
// its daemon has found it in the kernel at start.

// see notes that a machine knows of a connection by itself.
func (n *node) see(f *pfstate.Flow) {
	n.saw[origKey(f)], n.saw[replyKey(f)] = true, true
}

// own judges the records of a frame that leaves.
func (w *world) own(from *node, b []byte) {
	var rd syncproto.Reader
	if rd.Reset(b) != nil {
		w.complain(key{}, "%s: sends a frame that cannot be read", from.name)
		return
	}
	carried := carriedIn(b)
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := range reg.Whole() {
			id, ok := recordName(&reg, reg.Message(i))
			if ok && (carried(id) || reg.Action == syncproto.ActIns) {
				w.vouched(from, id)
			}
		}
	}
}

// recordName is the name of a record that may tell of a change.
func recordName(reg *syncproto.Region, m []byte) (pfstate.ID, bool) {
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		var st syncproto.State
		err := syncproto.ParseState(m, reg.Format, &st)
		return pfstate.ID(st.StateID()), err == nil
	case syncproto.ActUpdC:
		var up syncproto.UpdC
		err := syncproto.ParseUpdC(m, &up)
		return pfstate.ID{ID: up.ID, CreatorID: up.CreatorID}, err == nil
	}
	return pfstate.ID{}, false
}

// carriedIn tells of which states the sender of a frame says that it carries
// them.
func carriedIn(b []byte) func(pfstate.ID) bool {
	some := map[pfstate.ID]bool{}
	info := eachExtra(b, func(id pfstate.ID, tlv syncproto.TLV) { some[id] = some[id] || tlv == syncproto.TLVCarried })
	all := info.Flags&syncproto.InfoCarried != 0
	return func(id pfstate.ID) bool { return all || some[id] }
}

// eachExtra goes through what the Linux region of a frame says of states, and
// returns what it says of the frame.
func eachExtra(b []byte, do func(id pfstate.ID, tlv syncproto.TLV)) (info syncproto.FrameInfo) {
	var rd syncproto.Reader
	_ = rd.Reset(b) // it was good a moment ago
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		if reg.Action != syncproto.ActLinux || reg.Whole() == 0 {
			continue
		}
		_ = syncproto.ParseFrameInfo(reg.Message(0), &info)
		for i := 1; i < reg.Whole(); i++ {
			var ex syncproto.Extra
			if syncproto.ParseExtra(reg.Message(i), &ex) != nil {
				continue
			}
			for t, _, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, _, rest, ok = syncproto.NextTLV(rest) {
				do(pfstate.ID{ID: ex.ID, CreatorID: ex.CreatorID}, t)
			}
		}
	}
	return info
}

// vouched complains if a firewall tells of a connection that it knows from
// peers only.
func (w *world) vouched(n *node, id pfstate.ID) {
	tab := n.eng.Table()
	r, _, ok := tab.ByName(id)
	if !ok {
		return // ended while the frame was made
	}
	s := tab.At(r)
	if k := (key{s.Orig, s.Proto}); !n.saw[k] {
		w.complain(k, "%s: sends %s as its own, which is a peer's", n.name, id)
	}
}
