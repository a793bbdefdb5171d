package engine

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// notHeld are the fields of a record that a State cannot hold, or that are not
// what they were by the time they are written, by dialect, and why.
var notHeld = map[string]map[string]string{
	"openbsd6":     {},
	"freebsd-1301": {},
	"freebsd-1400": {},
	"freebsd-1500": {"Tag": "the number that a name of the maker's ruleset has there; 128 bytes a state that nobody here reads"},
}

func init() {
	for _, fields := range notHeld {
		maps.Copy(fields, map[string]string{
			"Packets":    "a receiver of any kind begins with 0 (pfsync-protocol.md section 10)",
			"Bytes":      "the same",
			"StateFlags": "that an answer is wanted is a question, and was answered",
			"Direction":  "0, in and out, is accepted and never sent (section 7.3)",
			"Expire":     "0 stands for the whole timeout, which is told from then on",
		})
	}
	for _, d := range []string{"freebsd-1301", "freebsd-1400", "freebsd-1500"} {
		notHeld[d]["NATRule"] = "no receiver keeps it"
	}
	notHeld["openbsd6"]["Key"] = "families of 0, from older senders, are told"
	notHeld["freebsd-1301"]["Key"] = "of a translated ICMP query the id is told twice on the wire side too"
}

// goldenFormat is the record of a dialect.
var goldenFormat = map[string]syncproto.Format{"openbsd6": syncproto.Format6, "freebsd-1301": syncproto.Format1301,
	"freebsd-1400": syncproto.Format1400, "freebsd-1500": syncproto.Format1500}

// TestWriteBack: every state of the valid golden frames that is imported is
// written back, byte for byte but for the fields of the list, and every field
// of the list is seen to be lost.
func TestWriteBack(t *testing.T) {
	for _, d := range golden.Dialects {
		t.Run(d, func(t *testing.T) {
			lost, whole, n := map[string]int{}, 0, 0
			for i, cases := 0, golden.Cases(t, d); i < len(cases); i++ {
				c := &cases[i]
				if !c.Valid() {
					continue
				}
				g := newRig(t, func(cfg *Config) { cfg.Format = goldenFormat[d] })
				for k := range c.Packets {
					g.hear(rigBSD, c.Packets[k].Frame())
					eachRecord(c.Packets[k].Frame(), func(reg *syncproto.Region, b []byte) {
						fields, ok := g.writeBack(reg, b, goldenFormat[d])
						if !ok {
							return
						}
						n++
						if exactly(fields) {
							whole++
						}
						for _, f := range fields {
							if lost[f]++; notHeld[d][f] == "" {
								t.Errorf("%s: packet %d: %s is lost", c.Name, k, f)
							}
						}
					})
				}
			}
			for f := range notHeld[d] {
				if lost[f] == 0 {
					t.Errorf("%s is held all the time", f)
				}
			}
			t.Logf("%d records written back, %d byte for byte but for counters; lost: %v", n, whole, lost)
			if n < 60 {
				t.Errorf("only %d records", n)
			}
		})
	}
}

// eachRecord calls f for each INS and UPD of a frame.
func eachRecord(frame []byte, f func(*syncproto.Region, []byte)) {
	var rd syncproto.Reader
	if rd.Reset(frame) != nil {
		return
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		if reg.Action == syncproto.ActIns || reg.Action == syncproto.ActUpd {
			for i := range reg.Whole() {
				f(&reg, reg.Message(i))
			}
		}
	}
}

// exactly reports whether a record is as it came but for counters, which every
// record has.
func exactly(lost []string) bool {
	return !slices.ContainsFunc(lost, func(f string) bool { return f != "Packets" && f != "Bytes" })
}

// writeBack writes the state that a record has become and names the fields that
// are not as they were; with those put back, all bytes have to be. ok is false
// if it is of another format or was not imported.
func (g *rig) writeBack(reg *syncproto.Region, b []byte, f syncproto.Format) (lost []string, ok bool) {
	var was, is, now syncproto.State
	if reg.Format != f || syncproto.ParseState(b, f, &was) != nil {
		return nil, false
	}
	name := pfstate.ID(was.StateID())
	s := g.find(name)
	_, side, _ := g.e.tab.ByName(name)
	if s == nil || side == pfstate.SideAlias || g.e.words(s, side) == nil {
		return nil, false
	}
	g.e.toWire(g.now, s, side, &is)
	_ = syncproto.ParseState(syncproto.AppendState(nil, f, &is), f, &now) // as far as the format goes
	from, to := reflect.ValueOf(was), reflect.ValueOf(&now).Elem()
	for i := range from.NumField() {
		if !reflect.DeepEqual(from.Field(i).Interface(), to.Field(i).Interface()) {
			lost = append(lost, from.Type().Field(i).Name)
			to.Field(i).Set(from.Field(i))
		}
	}
	if got := syncproto.AppendState(nil, f, &now); !bytes.Equal(got, b[:f.StateLen()]) {
		g.Errorf("%s: written back\n%x, want\n%x", name, got, b[:f.StateLen()])
	}
	return lost, true
}

