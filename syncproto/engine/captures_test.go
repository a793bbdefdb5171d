package engine

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
)

// testdata/captures.txt says where the archive is from.
//
//go:embed testdata/captures.tar.gz
var capturesArchive []byte

var captureFiles = sync.OnceValues(func() (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(capturesArchive))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
})

// sideLine is one line of the file beside a capture.
type sideLine struct {
	T      float64         `json:"t"`
	Step   string          `json:"step"`
	Kind   string          `json:"kind"`
	VM     int             `json:"vm"`
	Before float64         `json:"t_before"`
	After  float64         `json:"t_after"`
	States json.RawMessage `json:"states"`
}

// rawState is a record as DIOCGETSTATES gave it.
type rawState struct {
	Raw string `json:"raw"`
}

// kernelTable is one look at a kernel's own table.
type kernelTable struct {
	vm            int
	before, after int64
	held          int                             // states in it
	open          map[pfstate.ID]*syncproto.State // not yet equal to ours
	strangers     map[pfstate.ID]bool             // ours that the kernel never had; nil before the first look
	why           map[pfstate.ID]string
	place         uint32 // the machine whose place we take, 0 none
}

// A change may wait a second to be sent, and pf's timers tick; in the window
// around a look ours must once be as the kernel's.
const (
	lookBefore = 100 * milli
	lookAfter  = int64(1600 * milli)
)

func nanos(t float64) int64 { return int64(t*1e6) * 1000 }

// builds reports whether a step of the injection goes on with the table of the
// one before.
func builds(step string) bool {
	for _, p := range []string{"UPD_C", "UPD (full) known", "UPD_REQ", "bulk request", "DEL_C", "CLR"} {
		if strings.HasPrefix(step, p) {
			return true
		}
	}
	return false
}

// captureFormat is what the machines of a capture speak: o is OpenBSD.
func captureFormat(name string) syncproto.Format {
	if name[0] == 'o' {
		return syncproto.Format6
	}
	return syncproto.Format1301
}

// readTables returns the looks at tables, and when each step that begins with
// an empty one began.
func readTables(t *testing.T, b []byte, f syncproto.Format) (list []*kernelTable, steps []int64) {
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		var l sideLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Kind == "step" && !builds(l.Step) {
			steps = append(steps, nanos(l.T))
		}
		if l.Kind != "states" {
			continue
		}
		k := &kernelTable{vm: l.VM, before: nanos(l.Before), after: nanos(l.After), open: map[pfstate.ID]*syncproto.State{}, why: map[pfstate.ID]string{}}
		var states []rawState
		if err := json.Unmarshal(l.States, &states); err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			raw, err := hex.DecodeString(s.Raw)
			if err != nil {
				t.Fatal(err)
			}
			var st syncproto.State
			if err := syncproto.ParseState(raw, f, &st); err != nil {
				t.Fatal(err)
			}
			k.open[pfstate.ID(st.StateID())] = &st
		}
		k.held = len(k.open)
		list = append(list, k)
	}
	return list, steps
}

// look compares the replay with the kernel's table as far as it is open.
func (k *kernelTable) look(now int64, rp *Replay, f syncproto.Format) {
	ours := map[pfstate.ID]*syncproto.State{}
	list := rp.States(now, nil)
	for i := range list {
		ours[pfstate.ID(list[i].StateID())] = &list[i]
	}
	first := k.strangers == nil
	if first {
		k.strangers = map[pfstate.ID]bool{}
		for id := range ours {
			k.strangers[id] = k.open[id] == nil
		}
	}
	for id, stranger := range k.strangers {
		if stranger && ours[id] == nil {
			k.strangers[id] = false
		}
	}
	for id, st := range k.open {
		o := ours[id]
		if o == nil && k.place != 0 && id.CreatorID&0xff == k.place {
			continue // its own, and nobody has told it of it
		}
		if o == nil {
			k.why[id] = "missing"
			continue
		}
		if k.why[id] = differs(st, o, f); k.why[id] == "" {
			delete(k.open, id)
			delete(k.why, id)
		}
	}
}

