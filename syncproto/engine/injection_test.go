package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
)

// injectionLine is a line of the file beside the capture of frames that were
// injected into a FreeBSD 12.1: the counters that its kernel moved.
type injectionLine struct {
	T        float64        `json:"t"`
	Kind     string         `json:"kind"`
	Step     string         `json:"step"`
	Test     string         `json:"test"`
	Counters map[string]int `json:"counters"`
}

// injectionDiffs are the steps in which we do otherwise than FreeBSD 12.1, and
// why.
var injectionDiffs = map[string]struct{ diff, why string }{
	"INS timeout=20 (PFTM_MAX)":         {"badval 0, kernel 1", "the timeouts of FreeBSD 14 and later are known"},
	"INS version 6":                     {"badlen 1, kernel 0; badver 0, kernel 1", "both versions are understood; this is version 5 under the other number"},
	"DEL (full record)":                 {"badact 1, kernel 0", "FreeBSD's rule since 14, where nobody sends it"},
	"UPD_C for an unknown id":           {"out.upd_req 1, kernel 0", "asked for at once; 12.1 lets the request lie in its queue (pfsync-protocol.md section 12.2)"},
	"unknown action 13 first, then INS": {"badact 0, kernel 1", "the records of FreeBSD 14 are known"},
}

// injected is one step: what was sent to the kernel, and what it did.
type injected struct {
	name   string
	begin  int64
	frames []capture.Packet
	want   map[string]int
}

func injections(t *testing.T) (steps []injected) {
	files, err := captureFiles()
	if err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(bytes.NewReader(files["40-injection.jsonl"]))
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		var l injectionLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		switch l.Kind {
		case "step":
			steps = append(steps, injected{name: l.Step, begin: nanos(l.T)})
		case "result":
			steps[len(steps)-1].want = l.Counters
		}
	}
	for p, err := range capture.Packets(bytes.NewReader(files["40-injection.pcap"])) {
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(steps, func(s injected) bool { return s.begin > p.Time.UnixNano() }) - 1
		if at == -2 {
			at = len(steps) - 1
		}
		if at >= 0 && p.IP.Src == vmAddr(100) {
			steps[at].frames = append(steps[at].frames, p)
		}
	}
	return steps
}

// inject does one step and returns counters in the words of the kernel.
func (g *rig) inject(s *injected) map[string]int {
	before, out := g.e.Stats.Count, g.e.Stats.Out
	got := map[string]int{}
	g.pass(2 * second) // as it was, about
	for _, p := range s.frames {
		g.now += milli
		if p.IP.TTL != syncproto.TTL {
			got["badttl"]++ // the daemon looks at that
			continue
		}
		g.hear(p.IP.Src, p.Frame)
		g.says(100 * milli)
	}
	for c := range Counters {
		if n := int(g.count(c) - before[c]); n > 0 && c != CountIPackets && c != CountOPackets {
			got[c.String()] += n
		}
	}
	for _, a := range []syncproto.Action{syncproto.ActInsAck, syncproto.ActUpd, syncproto.ActUpdC, syncproto.ActUpdReq, syncproto.ActBus, syncproto.ActDelC, syncproto.ActIns} {
		if n := int(g.e.Stats.Out[a] - out[a]); n > 0 {
			got["out."+strings.ToLower(a.String())] += n
		}
	}
	return got
}

// differ tells which counters are not the same.
func (s *injected) differ(got map[string]int) string {
	all := maps.Clone(got)
	maps.Copy(all, s.want)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, "in.") || k == "ipackets" || k == "opackets" || k == "out.eof" || got[k] == s.want[k] {
			continue
		}
		out = append(out, fmt.Sprintf("%s %d, kernel %d", k, got[k], s.want[k]))
	}
	return strings.Join(out, "; ")
}

// TestInjection sends what was injected into a kernel and compares counters and
// answers; TestCaptures compares the tables.
func TestInjection(t *testing.T) {
	var g *rig
	n := 0
	for _, s := range injections(t) {
		if s.want == nil || len(s.frames) == 0 {
			t.Errorf("%s: %d frames", s.name, len(s.frames))
			continue
		}
		if g == nil || !builds(s.name) {
			g = newRig(t, func(c *Config) { c.Format, c.HostID = syncproto.Format1301, 0xf12b5d01 })
		}
		n++
		if got := s.differ(g.inject(&s)); got != injectionDiffs[s.name].diff {
			t.Errorf("%s: %s, want %q", s.name, got, injectionDiffs[s.name].diff)
		}
	}
	if n < 48 {
		t.Errorf("%d steps", n)
	}
}