// TestRoutes: routes have other numbers on either system; what one has not is
// none on the other.
func TestRoutes(t *testing.T) {
	six, five := syncproto.Format6, syncproto.Format1500
	tests := []struct {
		name     string
		from     syncproto.Format
		rt       uint8
		six, fbd uint8
	}{
		{"none", six, 0, 0, 0}, {"route-to", six, 1, 1, 2}, {"dup-to", six, 2, 2, 3}, {"reply-to", six, 3, 3, 4},
		{"none", five, 0, 0, 0}, {"fastroute", five, 1, 0, 1}, {"route-to", five, 2, 1, 2}, {"dup-to", five, 3, 2, 3}, {"reply-to", five, 4, 3, 4},
	}
	for _, tt := range tests {
		t.Run(tt.from.String()+" "+tt.name+" "+strconv.Itoa(int(tt.rt)), func(t *testing.T) {
			kept := rtFromWire(tt.from, tt.rt)
			if got := rtToWire(six, kept); got != tt.six {
				t.Errorf("to OpenBSD %d, want %d", got, tt.six)
			}
			if got := rtToWire(five, kept); got != tt.fbd {
				t.Errorf("to FreeBSD %d, want %d", got, tt.fbd)
			}
		})
	}
}

// TestForeignAcross: a state of one system told to the other.
func TestForeignAcross(t *testing.T) {
	const own = 0x4000 | syncproto.FlagPflow
	st := syncproto.State{StateFlags: syncproto.FlagNoDF | own, Rt: 2, RTableID: [2]int32{5, 7}, MaxMSS: 1400, IfName: ifAll}
	tests := []struct {
		from, to syncproto.Format
		flags    uint16
		tables   [2]int32
	}{
		{syncproto.Format6, syncproto.Format6, st.StateFlags, [2]int32{5, 7}},
		{syncproto.Format6, syncproto.Format1400, syncproto.FlagNoDF, [2]int32{5, 7}},
		{syncproto.Format1400, syncproto.Format1500, st.StateFlags, [2]int32{5, -1}},
		{syncproto.Format1400, syncproto.Format6, syncproto.FlagNoDF, [2]int32{5, -1}},
		{syncproto.Format1301, syncproto.Format6, syncproto.FlagNoDF, [2]int32{-1, -1}},
	}
	for _, tt := range tests {
		t.Run(tt.from.String()+" to "+tt.to.String(), func(t *testing.T) {
			var m record
			var w syncproto.State
			m.foreign(tt.from, &st)
			foreignToWire(tt.to, &m.pf, &w)
			if w.StateFlags != tt.flags || w.RTableID != tt.tables || w.MaxMSS != 1400 {
				t.Errorf("flags %x tables %v mss %d", w.StateFlags, w.RTableID, w.MaxMSS)
			}
		})
	}
}

// TestICMPTwice: FreeBSD 13 tells the id of a query twice and no type; a
// translated one is asked of the kernel as the request that it is.
func TestICMPTwice(t *testing.T) {
	for _, dialect := range []string{"freebsd-1301", "freebsd-1400"} {
		for _, c := range golden.Cases(t, dialect) {
			if c.Name != "nat-src-out-icmp" {
				continue
			}
			g := newRig(t, func(cfg *Config) { cfg.Format = goldenFormat[dialect] })
			k := c.Packets[0].Regions[0].Messages[0].Key
			g.hear(rigBSD, c.Packets[0].Frame())
			if len(g.ops) != 1 {
				t.Fatalf("%s: asked of the kernel: %+v", dialect, g.ops)
			}
			f := &g.ops[0].Flow
			if f.Orig.SrcPort != k.Stack.Port[1] || f.Orig.DstPort != 8<<8 || f.Reply.DstPort != k.Wire.Port[1] && f.Reply.SrcPort != k.Wire.Port[1] {
				t.Errorf("%s: %+v of %+v", dialect, f, k)
			}
		}
	}
}

// TestRouteTaken: a state with a route that passes here goes back to a pf; the
// oldest format cannot tell the route, and a FreeBSD 14 would leave out a state
// that has half of one.
func TestRouteTaken(t *testing.T) {
	for f := range syncproto.Formats {
		g := newRig(t, func(c *Config) { c.Format = f })
		in, out := strictPair(nil, 4, 4)
		for _, st := range []*syncproto.State{&in, &out} {
			st.RtAddr[0], st.Rt = 10, rtRouteTo
		}
		g.hear(rigBSD, insert(syncproto.ActIns, in, out))
		g.local(pfstate.EventUpdate, tcpFlow(pfstate.TCPFinWait, nil))
		m := only(g.says(20*milli), syncproto.ActIns)
		if len(m) != 2 {
			t.Fatalf("%s: %d inserts", f, len(m))
		}
		rt := rtToWire(f, rtRouteTo)
		addr := [16]byte{10}
		if f == syncproto.Format1301 {
			rt, addr = 0, [16]byte{}
		}
		if m[0].st.Rt != rt || m[0].st.RtAddr != addr {
			t.Errorf("%s: route %d to %v", f, m[0].st.Rt, m[0].st.RtAddr)
		}
	}
}