// differs names the first field in which the kernel's state and ours are
// different; "" if none is.
func differs(k, o *syncproto.State, f syncproto.Format) string {
	n := 16
	if k.AF == syncproto.FamilyIPv4 {
		n = 4
	}
	for i := range k.Key {
		for j := range 2 {
			if !bytes.Equal(k.Key[i].Addr[j][:n], o.Key[i].Addr[j][:n]) {
				return "addr"
			}
		}
		port := o.Key[i].Port
		if f == syncproto.Format1301 && (k.Proto == pfstate.ProtoICMP || k.Proto == pfstate.ProtoICMPv6) {
			dst := 1 // FreeBSD tells the id twice
			if o.Direction == syncproto.DirOut {
				dst = 0
			}
			port[dst] = port[1-dst]
		}
		if k.Key[i].Port != port {
			return "port"
		}
	}
	left := int64(k.Expire) - int64(o.Expire)
	switch {
	case (k.AF == syncproto.FamilyIPv4) != (o.AF == syncproto.FamilyIPv4):
		return "af"
	case k.Proto != o.Proto:
		return "proto"
	case k.Direction != o.Direction:
		return "direction"
	case k.Timeout != o.Timeout:
		return fmt.Sprintf("timeout %d, ours %d", k.Timeout, o.Timeout)
	case !samePeer(&k.Src, &o.Src):
		return fmt.Sprintf("src %+v, ours %+v", k.Src, o.Src)
	case !samePeer(&k.Dst, &o.Dst):
		return fmt.Sprintf("dst %+v, ours %+v", k.Dst, o.Dst)
	case k.StateFlags&^syncproto.FlagAck != o.StateFlags:
		return fmt.Sprintf("flags %x, ours %x", k.StateFlags, o.StateFlags)
	case strings.TrimRight(string(k.IfName[:]), "\x00") != strings.TrimRight(string(o.IfName[:]), "\x00"):
		return "ifname"
	case left < -4 || left > 4:
		return fmt.Sprintf("expire %d, ours %d", k.Expire, o.Expire)
	}
	return ""
}

func samePeer(k, o *syncproto.Peer) bool {
	a, b := *k, *o
	a.Pad, b.Pad = [6]byte{}, [6]byte{}
	a.ScrubFlags &= 1
	return a == b
}

// replayCapture feeds a capture and compares at every look. With place, we are
// put in the place of that machine: what it sent is left out, and the looks are
// those at its table.
func replayCapture(t *testing.T, name string, place int) (rp *Replay, tables []*kernelTable) {
	files, err := captureFiles()
	if err != nil {
		t.Fatal(err)
	}
	format := captureFormat(name)
	tables, steps := readTables(t, files[name+".jsonl"], format)
	if place != 0 {
		tables = placed(tables, place)
	}
	flushed := strings.Contains(name, "injection") // before each step, without telling
	todo := slices.Clone(tables)
	var open []*kernelTable
	after := lookAfter
	if flushed {
		after = 0
	}
	advance := func(now int64) {
		for len(todo) > 0 && todo[0].before-lookBefore <= now {
			todo[0].look(todo[0].before, rp, format)
			open = append(open, todo[0])
			todo = todo[1:]
		}
		open = slices.DeleteFunc(open, func(k *kernelTable) bool { return k.after+after < now })
	}
	var last int64
	for p, err := range capture.Packets(bytes.NewReader(files[name+".pcap"])) {
		if err != nil {
			t.Fatal(err)
		}
		now := p.Time.UnixNano()
		if rp == nil {
			rp = NewReplay(now)
		}
		advance(now)
		for flushed && len(steps) > 0 && steps[0] <= now {
			rp, steps = NewReplay(now), steps[1:]
		}
		if p.IP.TTL == syncproto.TTL && (place == 0 || p.IP.Src != vmAddr(place)) {
			rp.Frame(now, p.IP.Src, p.Frame)
		}
		last = now
		for _, k := range open {
			k.look(now, rp, format)
		}
	}
	advance(last + 1e6*second)
	return rp, tables
}

// report lists what stayed different, in an order and without names.
func report(tables []*kernelTable) (out []string) {
	for i, k := range tables {
		for id, why := range k.why {
			out = append(out, fmt.Sprintf("vm %d: %s: look %d: %s", k.vm, why, i, id))
		}
		for id, stranger := range k.strangers {
			if stranger {
				out = append(out, fmt.Sprintf("vm %d: ours only: look %d: %s", k.vm, i, id))
			}
		}
	}
	sort.Strings(out)
	return out
}

