package engine

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
)

// conn is a connection, in words that neither pf's states nor our tuples use:
// who begins it, to whom, and what they are called behind the firewall.
type conn struct {
	proto                uint8
	client, dialled      end // as the packet comes in
	translated, answerer end // as it goes out
}

func (c conn) String() string {
	return fmt.Sprintf("%d %s>%s as %s>%s", c.proto, c.client, c.dialled, c.translated, c.answerer)
}

func (e end) String() string { return fmt.Sprintf("%x:%d", e.addr, e.port) }

// sideOf is what one state of a pf tells: the ends before and behind it, in the
// order of the packet (pfsync-protocol.md section 8).
func sideOf(st *syncproto.State) (in, out [2]end) {
	src, dst := 0, 1
	if st.Direction == syncproto.DirOut {
		src, dst = 1, 0
	}
	at := func(k *syncproto.Key, i int) end {
		e := end{k.Addr[i], k.Port[i]}
		if st.AF == syncproto.FamilyIPv4 {
			clear(e.addr[4:])
		}
		if i == dst && (st.Proto == pfstate.ProtoICMP || st.Proto == pfstate.ProtoICMPv6) {
			e.port = 0 // the type, or the id again
		}
		return e
	}
	in = [2]end{at(&st.Key[0], src), at(&st.Key[0], dst)}
	out = [2]end{at(&st.Key[1], src), at(&st.Key[1], dst)}
	if st.Direction == syncproto.DirOut {
		in, out = out, in
	}
	return in, out
}

// connsOf are the connections of which a pf has both states, by their ends, and
// the two states of each; those of the machine itself have one.
func connsOf(states map[pfstate.ID]*syncproto.State) map[conn][2]*syncproto.State {
	type middle struct {
		proto uint8
		ends  [2]end
	}
	ins, conns := map[middle]*syncproto.State{}, map[conn][2]*syncproto.State{}
	for _, st := range states {
		if _, out := sideOf(st); st.Direction == syncproto.DirIn {
			ins[middle{st.Proto, out}] = st
		}
	}
	for _, st := range states {
		in, out := sideOf(st)
		first := ins[middle{st.Proto, in}]
		if st.Direction != syncproto.DirOut || first == nil {
			continue
		}
		came, _ := sideOf(first)
		conns[conn{st.Proto, came[0], came[1], out[0], out[1]}] = [2]*syncproto.State{first, st}
	}
	return conns
}

// connOf is a kernel entry in the same words.
func connOf(f *pfstate.Flow) conn {
	c := conn{f.Proto, end{f.Orig.Src, f.Orig.SrcPort}, end{f.Orig.Dst, f.Orig.DstPort},
		end{f.Reply.Dst, f.Reply.DstPort}, end{f.Reply.Src, f.Reply.SrcPort}}
	if f.Proto == pfstate.ProtoICMP || f.Proto == pfstate.ProtoICMPv6 {
		c.dialled.port, c.answerer.port, c.translated.port = 0, 0, f.Reply.SrcPort
	}
	return c
}

// entries does what operations ask, as a kernel does.
func (g *rig) entries() map[conn]bool {
	m := map[conn]bool{}
	for i := range g.ops {
		switch c := connOf(&g.ops[i].Flow); g.ops[i].Kind {
		case pfstate.OpCreate:
			m[c] = true
		case pfstate.OpDelete:
			delete(m, c)
		}
	}
	return m
}

// listener hears one machine of a capture, and compares at each look at its
// table.
type listener struct {
	*rig
	open []*kernelTable
	left map[*kernelTable]string
}

// compare strikes off the looks at which the entries are the connections that
// the kernel has.
func (l *listener) compare() {
	have := l.entries()
	l.open = slices.DeleteFunc(l.open, func(k *kernelTable) bool {
		want := connsOf(k.open)
		var diff []string
		for c := range want {
			if !have[c] {
				diff = append(diff, "missing "+c.String())
			}
		}
		for c := range have {
			if _, ok := want[c]; !ok && l.whole(c) {
				diff = append(diff, "too many "+c.String())
			}
		}
		slices.Sort(diff)
		l.left[k] = strings.Join(diff, ", ")
		return len(diff) == 0
	})
}

