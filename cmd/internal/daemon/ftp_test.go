package daemon

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// ftpRules let a helper read in connections to port 21, and let pass only these
// and what they announce.
var ftpRules = helperRules("ftp", "tcp", 21, "tcp tcp dport != 21")

// TestFTP: a data connection that was announced through one firewall is let
// through by the other, passive and active, translated or not; a transfer under
// way goes on; and the helper there reads what is announced next, and again
// after the way back.
func TestFTP(t *testing.T) {
	p := newNatted(t, ftpRules)
	for _, tt := range []struct {
		name          string
		asked, served string
		active        bool
		more          bool // only where there is time
	}{
		{"plain passive", nstest.ServerAddr, nstest.ServerAddr, false, false},
		{"plain active", nstest.ServerAddr, nstest.ServerAddr, true, true},
		{"ipv6 passive", nstest.ServerAddr6, nstest.ServerAddr6, false, true},
		{"ipv6 active", nstest.ServerAddr6, nstest.ServerAddr6, true, false},
		{"snat passive", "10.0.2.11", "10.0.2.11", false, true},
		{"snat active", "10.0.2.11", "10.0.2.11", true, false},
		{"dnat passive", "192.0.2.14", "10.0.2.14", false, false},
		{"dnat active", "192.0.2.14", "10.0.2.14", true, true},
		{"both passive", "192.0.2.16", "10.0.2.16", false, true},
		{"both active", "192.0.2.16", "10.0.2.16", true, true},
	} {
		if tt.more && os.Getenv("PFSYNC_TEST_ALL") == "" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) { p.ftp(t, tt.asked, tt.served, tt.active) })
	}
}

func (p *pair) ftp(t *testing.T, asked, served string, active bool) {
	p.move(t, 0)
	srv := newFTPServer(t, p.Server, served)
	f := newFTPClient(t, p.Client, asked)
	for step, to := range []int{1, 0, 1} {
		port := f.announce(active)
		p.waitExpect(t, to, true, port)
		p.move(t, to)
		c, err := f.begin()
		if err != nil {
			t.Fatalf("step %d: the announced connection: %v", step, err)
		}
		p.waitChild(t, 1-to, port)
		p.move(t, 1-to)
		srv.half <- struct{}{}
		if err := f.half(c, 1); err != nil {
			t.Fatalf("step %d: the rest of the transfer: %v", step, err)
		}
		f.expect("226")
		for i := range p.FW {
			p.waitExpect(t, i, false, port)
		}
		p.move(t, to)
		f.ask("200", "NOOP") // a helper that missed a line reads from the next one on
	}
	// The last transfer was begun here, and the other firewall heard of it: its
	// helper is ready for the first line.
	port := f.announce(active)
	p.waitExpect(t, 0, true, port)
	p.waitExpect(t, 1, true, port)
	p.move(t, 0)
	port = f.announce(active)
	p.waitExpect(t, 1, true, port)
	for i := range p.FW {
		if n := p.Invalid(i); n > 0 {
			t.Errorf("%d invalid packets at firewall %d", n, i)
		}
	}
}

// expectations are those of a kernel, a line each.
func expectations(t *testing.T, ns *nstest.NS) []string {
	t.Helper()
	out := ns.Run(t, "conntrack", "-L", "expect") + ns.Run(t, "conntrack", "-L", "expect", "-f", "ipv6")
	return strings.Split(out, "\n")
}

// waitExpect waits until a firewall expects, or no longer expects, a connection
// to a port. Of a translated one the firewall may have chosen another port.
func (p *pair) waitExpect(t *testing.T, i int, there bool, port string) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		var found string
		for _, l := range expectations(t, p.FW[i]) {
			if containsAll(l, []string{"dport=" + port}) {
				found = l
			}
		}
		if (found != "") != there {
			return fmt.Errorf("%s expects %q", p.FW[i].Name(), strings.Join(expectations(t, p.FW[i]), "\n"))
		}
		return nil
	}, fmt.Sprintf("expectation of port %s at firewall %d: %t", port, i, there))
}

// waitChild waits until a firewall has the announced connection, with the one
// that announced it.
func (p *pair) waitChild(t *testing.T, i int, port string) {
	t.Helper()
	nstest.EventuallyNil(t, patience, func() error {
		var n uint16
		fmt.Sscan(port, &n)
		f := entry(t, p.FW[i], n)
		if f.Master.Tuple.DstPort != 21 || f.Status&2 == 0 {
			return fmt.Errorf("%+v", f)
		}
		return nil
	}, fmt.Sprintf("connection to port %s at firewall %d", port, i))
}
