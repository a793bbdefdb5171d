package sim

import (
	"fmt"
	"strings"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// line is one of the trace: about a connection, or about machines.
type line struct {
	at    int64
	about key
	text  string
}

// log notes what concerns all.
func (w *world) log(format string, args ...any) { w.say(key{}, format, args...) }

// say notes what concerns one connection. A failed run is made again with the
// trace, which costs more than all else.
func (w *world) say(about key, format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, line{w.now, about, fmt.Sprintf(format, args...)})
	}
}

// tale is what the trace tells of a connection, and of the machines meanwhile.
func (w *world) tale(about key) string {
	other := about
	if c := w.latest[about]; c != nil {
		about, other = origKey(&c.f), replyKey(&c.f)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the story of %s\n", about)
	for _, l := range w.trace {
		if l.about == (key{}) || l.about == about || l.about == other || about == (key{}) {
			fmt.Fprintf(&b, "%9.4f %s\n", float64(l.at)/1e9-1000, l.text)
		}
	}
	return b.String()
}

// message notes a message of a frame.
func (w *world) message(from *node, reg *syncproto.Region, m []byte) {
	var id pfstate.ID
	more := ""
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		var st syncproto.State
		if syncproto.ParseState(m, reg.Format, &st) == nil {
			id = pfstate.ID(st.StateID())
			more = fmt.Sprintf("%d:%d expire %d", st.Src.State, st.Dst.State, st.Expire)
		}
	case syncproto.ActUpdC:
		var up syncproto.UpdC
		if syncproto.ParseUpdC(m, &up) == nil {
			id = pfstate.ID{ID: up.ID, CreatorID: up.CreatorID}
			more = fmt.Sprintf("%d:%d", up.Src.State, up.Dst.State)
		}
	case syncproto.ActDelC, syncproto.ActInsAck, syncproto.ActUpdReq:
		_ = syncproto.ParseID(m, (*syncproto.ID)(&id))
	case syncproto.ActBus:
		var bus syncproto.Bus
		if syncproto.ParseBus(m, &bus) == nil {
			w.log("%s: > frame %d: BUS %d", from.name, w.frameNo, bus.Status)
		}
		return
	case syncproto.ActLinux:
		w.control(from, m)
		return
	default:
		w.log("%s: > %s", from.name, reg.Action)
		return
	}
	if w.listening {
		w.heard[id]++
	}
	if w.tracing {
		w.say(w.named(id), "%s: > frame %d: %s %s %s%s", from.name, w.frameNo, reg.Action, id, more, w.words(id))
	}
}

// named finds the connection of a name.
func (w *world) named(id pfstate.ID) key {
	for _, n := range w.nodes {
		if !n.running() {
			continue
		}
		tab := n.eng.Table()
		if r, _, ok := tab.ByName(id); ok {
			s := tab.At(r)
			w.names[id] = key{s.Orig, s.Proto}
			break
		}
	}
	return w.names[id]
}

// control notes what the Linux region asks of a peer, or answers.
func (w *world) control(from *node, m []byte) {
	var ex syncproto.Extra
	if !w.tracing || syncproto.ParseExtra(m, &ex) != nil || ex.ID != 0 {
		return
	}
	for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
		switch t {
		case syncproto.TLVWantFrames:
			for f, more, ok := syncproto.NextFrames(v); ok; f, more, ok = syncproto.NextFrames(more) {
				w.log("%s: > wants frames %d to %d of %08x", from.name, f.First, f.Last, ex.CreatorID)
			}
		case syncproto.TLVFramesAgain:
			var a syncproto.FramesAgain
			if syncproto.ParseFramesAgain(v, &a) == nil {
				w.log("%s: > has sent frames %d to %d again, forgotten %v", from.name, a.First, a.Last, a.Forgotten)
			}
		}
	}
}

var tlvWords = map[syncproto.TLV]string{syncproto.TLVCarried: " carried", syncproto.TLVKilled: " killed", syncproto.TLVUnsure: " unsure"}

// wordsIn is what the Linux region of a frame says of its records and deletes,
// for the trace.
func wordsIn(b []byte) func(pfstate.ID) string {
	words := map[pfstate.ID]string{}
	info := eachExtra(b, func(id pfstate.ID, tlv syncproto.TLV) { words[id] += tlvWords[tlv] })
	return func(id pfstate.ID) string {
		if info.Flags&syncproto.InfoCarried != 0 {
			return " carried" + words[id]
		}
		return words[id]
	}
}
