package text

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto/golden"
)

var verbosity = []string{"", " -v", " -vv", " -vvv"}

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

func TestGoldenText(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			t.Run(d+"/"+c.Name, func(t *testing.T) {
				for i, v := range verbosity {
					want, ok := c.Text[golden.Kernel(d)+" tcpdump -nt"+v]
					if !ok {
						continue
					}
					got := textOf(t, &c, i)
					if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
						t.Errorf("%s (-want +got):\n%s", v, diff)
					}
				}
			})
		}
	}
}
