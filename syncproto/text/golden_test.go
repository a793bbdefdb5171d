package text

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

var verbosity = []string{"", " -v", " -vv", " -vvv"}

// misread are cases that the systems' printers misread (README.md of the
// archive), so that their text is not ours. What ours is, the tests below say.
var misread = map[string]string{
	"openbsd6/bad-len-large":               "the length byte is ignored",
	"openbsd6/longer-messages":             "the length byte is ignored",
	"openbsd6/shorter-messages":            "the length byte is ignored",
	"openbsd6/skip-future-action":          "the printer stops at unknown actions",
	"openbsd6/skip-old-actions":            "the printer stops at retired actions",
	"openbsd6/key-af-both-zero":            "families of 0 are shown as IPv6",
	"freebsd-1301/tdb4":                    "TDB messages are not stepped over",
	"freebsd-1301/tdb6-two":                "TDB messages are not stepped over",
	"freebsd-1400/tdb4":                    "TDB messages are not stepped over",
	"freebsd-1400/tdb6-two":                "TDB messages are not stepped over",
	"freebsd-1500/tdb4":                    "TDB messages are not stepped over",
	"freebsd-1500/tdb6-two":                "TDB messages are not stepped over",
	"freebsd-1301/bad-ifname-unterminated": "the printer reads on behind the name",
	"freebsd-1400/bad-ifname-unterminated": "the printer reads on behind the name",
}

// textOf prints all packets of a case.
func textOf(t *testing.T, c *golden.Case, verbose int) string {
	t.Helper()
	var b []byte
	for i := range c.Packets {
		var ip IP
		frame, err := ParseIP(c.Packets[i].Data, &ip)
		if err != nil {
			t.Fatal(err)
		}
		if c.Dialect == "openbsd6" {
			b = AppendOpenBSD(b, &ip, frame, verbose)
		} else {
			b = AppendFreeBSD(b, &ip, frame, verbose)
		}
	}
	return string(b)
}

// TestGoldenText compares with the text of the systems' printers, line by
// line.
func TestGoldenText(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			if misread[d+"/"+c.Name] != "" {
				continue
			}
			t.Run(d+"/"+c.Name, func(t *testing.T) {
				n := 0
				for i, v := range verbosity {
					want, ok := c.Text[golden.Kernel(d)+" tcpdump -nt"+v]
					if !ok {
						continue
					}
					n++
					if diff := cmp.Diff(comparable1500(d, want), comparable1500(d, textOf(t, &c, i))); diff != "" {
						t.Errorf("%s (-want +got):\n%s", v, diff)
					}
				}
				if n < 3 {
					t.Errorf("%d texts", n)
				}
			})
		}
	}
}

