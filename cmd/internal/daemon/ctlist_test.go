package daemon

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// listed are entries of every kind that conntrack(8) can make.
var listed = []string{
	"-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -u ASSURED,SEEN_REPLY",
	"-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 3 --dport 2 --state SYN_SENT -m 5",
	"-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 4 --dport 2 --state CLOSE_WAIT -u ASSURED,SEEN_REPLY",
	"-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 31 --dport 2 --state ESTABLISHED --src-nat 192.0.2.1",
	"-s 10.0.0.1 -d 192.0.2.1 -p tcp --sport 32 --dport 2 --state ESTABLISHED --dst-nat 10.0.0.9:8080",
	"-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 3 --dport 2 -w 3 -m 17",
	"-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 4 --dport 2 -u SEEN_REPLY",
	"-s 10.0.0.1 -d 10.0.0.2 -p udplite --orig-port-src 5 --orig-port-dst 6",
	"-s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
	"-s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 13 --icmp-code 0 --icmp-id 78 -u SEEN_REPLY",
	"-s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 1 --dstkey 0x2f00",
	"-s 10.0.0.1 -d 10.0.0.2 -p sctp --orig-port-src 5 --orig-port-dst 6 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
	"-s 10.0.0.1 -d 10.0.0.2 -p dccp --orig-port-src 5 --orig-port-dst 6 --state OPEN --role client",
	"-s 10.0.0.1 -d 10.0.0.2 -p esp",
	"-s 10.0.0.1 -d 10.0.0.2 -p 89",
	"-s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -u ASSURED,SEEN_REPLY",
	"-s 2001:db8::1 -d 2001:db8::2 -p udp --sport 1 --dport 2",
	"-s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 99 -u SEEN_REPLY",
}

// passing are what changes between two looks: seconds left, users of an entry.
var passing = regexp.MustCompile(`^(\S+ +\d+) \d+|use=\d+`)

func list(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			lines = append(lines, passing.ReplaceAllString(line, "$1"))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestStatesAsConntrack: states --ct is what conntrack -L prints, byte for byte
// but for what passes with time.
func TestStatesAsConntrack(t *testing.T) {
	bed := nstest.New(t)
	bed.Need("conntrack", "nft")
	ns := bed.NS("fw1")
	h := newHost(t, ns)
	// Something has to use conntrack, or there is none here.
	h.Run(t, "nft", "add table inet t; add chain inet t c { type filter hook forward priority 0; }; add rule inet t c ct state established accept")
	for _, args := range listed {
		h.Run(t, append([]string{"conntrack", "-I", "-t", "100000"}, strings.Fields(args)...)...)
	}
	h.ctl("pfsync0", "create")
	nstest.Eventually(t, patience, func() bool { return len(list(h.ctl("pfsync0", "states", "--ct"))) >= len(listed) }, "all entries")
	// Some versions list both families at once, some one.
	want := slices.Compact(list(h.Run(t, "sh", "-c", "(conntrack -L; conntrack -L -f ipv6) 2>/dev/null")))
	got := list(h.ctl("pfsync0", "states", "--ct"))
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			t.Errorf("more:\n%s", got[i])
		case i >= len(got):
			t.Errorf("less:\n%s", want[i])
		case want[i] != got[i]:
			t.Errorf("conntrack -L\n%s\nstates --ct\n%s", want[i], got[i])
		}
	}
	if len(want) != len(listed) {
		t.Errorf("%d entries, %d made", len(want), len(listed))
	}
}
