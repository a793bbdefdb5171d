package daemon

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestGRELives: packets do not refresh a GRE entry that no packet has made, so
// that is done for them; it lives on after a takeover for as long as packets
// pass, and no longer.
func TestGRELives(t *testing.T) {
	life := uint32(10) // seconds
	if os.Getenv(nstest.MachineEnv) != "" {
		life = 40 // in emulation it could be over before the first look
	}
	p := newPair(t, nstest.Options{})
	for i, fw := range p.FW {
		fw.Sysctl(t, "net.netfilter.nf_conntrack_gre_timeout", fmt.Sprint(life))
		fw.Sysctl(t, "net.netfilter.nf_conntrack_gre_timeout_stream", fmt.Sprint(life))
		n := p.n[i]
		if err := n.loop.do(context.Background(), func() { n.loop.setKernel(n.kernelLimits()) }); err != nil {
			t.Fatal(err)
		}
	}
	serveTalk(t, p.Server, pfstate.ProtoGRE, nstest.ServerAddr, 0)
	c := openTalk(t, p.Client, pfstate.ProtoGRE, nstest.ServerAddr, 0)
	if err := c.ask("begun", patience/2); err != nil {
		t.Fatal(err)
	}
	line := []string{"gre", "47", "dst=" + nstest.ServerAddr}
	waitFlow(t, p.FW[1], true, "ipv4", line...)
	if got := p.FW[1].ReadSysctl(t, "net.netfilter.nf_conntrack_acct"); got != "0" {
		t.Errorf("nf_conntrack_acct is left at %s", got)
	}
	for _, fw := range p.FW {
		fw.Nft(t, knownRules)
	}
	p.Master(1)
	for round := range 2 {
		p.waitLeft(t, 1, 1, life*7/10)
		if err := c.ask(fmt.Sprint("round ", round), patience/6); err != nil {
			t.Fatal(err)
		}
		p.waitLeft(t, 1, life*8/10, life)
	}
	p.waitLeft(t, 1, 1, life*6/10) // nothing passes any more
}

// waitLeft lets a firewall look at its table until its GRE entry has from least
// to most seconds left.
func (p *pair) waitLeft(t *testing.T, i int, least, most uint32) {
	t.Helper()
	n := p.n[i]
	nstest.EventuallyNil(t, patience/2, func() error {
		n.look()
		flows := flowsOf(t, p.FW[i], pfstate.ProtoGRE)
		if len(flows) != 1 { // one is being made anew
			return fmt.Errorf("%d GRE entries", len(flows))
		}
		if got := flows[0].Timeout; got < least || got > most {
			return fmt.Errorf("%d seconds left", got)
		}
		return nil
	}, fmt.Sprintf("a GRE entry with %d to %d seconds left", least, most))
}

// look makes the daemon read the kernel's table now.
func (n *node) look() {
	n.t.Helper()
	err := n.loop.do(context.Background(), func() {
		if !n.loop.dump.outer.running {
			n.loop.startDump(true)
		}
	})
	if err != nil {
		n.t.Fatal(err)
	}
}
