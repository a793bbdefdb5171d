package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
	"github.com/pfsync/pfsync/syncproto/text"
)

// TestPFTextAgainstTcpdump prints every state of the recorded frames as pfctl
// does and compares with tcpdump's text of the same record. The two differ in
// known ways only: pfctl has names for protocols and no line break before the
// levels of TCP, and its verbose line goes on with the flags; the rest is in
// TestPFText.
func TestPFTextAgainstTcpdump(t *testing.T) {
	seen := 0
	for _, c := range golden.Cases(t, "openbsd6") {
		for _, p := range c.Packets {
			eachState(p.Frame(), func(w *syncproto.State) {
				s := fromWire(w)
				if !c.Valid() || otherInPfctl(&s) {
					return // tcpdump shows what is not allowed in ways of its own
				}
				var b bytes.Buffer
				if err := pfText(&b, &s, 2); err != nil {
					t.Fatal(err)
				}
				got := strings.SplitAfter(b.String(), "\n")
				want := strings.SplitAfter(string(text.AppendState(nil, syncproto.Format6, w, 2))+"\n", "\n")
				if diff := differ(w.Proto, got, want); diff != "" {
					t.Errorf("%s: %s\ngot  %q\nwant %q", c.Name, diff, got, want)
				}
				seen++
			})
		}
	}
	if seen < 100 {
		t.Errorf("only %d states compared", seen)
	}
}

// otherInPfctl reports whether pfctl and tcpdump disagree about a state: the
// levels of ICMPv6, the ends of translated families, and routing domains.
func otherInPfctl(s *control.State) bool {
	return s.Proto == protoICMPv6 || s.Key.Wire.AF != s.Key.Stack.AF || s.Key.Wire.RDomain != s.Key.Stack.RDomain
}

// TestPFText has what only pfctl prints so, by sbin/pfctl/pf_print_state.c.
func TestPFText(t *testing.T) {
	want := map[string]string{
		"ins-icmp6-in": "em1 ipv6-icmp 2001:db8:2::dbe9[128] <- 2001:db8:1:cdf4::91b0[8595]       0:0\n",
		"nat46-in":     "em0 udp 2001:db8:99::69[49450] (10.11.211.27:29444) -> 2001:db8:2::ee10[22] (203.0.113.222:22)       MULTIPLE:MULTIPLE\n",
		"nat64-in":     "em1 tcp 198.51.100.28:47956 (2001:db8:1:47fa::6315[27951]) -> 203.0.113.8:3306 (2001:db8:2::8281[3306])       ESTABLISHED:ESTABLISHED\n",
		"rdomain":      "em1 tcp (3) 10.20.152.9:29451 (10.20.152.9:29451) -> (3) 203.0.113.206:123 (203.0.113.206:123)       ESTABLISHED:ESTABLISHED\n",
	}
	for _, c := range golden.Cases(t, "openbsd6") {
		if want[c.Name] == "" {
			continue
		}
		var b bytes.Buffer
		eachState(c.Packets[0].Frame(), func(w *syncproto.State) {
			s := fromWire(w)
			if err := pfText(&b, &s, 0); err != nil {
				t.Error(err)
			}
		})
		if !strings.Contains(b.String(), want[c.Name]) {
			t.Errorf("%s: got\n%swant\n%s", c.Name, b.String(), want[c.Name])
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		t.Errorf("not among the recorded frames: %v", want)
	}
}

func eachState(frame []byte, f func(*syncproto.State)) {
	var r syncproto.Reader
	if r.Reset(frame) != nil {
		return
	}
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		for i := range reg.Whole() {
			var w syncproto.State
			if reg.Action == syncproto.ActIns && syncproto.ParseState(reg.Message(i), reg.Format, &w) == nil {
				f(&w)
			}
		}
	}
}

// differ compares the lines of pfctl with those of tcpdump.
func differ(proto uint8, got, want []string) string {
	head := want[0]
	want = want[1:]
	if proto == protoTCP { // levels stand on a line of their own
		head = strings.TrimSuffix(head, "\n") + want[0]
		want = want[1:]
	}
	g, w := strings.SplitN(got[0], " ", 3), strings.SplitN(head, " ", 3)
	if g[0] != w[0] || g[2] != w[2] {
		return "first line"
	}
	got = got[1:]
	for i := 0; i < len(want) && want[i] != ""; i++ {
		if !strings.HasPrefix(strings.TrimSuffix(got[i], "\n"), strings.TrimSuffix(want[i], "\n")) {
			return "line " + want[i]
		}
	}
	return ""
}

// TestHostileNames: what a peer puts in a name reaches no terminal as it is.
func TestHostileNames(t *testing.T) {
	const evil = "\x1b]0;owned\a\r\n\xff"
	s := control.State{IfName: evil, Helper: evil, Proto: 6}
	prints := map[string]func(*bytes.Buffer) error{
		"states":      func(b *bytes.Buffer) error { return pfText(b, &s, 2) },
		"states --ct": func(b *bytes.Buffer) error { return ctText(b, &s) },
	}
	for name, print := range prints {
		var b bytes.Buffer
		if err := print(&b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Bytes() {
			if c != '\n' && (c < ' ' || c >= 0x7f) {
				t.Errorf("%s prints byte %#x", name, c)
			}
		}
		if !strings.Contains(b.String(), `\^[]0;owned\^G\^M\^J\M^?`) {
			t.Errorf("%s: %q", name, b.String())
		}
	}
}
