package syncproto_test

import (
	"bytes"
	"errors"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

func versionOf(dialect string) uint8 {
	if dialect == "openbsd6" {
		return Version6
	}
	return Version5
}

// counterOf returns the counter of struct pfsyncstats that an error bumps.
func counterOf(err error) string {
	switch {
	case errors.Is(err, ErrShort):
		return "pfsyncs_hdrops"
	case errors.Is(err, ErrVersion):
		return "pfsyncs_badver"
	case errors.Is(err, ErrLength):
		return "pfsyncs_badlen"
	case errors.Is(err, ErrAction):
		return "pfsyncs_badact"
	case errors.Is(err, ErrValue):
		return "pfsyncs_badval"
	}
	return "none"
}

// wireCounters are those that this package decides.
var wireCounters = []string{"pfsyncs_hdrops", "pfsyncs_badver", "pfsyncs_badlen", "pfsyncs_badact", "pfsyncs_badval"}

// receive reads a frame as a receiver of one version does and counts; a Reader
// by itself takes both versions.
func receive(version uint8, frame []byte) (counters, iacts map[string]int, regions []Region) {
	counters, iacts = make(map[string]int), make(map[string]int)
	var r Reader
	err := r.Reset(frame)
	if v := r.Header().Version; err == nil && v != version {
		err = ErrVersion
	}
	if err != nil {
		counters[counterOf(err)]++
		return counters, iacts, nil
	}
	histogram := func(reg Region) {
		if int(reg.Raw) < WireActions5 {
			iacts[strconv.Itoa(int(reg.Raw))] += reg.Count
		}
	}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		regions = append(regions, reg)
		histogram(reg)
		if reg.Skip {
			continue
		}
		for i := range reg.Count {
			if err := checkValues(&reg, reg.Message(i)); err != nil {
				counters[counterOf(err)]++
			}
		}
	}
	if err := r.Err(); err != nil {
		counters[counterOf(err)]++
		histogram(r.Bad())
	}
	return counters, iacts, regions
}

func checkValues(reg *Region, b []byte) error {
	switch reg.Action {
	case ActUpdC:
		var m UpdC
		if err := ParseUpdC(b, &m); err != nil {
			return err
		}
		return m.Check(reg.Format)
	case ActIns, ActUpd:
		var m State
		if err := ParseState(b, reg.Format, &m); err != nil {
			return err
		}
		if reg.Action == ActIns {
			return m.CheckIns(reg.Format)
		}
		return m.CheckUpd(reg.Format)
	}
	return nil
}

// TestGoldenVerdict compares the counters that the wire decides with those of
// the kernel that the dialect is for.
func TestGoldenVerdict(t *testing.T) {
	eachPacket(t, func(t *testing.T, c *golden.Case, p *golden.Packet) {
		e := p.Expect[golden.Kernel(c.Dialect)]
		if e.Counters["pfsyncs_badttl"] > 0 {
			t.Log("dropped before the frame is looked at")
			return
		}
		want := make(map[string]int)
		for _, k := range wireCounters {
			if n := e.Counters[k]; n > 0 {
				want[k] = n
			}
		}
		for _, ev := range e.Events { // FreeBSD counts failed imports in badact
			if ev.Kind == "insert_failed" && want[ev.Counter] > 0 {
				if want[ev.Counter]--; want[ev.Counter] == 0 {
					delete(want, ev.Counter)
				}
			}
		}
		if e.Stopped == "undefined" { // OpenBSD reads on by accident, see Reader.Reset
			want = map[string]int{"pfsyncs_badlen": 1}
		}
		got, iacts, _ := receive(versionOf(c.Dialect), p.Frame())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		if e.IActs != nil {
			if diff := cmp.Diff(e.IActs, iacts); diff != "" {
				t.Errorf("iacts (-want +got):\n%s", diff)
			}
		}
	})
}

// TestGoldenRegions compares the regions that the Reader returns with those of
// the JSON: all of a valid frame, those before the fault of a malformed one.
func TestGoldenRegions(t *testing.T) {
	eachPacket(t, func(t *testing.T, c *golden.Case, p *golden.Packet) {
		counters, _, got := receive(versionOf(c.Dialect), p.Frame())
		stopped := counters["pfsyncs_badlen"]+counters["pfsyncs_badact"] > 0 // version 5: jumbo frames and DEL
		if c.Valid() && !stopped && len(got) != len(p.Regions) {
			t.Errorf("%d regions, want %d", len(got), len(p.Regions))
		}
		for i, g := range got[:min(len(got), len(p.Regions))] {
			w := &p.Regions[i]
			if g.Offset+p.IP.HeaderLen() != w.Offset || int(g.Raw) != w.Action || g.Count != w.Count ||
				int(g.Len) != w.LenDwords+w.Pad || WireName(uint8(p.Header.Version), g.Raw) != w.Name {
				t.Errorf("region %d: %+v, want %+v", i, g, w)
			}
			for j := range min(g.Whole(), len(w.Messages)) {
				at := g.Offset + SubheaderLen + j*g.Stride + p.IP.HeaderLen()
				if m := &w.Messages[j]; at != m.Offset || g.Stride != m.Length {
					t.Errorf("region %d message %d at %d length %d, want %d, %d", i, j, at, g.Stride, m.Offset, m.Length)
				}
			}
		}
	})
}

