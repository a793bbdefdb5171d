package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// verifyPoll is how often the daemon is asked how far it is.
const verifyPoll = 200 * time.Millisecond

func (a *app) verifyCommand() *cobra.Command {
	var timeout float64
	c := &cobra.Command{
		Use:   "verify [peer]",
		Short: "compare the table with those of the peers, and heal what differs; exit 5 if something did",
		RunE: func(_ *cobra.Command, args []string) error {
			peer, err := verifyPeer(args)
			if err != nil {
				return err
			}
			limit, err := timeoutOf(timeout)
			if err != nil {
				return err
			}
			return a.verify(peer, limit)
		},
	}
	c.Flags().Float64VarP(&timeout, "timeout", "t", 0, "`seconds` to wait at most; 0: as long as it takes")
	return c
}

// verifyPeer reads the argument, an address or nothing.
func verifyPeer(args []string) (peer netip.Addr, err error) {
	switch len(args) {
	case 0:
		return netip.Addr{}, nil
	case 1:
		if peer, err = netip.ParseAddr(args[0]); err != nil {
			return peer, usage("verify: %s: not an address; see 'pfsyncctl pfsync0 peers'", args[0])
		}
		return peer, nil
	}
	return peer, usage("verify: takes one peer: %s", args[1])
}

// verify begins, waits for the end, and prints what was found.
func (a *app) verify(peer netip.Addr, timeout time.Duration) error {
	ctx, cancel := a.within(timeout)
	defer cancel()
	c := a.client()
	defer c.Close()
	if err := c.Verify(ctx, peer); err != nil {
		return a.gone(err)
	}
	p := progress{app: a, line: isTerminal(a.err), what: "verify"}
	v, err := a.verified(ctx, c, &p)
	p.end()
	if err != nil {
		return err
	}
	if a.json {
		if err := a.out.object(v); err != nil {
			return err
		}
	} else {
		a.printVerification(&v)
	}
	return verdict(&v)
}

// verified waits for the end.
func (a *app) verified(ctx context.Context, c *control.Client, p *progress) (control.Verification, error) {
	for {
		v, err := c.Verified(ctx)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			return v, fail(codeTimeout, "not verified in time: %s", p.last)
		case err != nil && ctx.Err() != nil:
			return v, errStopped
		case err != nil:
			return v, a.gone(err)
		case !v.Running:
			return v, nil
		}
		p.show(verifyProgress(&v))
		select {
		case <-ctx.Done():
		case <-time.After(verifyPoll):
		}
	}
}

// verifyProgress is what is going on right now.
func verifyProgress(v *control.Verification) string {
	for _, p := range v.Peers {
		if p.Outcome == control.VerifyRunning {
			return fmt.Sprintf("%s %d%%", p.Addr, p.Percent)
		}
	}
	return "waiting until in sync"
}

// kindTexts say where a difference was, with the peer's address for %s.
var kindTexts = map[string]string{
	"missing here":    "%s had it, it was missing here",
	"missing there":   "it was missing on %s",
	"contents":        "it was different on %s",
	"refused here":    "%s has it, the kernel here did not take it",
	"refused there":   "the kernel of %s did not take it",
	"named otherwise": "it had another name on %s",
	"gone here":       "it was gone from the kernel here, unnoticed",
	"changed here":    "it had changed in the kernel here, unnoticed",
	"new here":        "it was in the kernel here, unnoticed",
	"gone there":      "it was gone from the kernel of %s, unnoticed",
	"changed there":   "it had changed in the kernel of %s, unnoticed",
	"new there":       "it was in the kernel of %s, unnoticed",
}

func kindText(d *control.Difference) string {
	text, ok := kindTexts[d.Kind]
	switch {
	case !ok:
		return d.Kind
	case d.Kind == "gone here" || d.Kind == "changed here" || d.Kind == "new here":
		return text
	}
	return fmt.Sprintf(text, d.Peer)
}

func (a *app) printVerification(v *control.Verification) {
	for i := range v.Differences {
		a.printDifference(&v.Differences[i])
	}
	if v.More > 0 {
		fmt.Fprintf(a.out, "and %d more\n", v.More)
	}
	for i := range v.Peers {
		fmt.Fprintf(a.err, "%s: %s: %s\n", a.name, v.Peers[i].Addr, peerVerdict(&v.Peers[i]))
	}
}

func (a *app) printDifference(d *control.Difference) {
	if d.State != nil {
		_ = pfText(a.out, d.State, a.verbose) // the output keeps its error
	} else {
		fmt.Fprintf(a.out, "id: %s creatorid: %s\n", d.ID, d.CreatorID)
	}
	fmt.Fprintf(a.out, "   %s", kindText(d))
	if d.Detail != "" {
		fmt.Fprintf(a.out, " (%s)", d.Detail)
	}
	switch {
	case d.Healed:
		fmt.Fprint(a.out, ": healed")
	case d.Why == "nosync":
		fmt.Fprint(a.out, ": kept out by a nosync filter")
	case d.Why != "":
		fmt.Fprintf(a.out, ": not healed (%s)", d.Why)
	case d.Unhealed:
		fmt.Fprint(a.out, ": not healed")
	}
	fmt.Fprintln(a.out)
}

// peerVerdict says in one line how it went with a peer.
func peerVerdict(p *control.VerifiedPeer) string {
	switch p.Outcome {
	case control.VerifyDone:
	case control.VerifyBSD:
		return "not compared: pf has no digests of its table"
	case control.VerifyOld:
		return "not compared: its pfsyncd is too old to tell digests of its table"
	case control.VerifySilent:
		return "not compared: it is not heard"
	case control.VerifyMute:
		return "not compared: it is heard, but does not answer; is it in sync?"
	default:
		return "not finished: one of the two began anew meanwhile; try again"
	}
	text := fmt.Sprintf("%d states compared, ", p.States)
	if p.Differed == 0 {
		return text + "all equal"
	}
	text += fmt.Sprintf("%d differed, %d healed", p.Differed, p.Healed)
	if n := p.Unhealed - p.Withheld; n > 0 {
		text += fmt.Sprintf(", %d not", n)
	}
	if p.Withheld > 0 {
		text += fmt.Sprintf(", %d kept out by a nosync filter here", p.Withheld)
	}
	return text
}

// verdict is the exit code: what a filter keeps out is no difference, and of a
// pf nothing can be said.
func verdict(v *control.Verification) error {
	differed, compared, missed := 0, 0, 0
	for _, p := range v.Peers {
		differed += p.Differed - p.Withheld
		switch p.Outcome {
		case control.VerifyDone:
			compared++
		case control.VerifyBSD:
		default:
			missed++
		}
	}
	switch {
	case differed > 0:
		return &exitError{codeNotInSync, errSaid}
	case missed > 0 || compared == 0:
		return &exitError{codeError, errSaid}
	}
	return nil
}