// whole reports whether both halves of an entry were told: a connection of the
// machine itself has one.
func (l *listener) whole(c conn) bool {
	for r := pfstate.Ref(1); r < l.e.tab.End(); r++ {
		if !l.e.tab.InUse(r) {
			continue
		}
		if f := l.e.tab.FlowOf(l.e.tab.At(r), l.now); connOf(&f) == c {
			return l.e.tab.At(r).Names() > 1
		}
	}
	return true
}

// listen feeds what one machine said.
func listen(t *testing.T, name string, tables []*kernelTable) []string {
	files, err := captureFiles()
	if err != nil {
		t.Fatal(err)
	}
	l := listener{rig: newRig(t, nil), left: map[*kernelTable]string{}}
	var start, origin int64
	todo := placed(tables, 1)
	look := func(now int64) {
		l.open = slices.DeleteFunc(l.open, func(k *kernelTable) bool { return k.after+lookAfter < now })
		l.compare()
		for len(todo) > 0 && todo[0].before-lookBefore <= now {
			l.open, todo = append(l.open, todo[0]), todo[1:]
			l.compare()
		}
	}
	for p, err := range capture.Packets(bytes.NewReader(files[name+".pcap"])) {
		if err != nil {
			t.Fatal(err)
		}
		at := p.Time.UnixNano()
		if start == 0 {
			start, origin = at, l.now
		}
		l.now = max(l.now, origin+at-start)
		l.e.Tick(l.now)
		if look(at); p.IP.Src == vmAddr(1) {
			l.hear(p.IP.Src, p.Frame)
			l.says(0)
		}
		look(at)
	}
	look(start + 1e6*second)
	look(start + 2e6*second)
	var out []string
	for k, diff := range l.left {
		if diff != "" {
			out = append(out, fmt.Sprintf("look %d: %s", slices.Index(tables, k), diff))
		}
	}
	slices.Sort(out)
	return out
}

// eachForwarding is for every capture of machines that forward, and the looks at
// their tables.
func eachForwarding(t *testing.T, test func(t *testing.T, name string, format syncproto.Format, tables []*kernelTable)) {
	files, err := captureFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range captureNames(t) {
		if strings.Contains(name, "injection") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			format := captureFormat(name)
			tables, _ := readTables(t, files[name+".jsonl"], format)
			test(t, name, format, tables)
		})
	}
}

// TestConnections hears one machine and asks of the kernel exactly the
// connections that it forwarded, with their translations.
func TestConnections(t *testing.T) {
	looks, conns := 0, 0
	eachForwarding(t, func(t *testing.T, name string, _ syncproto.Format, tables []*kernelTable) {
		for _, k := range placed(tables, 1) {
			looks, conns = looks+1, conns+len(connsOf(k.open))
		}
		judge(t, name, listen(t, name, tables), nil)
	})
	t.Logf("%d looks at %d connections", looks, conns)
	if looks < 200 || conns < 500 {
		t.Error("too few")
	}
}

// TestRecordsForPF: what we send of a connection that passes here is what pf's
// kernel has of it when it passes there, all but ids, times, counters, rules
// and sequence numbers.
func TestRecordsForPF(t *testing.T) {
	n := 0
	eachForwarding(t, func(t *testing.T, _ string, format syncproto.Format, tables []*kernelTable) {
		diffs := map[string]int{}
		for _, k := range tables {
			for c, pair := range connsOf(k.open) {
				for _, d := range sendAs(t, c, pair, format) {
					diffs[d]++
				}
				n++
			}
		}
		for _, d := range slices.Sorted(maps.Keys(diffs)) {
			if recordDiffs[d] == "" {
				t.Errorf("%d times: %s", diffs[d], d)
			}
		}
	})
	t.Logf("%d connections", n)
	if n < 1000 {
		t.Error("too few")
	}
}

// recordDiffs are the fields in which ours differ, and why.
var recordDiffs = map[string]string{
	"timeout 6, pf 7":             "pf has seen a second packet from the same side, which conntrack does not tell",
	"timeout 9, pf 10":            "pf halves the time of an ICMP query once it is answered; the longer one is nearer to conntrack's 30 s",
	"ifname all, pf vtnet1":       "a kernel entry is bound to no interface",
	"ifname all, pf vtnet2":       "the same",
	"rtableid [-1 -1], pf [-1 0]": "pf's table, by number; -1 is whichever the packet has there",
	"rtableid [-1 -1], pf [0 -1]": "the same",
	"flags 0, pf 256":             "scrubbing of TCP, by a rule of that pf",
}

