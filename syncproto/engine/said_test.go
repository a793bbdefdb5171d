package engine

import (
	"fmt"
	"strings"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// said is one frame sent, in words.
type said struct {
	info  syncproto.FrameInfo
	words []string
	bytes int
	show  bool
}

// frames takes all frames that are due, heartbeats too.
func (r *desk) frames() (out []said) {
	r.t.Helper()
	buf := make([]byte, 0, 2048)
	for range 10_000 {
		fr, ok := r.e.NextFrame(r.now, buf)
		if !ok {
			return out
		}
		f := r.read(fr.Data)
		f.show = fr.Show
		out = append(out, f)
	}
	r.t.Fatal("desk: frames without end")
	return nil
}

// sent takes all messages that are due.
func (r *desk) sent() (out []string) {
	r.t.Helper()
	for _, f := range r.frames() {
		out = append(out, f.words...)
	}
	return out
}

func (r *desk) read(b []byte) (f said) {
	r.t.Helper()
	f.bytes = len(b)
	var rd syncproto.Reader
	if err := rd.Reset(b); err != nil {
		r.t.Fatalf("desk: frame: %v", err)
	}
	words := map[pfstate.ID][]string{}
	var regions []syncproto.Region
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		if reg.Action == syncproto.ActLinux {
			r.readLinux(&reg, &f, words)
			continue
		}
		regions = append(regions, reg)
	}
	for _, reg := range regions {
		for i := range reg.Whole() {
			if reg.Action == syncproto.ActEOF {
				continue
			}
			f.words = append(f.words, r.word(&reg, reg.Message(i), words))
		}
	}
	f.words = append(f.words, words[pfstate.ID{}]...)
	return f
}

// readLinux notes what the Linux region says of the states of its frame; what
// it wants of peers stands under no name.
func (r *desk) readLinux(reg *syncproto.Region, f *said, words map[pfstate.ID][]string) {
	r.t.Helper()
	if err := syncproto.ParseFrameInfo(reg.Message(0), &f.info); err != nil {
		r.t.Fatal(err)
	}
	var ex syncproto.Extra
	for i := 1; i < reg.Whole(); i++ {
		if err := syncproto.ParseExtra(reg.Message(i), &ex); err != nil {
			r.t.Fatal(err)
		}
		id := pfstate.ID{ID: ex.ID, CreatorID: ex.CreatorID}
		if id.ID == 0 {
			id = pfstate.ID{}
		}
		for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
			words[id] = append(words[id], tlvWords(t, v)...)
		}
	}
}

func tlvWords(t syncproto.TLV, v []byte) (out []string) {
	switch t {
	case syncproto.TLVKilled:
		return []string{"killed"}
	case syncproto.TLVCarried:
		return []string{"carried"}
	case syncproto.TLVMark:
		var mark uint32
		_ = syncproto.ParseUint32(v, &mark)
		return []string{fmt.Sprintf("mark %d", mark)}
	case syncproto.TLVWantFrames:
		for f, rest, ok := syncproto.NextFrames(v); ok; f, rest, ok = syncproto.NextFrames(rest) {
			out = append(out, fmt.Sprintf("want %x %d-%d", f.Epoch, f.First, f.Last))
		}
		return out
	case syncproto.TLVFramesAgain:
		var m syncproto.FramesAgain
		_ = syncproto.ParseFramesAgain(v, &m)
		s := fmt.Sprintf("again %x %d-%d", m.Epoch, m.First, m.Last)
		if m.Forgotten {
			s += " forgotten"
		}
		return []string{s}
	case syncproto.TLVStatus:
		return nil // follows from what the test told
	case syncproto.TLVUnsure:
		return []string{"unsure"}
	}
	return []string{fmt.Sprintf("tlv %d", t)}
}

func (r *desk) word(reg *syncproto.Region, b []byte, words map[pfstate.ID][]string) string {
	r.t.Helper()
	var st syncproto.State
	var up syncproto.UpdC
	var id syncproto.ID
	var bu syncproto.Bus
	s := reg.Action.String()
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		_ = syncproto.ParseState(b, reg.Format, &st)
		id = st.StateID()
		s += fmt.Sprintf(" %s %d:%d", shortName(pfstate.ID(id)), st.Src.State, st.Dst.State)
		if st.StateFlags&syncproto.FlagAck != 0 {
			s += " ack"
		}
	case syncproto.ActUpdC:
		_ = syncproto.ParseUpdC(b, &up)
		id = syncproto.ID{ID: up.ID, CreatorID: up.CreatorID}
		s += fmt.Sprintf(" %s %d:%d", shortName(pfstate.ID(id)), up.Src.State, up.Dst.State)
	case syncproto.ActBus:
		_ = syncproto.ParseBus(b, &bu)
		return s + [...]string{"", " start", " end"}[bu.Status]
	case syncproto.ActClr:
		return s
	default:
		_ = syncproto.ParseID(b, &id)
		s += " " + shortName(pfstate.ID(id))
	}
	if w := words[pfstate.ID(id)]; len(w) > 0 && id.ID != 0 {
		s += " " + strings.Join(w, " ")
	}
	return s
}