// comparable1500 splits a text into lines. Of 1500 records it leaves out those
// with family, protocol and direction, which FreeBSD's printer reads from the
// place they have in a 1301 record; see TestState1500.
func comparable1500(dialect, s string) (lines []string) {
	for line := range strings.SplitSeq(s, "\n") {
		misread := strings.HasPrefix(line, "\t") && strings.Contains(line, " proto ") || strings.HasPrefix(line, "\t[")
		if dialect != "freebsd-1500" || !misread {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestState1500 compares the text of a 1500 record with that of the same
// values in a 1301 record, which TestGoldenText has compared with FreeBSD's.
func TestState1500(t *testing.T) {
	n := 0
	for _, c := range golden.Cases(t, "freebsd-1500") {
		for i := range c.Packets {
			for _, m := range states(&c.Packets[i]) {
				if m.AF != m.StackAF {
					continue // a 1301 record cannot tell two families
				}
				old := m
				got := string(AppendState(nil, syncproto.Format1500, &m, 3))
				if want := string(AppendState(nil, syncproto.Format1301, &old, 3)); got != want {
					t.Errorf("%s: %q, want %q", c.Name, got, want)
				}
				n++
			}
		}
	}
	if n < 100 {
		t.Errorf("%d states", n)
	}
}

// states returns the records of a frame.
func states(p *golden.Packet) (list []syncproto.State) {
	var r syncproto.Reader
	if r.Reset(p.Frame()) != nil {
		return nil
	}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		if reg.Action != syncproto.ActIns && reg.Action != syncproto.ActUpd {
			continue
		}
		for i := range reg.Whole() {
			var m syncproto.State
			if syncproto.ParseState(reg.Message(i), reg.Format, &m) == nil {
				list = append(list, m)
			}
		}
	}
	return list
}

// TestNAT64 spells out a 1500 record with two families.
func TestNAT64(t *testing.T) {
	for _, c := range golden.Cases(t, "freebsd-1500") {
		if c.Name != "nat46-in" {
			continue
		}
		m := states(&c.Packets[0])[0]
		k := &c.Packets[0].Regions[0].Messages[0].Key
		want := fmt.Sprintf("\t%s proto %d %s.%d (%s.%d) <- %s.%d (%s.%d)   ", m.IfName, m.Proto,
			k.Stack.Addr[0], k.Stack.Port[0], k.Wire.Addr[1], k.Wire.Port[1],
			k.Stack.Addr[1], k.Stack.Port[1], k.Wire.Addr[0], k.Wire.Port[0])
		if got := string(AppendState(nil, syncproto.Format1500, &m, 0)); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		return
	}
	t.Error("no case nat46-in")
}

// TestMisread says what the JSON says of the cases above: every message with
// its id, and TDBs with their values.
func TestMisread(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			if !c.Valid() || misread[d+"/"+c.Name] == "" {
				continue
			}
			t.Run(d+"/"+c.Name, func(t *testing.T) {
				var want []string
				for _, p := range c.Packets {
					for _, r := range p.Regions {
						for _, m := range r.Messages {
							want = append(want, wantLine(&r, &m)...)
						}
					}
				}
				var got []string
				for line := range strings.SplitSeq(textOf(t, &c, 2), "\n") {
					line = strings.TrimSpace(line)
					if strings.HasPrefix(line, "id: ") || strings.HasPrefix(line, "spi: ") {
						got = append(got, line)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

func wantLine(r *golden.Region, m *golden.Message) []string {
	switch {
	case m.Raw != "":
		return nil
	case r.Name == "TDB":
		return []string{fmt.Sprintf("spi: 0x%08x rpl: %d cur_bytes: %d", m.SPI, m.RPL, m.CurBytes)}
	}
	return []string{"id: " + m.ID + " creatorid: " + m.CreatorID}
}

// TestMisreadText spells out some of them.
func TestMisreadText(t *testing.T) {
	want := map[string]string{
		"key-af-both-zero": `192.168.254.254: PFSYNCv6 len 288
    act INS ST count 1
igc0 6 10.45.213.28:16873 -> 203.0.113.126:443    
   ESTABLISHED:ESTABLISHED
 (DF) [tos 0x10]
`,
		"bad-len-large": `192.168.254.254: PFSYNCv6 len 288
    act INS ST count 1
    ...
 (DF) [tos 0x10]
`,
		"skip-future-action": `192.168.254.254: PFSYNCv6 len 340
    act UNKNOWN id 16
    act INS ST count 1
em1 6 10.21.14.112:11535 -> 203.0.113.146:8443    
   ESTABLISHED:ESTABLISHED
 (DF) [tos 0x10]
`,
		"shorter-messages": `192.168.254.254: PFSYNCv6 len 288
    act INS ST count 1
    unimplemented action
    act DEL ST COMP count 1
	id: 646d61ea00000286 creatorid: 507041ab
 (DF) [tos 0x10]
`,
	}
	for _, c := range golden.Cases(t, "openbsd6") {
		if w := want[c.Name]; w != "" {
			if diff := cmp.Diff(strings.Split(w, "\n"), strings.Split(textOf(t, &c, 0), "\n")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.Name, diff)
			}
			delete(want, c.Name)
		}
	}
	if len(want) != 0 {
		t.Errorf("not there: %v", want)
	}
}
