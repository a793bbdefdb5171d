package wireshark

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto/golden"
)

// verdicts are the expert fields that are named after counters of a receiver.
var verdicts = []string{"hdrops", "badver", "badlen", "badact", "badval", "badttl"}

// prefixed returns the names with "pfsync." before them.
func prefixed(names []string) []string {
	list := make([]string, len(names))
	for i, s := range names {
		list[i] = "pfsync." + s
	}
	return list
}

// TestGolden compares all fields of the valid recorded packets, and of all the
// counters that a receiver would bump.
func TestGolden(t *testing.T) {
	for _, d := range golden.Dialects {
		t.Run(d, func(t *testing.T) {
			var names []string
			var list []*golden.Packet
			var want []wanted
			fields := make(map[string]bool)
			c := capture{link: linkRaw}
			for _, kase := range golden.Cases(t, d) {
				for i := range kase.Packets {
					w, p := make(wanted), &kase.Packets[i]
					// The JSON has no fields of the other record in other-versions.
					if kase.Valid() && !strings.HasPrefix(kase.Name, "other-versions") {
						w.packet(t, p)
					}
					for f := range w {
						fields[f] = true
					}
					names, want, list = append(names, kase.Name+"/"+strconv.Itoa(i)), append(want, w), append(list, p)
					c.packets = append(c.packets, p.Data)
				}
			}
			asked := slices.Sorted(maps.Keys(fields))
			got := dissect(t, &c, slices.Concat(asked, prefixed(verdicts)))
			for i, name := range names {
				t.Run(name, func(t *testing.T) {
					if len(want[i]) > 0 {
						compare(t, asked, want[i], got[i])
					}
					compareCounters(t, d, list[i], got[i].counts(verdicts))
				})
			}
		})
	}
}

func compare(t *testing.T, fields []string, want wanted, got values) {
	t.Helper()
	for _, f := range fields {
		if w := strings.Join(want[f], valueSep); w != got[f] {
			t.Errorf("%s: %q, want %q", f, got[f], w)
		}
	}
}

// compareCounters compares what is marked in a packet with what the kernel
// counts.
func compareCounters(t *testing.T, dialect string, p *golden.Packet, got map[string]int) {
	t.Helper()
	e := p.Expect[golden.Kernel(dialect)]
	frame := p.Frame()
	if len(frame) == 0 || e.Counters["pfsyncs_badver"] > 0 && (frame[0] == 5 || frame[0] == 6) {
		return // not handed to the script; the other version, which it also knows
	}
	want := make(map[string]int)
	for _, name := range verdicts {
		if n := e.Counters["pfsyncs_"+name]; n > 0 {
			want[name] = n
		}
	}
	for _, ev := range e.Events { // FreeBSD counts failed imports in badact
		if name := strings.TrimPrefix(ev.Counter, "pfsyncs_"); ev.Kind == "insert_failed" && want[name] > 0 {
			if want[name]--; want[name] == 0 {
				delete(want, name)
			}
		}
	}
	if e.Stopped == "undefined" { // OpenBSD reads on by accident
		want = map[string]int{"badlen": 1}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marked (-want +got):\n%s", diff)
	}
}

// TestUserLink reads frames that begin with the pfsync header, by the option
// that the script's head tells.
func TestUserLink(t *testing.T) {
	c := capture{link: linkUser}
	for _, kase := range golden.Cases(t, "openbsd6") {
		if kase.Valid() {
			c.packets = append(c.packets, kase.Packets[0].Frame())
		}
	}
	option := regexp.MustCompile(`-o '(uat:user_dlts:.*)'`).FindSubmatch(script(t))
	if option == nil {
		t.Fatal("the script does not tell the option")
	}
	for i, v := range dissect(t, &c, prefixed([]string{"version", "len"}), "-o", string(option[1])) {
		if n := strconv.Itoa(len(c.packets[i])); v["pfsync.version"] != "6" || v["pfsync.len"] != n {
			t.Errorf("packet %d: %v, want length %s", i, v, n)
		}
	}
}

func script(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("pfsync.lua")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFilters tries the filters that the script's head lists: tshark refuses
// those with a field that is not there.
func TestFilters(t *testing.T) {
	head, _, _ := strings.Cut(string(script(t)), "-- A capture made")
	_, head, _ = strings.Cut(head, "Some filters:")
	var filters []string
	for line := range strings.Lines(head) {
		if f, ok := strings.CutPrefix(line, "--\t"); ok {
			f, _, _ = strings.Cut(f, "   ")
			filters = append(filters, "("+strings.TrimSpace(f)+")")
		}
	}
	if len(filters) < 8 {
		t.Fatalf("filters: %q", filters)
	}
	c := capture{link: linkRaw}
	for _, kase := range golden.Cases(t, "openbsd6") {
		c.packets = append(c.packets, kase.Packets[0].Data)
	}
	file := c.write(t)
	if out := tshark(t, file, "-Y", strings.Join(filters, " or ")); out == "" {
		t.Error("the filters select nothing")
	}
}