// sendAs makes a connection begin here, and compares the two inserts with the
// states that pf had.
func sendAs(t *testing.T, c conn, pair [2]*syncproto.State, format syncproto.Format) (diffs []string) {
	g := newRig(t, func(cfg *Config) { cfg.Format = format })
	g.pfSpeaks()
	g.local(pfstate.EventNew, flowOf(c, pair))
	ins := only(g.says(20*milli), syncproto.ActIns)
	if len(ins) != 2 {
		return []string{fmt.Sprintf("%d inserts", len(ins))}
	}
	for i, want := range pair {
		diffs = append(diffs, unlike(&ins[i].st, want, format)...)
	}
	return diffs
}

// flowOf is the connection as our kernel has it.
func flowOf(c conn, pair [2]*syncproto.State) pfstate.Flow {
	st := pair[0]
	f := pfstate.Flow{AF: familyOf(st.AF), Proto: c.proto, Timeout: st.Expire,
		Has:  pfstate.HasTimeout | pfstate.HasStatus | pfstate.HasProto,
		Orig: pfstate.Tuple{Src: c.client.addr, SrcPort: c.client.port, Dst: c.dialled.addr, DstPort: c.dialled.port}}
	out := pfstate.Tuple{Src: c.translated.addr, SrcPort: c.translated.port, Dst: c.answerer.addr, DstPort: c.answerer.port}
	switch c.proto {
	case pfstate.ProtoICMP:
		f.Orig.DstPort, out.DstPort = 8<<8, 8<<8
	case pfstate.ProtoICMPv6:
		f.Orig.DstPort, out.DstPort = 128<<8, 128<<8
	case pfstate.ProtoTCP:
		var closer int
		f.ProtoState, closer = pfstate.TCPFromPeers(st.Src.State, st.Dst.State)
		if closer >= 0 {
			f.TCPFlags[closer] = pfstate.TCPFlagCloseInit
		}
		if st.Src.WScale&st.Dst.WScale&syncproto.WScaleSeen != 0 {
			f.WScale = [2]uint8{st.Src.WScale & syncproto.WScaleMask, st.Dst.WScale & syncproto.WScaleMask}
			f.TCPFlags[0] |= pfstate.TCPFlagWScale
			f.TCPFlags[1] |= pfstate.TCPFlagWScale
		}
	}
	f.Reply = out.Inverse(c.proto)
	f.Status = pfstate.StatusFromPeers(c.proto, st.Src.State, st.Dst.State)
	return f
}

// unlike names the fields in which a record of ours is not pf's.
func unlike(ours, pf *syncproto.State, format syncproto.Format) (diffs []string) {
	note := func(name string, a, b any) {
		if a != b {
			diffs = append(diffs, fmt.Sprintf("%s %v, pf %v", name, a, b))
		}
	}
	a, b := *ours, *pf
	for i := range a.Key {
		for j := range a.Key[i].Addr {
			if a.AF == syncproto.FamilyIPv4 {
				clear(b.Key[i].Addr[j][4:])
			}
		}
		if a.Key[i] != b.Key[i] {
			diffs = append(diffs, "key")
		}
	}
	note("af", a.AF, b.AF)
	note("proto", a.Proto, b.Proto)
	note("direction", a.Direction, b.Direction)
	note("peers", fmt.Sprint(a.Src.State, ":", a.Dst.State), fmt.Sprint(b.Src.State, ":", b.Dst.State))
	note("wscale", fmt.Sprint(a.Src.WScale, a.Dst.WScale), fmt.Sprint(b.Src.WScale, b.Dst.WScale))
	note("timeout", a.Timeout, b.Timeout)
	note("ifname", a.IfName.String(), b.IfName.String())
	note("flags", a.StateFlags&^syncproto.FlagSloppy, b.StateFlags)
	note("log", a.Log, b.Log)
	note("rt", a.Rt, b.Rt)
	note("rt_addr", a.RtAddr, b.RtAddr)
	note("max_mss", a.MaxMSS, b.MaxMSS)
	note("min_ttl", a.MinTTL, b.MinTTL)
	note("set_tos", a.SetTOS, b.SetTOS)
	note("set_prio", a.SetPrio, b.SetPrio)
	note("rtableid", a.RTableID, b.RTableID)
	note("sync_flags", a.SyncFlags, b.SyncFlags)
	if d := int64(a.Expire) - int64(b.Expire); d < -1 || d > 1 {
		note("expire", a.Expire, b.Expire)
	}
	return diffs
}