// TestGoldenRebuild makes the valid frames again with a Builder.
func TestGoldenRebuild(t *testing.T) {
	odd := map[string]int{ // not what a sender writes
		"header-only": 0, // version 5: without EOF
		"no-eof":      1,
		"count-large": 1, "jumbo": 1, // regions too large for version 5
		"longer-messages": 1, "shorter-messages": 1, "same-action-twice": 1, "subheader-pad-nonzero": 1,
		"skip-eof": 1, "skip-future-action": 1, "skip-old-actions": 1, "del-full": 1,
	}
	n := 0
	eachPacket(t, func(t *testing.T, c *golden.Case, p *golden.Packet) {
		if _, known := odd[c.Name]; known || !c.Valid() {
			return
		}
		frame := p.Frame()
		var w Builder
		var r Reader
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		w.Begin(nil, r.Header().Version, len(frame), &r.Header().Checksum)
		for reg, ok := r.Next(); ok; reg, ok = r.Next() {
			for i := range reg.Whole() {
				if !rebuild(&w, &reg, reg.Message(i)) {
					t.Fatalf("no room for message %d of region at %d", i, reg.Offset)
				}
			}
		}
		if got := w.End(); !bytes.Equal(got, frame) {
			t.Errorf("built:\n%x, want\n%x", got, frame)
		}
		n++
	})
	if n < 300 {
		t.Errorf("%d frames made again", n)
	}
}

// rebuild adds a message as it was read.
func rebuild(w *Builder, reg *Region, b []byte) bool {
	switch reg.Action {
	case ActClr:
		var m Clr
		return ParseClr(b, &m) == nil && w.AddClr(&m)
	case ActInsAck, ActUpdReq, ActDelC:
		var m ID
		return ParseID(b, &m) == nil && w.AddID(reg.Action, &m)
	case ActUpdC:
		var m UpdC
		return ParseUpdC(b, &m) == nil && w.AddUpdC(&m)
	case ActBus:
		var m Bus
		return ParseBus(b, &m) == nil && w.AddBus(&m)
	case ActTDB:
		var m TDB
		return ParseTDB(b, reg.Format, &m) == nil && w.AddTDB(&m)
	case ActIns, ActUpd, ActDel:
		var m State
		return ParseState(b, reg.Format, &m) == nil && w.AddState(reg.Action, reg.Format, &m)
	}
	return false
}

// TestGoldenMutated: no frame with one byte changed or cut makes the Reader
// return something outside of it.
func TestGoldenMutated(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			for _, p := range c.Packets {
				frame := bytes.Clone(p.Frame())
				for i := range min(len(frame), 64) {
					frame[i] ^= 0x55
					walk(t, frame)
					frame[i] ^= 0x55
					walk(t, frame[:i])
				}
			}
		}
	}
}

// walk checks what Reader promises of any frame.
func walk(t *testing.T, frame []byte) {
	t.Helper()
	var r Reader
	if err := r.Reset(frame); err != nil {
		if _, ok := r.Next(); ok {
			t.Fatal("a region of a frame that was refused")
		}
		return
	}
	last := HeaderLen
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		if reg.Offset != last || reg.Offset+SubheaderLen > len(frame) {
			t.Fatalf("region at %d of %d, want %d", reg.Offset, len(frame), last)
		}
		last = reg.Offset + SubheaderLen + reg.Count*reg.Stride
		if !reg.Skip && (len(reg.Data) != reg.Count*reg.Stride || reg.Stride < reg.Action.Length(reg.Format)) {
			t.Fatalf("region at %d is not whole", reg.Offset)
		}
		for i := range reg.Whole() {
			if len(reg.Message(i)) != reg.Stride {
				t.Fatal("message of wrong length")
			}
		}
	}
	if (r.Err() == nil) != (r.Bad().Offset == 0) {
		t.Fatalf("error %v, bad region %+v", r.Err(), r.Bad())
	}
}