func captureNames(t *testing.T) (names []string) {
	files, err := captureFiles()
	if err != nil {
		t.Fatal(err)
	}
	for f := range files {
		if n, ok := strings.CutSuffix(f, ".pcap"); ok {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

// captureDiff is what stays different after a capture.
type captureDiff struct {
	capture string
	what    string // part of the line, without the name of the state
	n       int
	why     string
}

// Reasons that several captures share.
const (
	notWhole    = "the capture begins or ends in the middle: what was made before or changed after is not in it"
	multicast   = "states of the machine's own multicast are never synchronised"
	restarted   = "pf restarts the whole timeout at a full update of a state that it has; we take the time that the update tells"
	laterWins   = "of two names that one creator gives to a connection the higher is the later; pf keeps the first and is deaf for the second"
	notAskedYet = "the other machine asks for the table only later, or has flushed it; the replay hears all from the start"
)

// captureDiffs lists all of them: by nature, or on purpose.
var captureDiffs = []captureDiff{
	{"00-tcp4-bulk-request-unanswered", "vm 1: missing", 8, "half of the states never left the sender (pfsync-protocol.md section 12.2)"},
	{"05-tcp6-fin", "vm 1: missing", 50, multicast},
	{"07-icmp6", "vm 1: missing", 3, multicast},
	{"07-icmp6", "vm 1: ours only", 2, notWhole},
	{"17-vm-own-traffic", "vm 1: missing", 3, multicast},
	{"21-two-vms-bulk", "vm 2: ours only", 60, notAskedYet},
	{"21-two-vms-bulk", "vm 1: timeout 5, ours 2", 2, notWhole},
	{"26-two-vms-100-flows", "vm 1: expire", 13, restarted},
	{"40-injection", "vm 1: dst {", 1, "FreeBSD overwrites a stale destination half if the other is not (pfsync-protocol.md section 20, 14); here it stays"},
	{"40-injection", "vm 1: ours only: look 5:", 1, "a kernel entry is bound to no interface, so an unknown one does not matter"},
	{"40-injection", "vm 1: ours only: look 7:", 1, "the same: no interface at all"},
	{"40-injection", "vm 1: missing: look 11:", 1, laterWins},
	{"40-injection", "vm 1: ours only: look 11:", 1, laterWins},
	{"40-injection", "vm 1: ours only: look 47:", 1, "actions 13 and 14 are known, as in FreeBSD 14; 12.1 ends the frame there"},
	{"40-injection", "vm 1: ours only: look 15:", 1, "the timeouts of FreeBSD 14 and later are known; 12.1 has fewer"},
	{"40-injection", "vm 1: ours only: look 45:", 1, "a CLR with an interface ends only the states bound to it; 12.1 ends all of the creator"},
	{"o10-tcp4-modulate", "vm 1: missing", 9, notWhole},
	{"o21-two-vms-bulk", "vm 2: ours only", 88, notAskedYet},
	{"o21-two-vms-bulk", "vm 1: timeout 5, ours 2", 2, notWhole},
	{"o21-two-vms-bulk", "vm 2: timeout 5, ours 2", 2, notWhole},
	{"o26-two-vms-100-flows", "vm 1: expire", 5, restarted},
}

// TestCaptures replays what real kernels sent and compares our table with the
// one that the kernels themselves had.
func TestCaptures(t *testing.T) {
	var captures, looks, states, differ [2]int // FreeBSD, OpenBSD
	for _, name := range captureNames(t) {
		t.Run(name, func(t *testing.T) {
			_, tables := replayCapture(t, name, 0)
			lines := report(tables)
			judge(t, name, lines, captureDiffs)
			kind := 0
			if captureFormat(name) == syncproto.Format6 {
				kind = 1
			}
			captures[kind]++
			looks[kind] += len(tables)
			differ[kind] += len(lines)
			for _, k := range tables {
				states[kind] += k.held
			}
		})
	}
	for kind, name := range []string{"FreeBSD 12.1", "OpenBSD"} {
		t.Logf("%s: %d captures, %d looks at tables of %d states in all, %d differences", name, captures[kind], looks[kind], states[kind], differ[kind])
	}
}

// judge compares what stayed different with the list of what may.
func judge(t *testing.T, name string, lines []string, diffs []captureDiff) {
	t.Helper()
	left := map[int]int{}
	for _, line := range lines {
		k := slices.IndexFunc(diffs, func(d captureDiff) bool { return d.capture == name && strings.Contains(line, d.what) })
		if k < 0 {
			t.Error(line)
		}
		left[k]++
	}
	for k, d := range diffs {
		if d.capture == name && left[k] != d.n {
			t.Errorf("%d times %q, want %d", left[k], d.what, d.n)
		}
	}
}
