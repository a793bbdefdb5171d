package cli

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "the other firewalls: what they speak, when they were heard, what they sent",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c := a.client()
			defer c.Close()
			peers, err := c.Peers(a.ctx)
			if err != nil {
				return a.gone(err)
			}
			return a.printPeers(peers)
		},
	}
}

func (a *app) printPeers(peers []control.Peer) error {
	if a.json {
		for _, p := range peers {
			if err := a.out.object(p); err != nil {
				return err
			}
		}
		return nil
	}
	if len(peers) == 0 {
		a.say("%s: no peer heard", a.name)
		return nil
	}
	t := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tVERSION\tSYSTEM\tALIVE\tSYNC\tHEARD\tSTATES\tTABLE\tFRAMES\tLOST\tBULK\tCREATORID")
	for _, p := range peers {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%.1fs\t%d\t%s\t%d\t%d\t%s\t%s\n", p.Addr, p.Wire(), system(p), yesNo(p.Alive), inSync(p), p.Heard,
			p.States, known(p.Table), p.Frames, p.Lost, bulkText(p.Bulk), creators(p.CreatorIDs))
	}
	if err := t.Flush(); err != nil || a.verbose == 0 {
		return err
	}
	for _, p := range peers {
		fmt.Fprintf(a.out, "%s: first heard %s%s\n", p.Addr, p.FirstHeard.Local().Format(time.DateTime), remedy(p))
	}
	return nil
}

// remedy is what to set if the peer speaks otherwise than we do.
func remedy(p control.Peer) string {
	switch {
	case !p.Mismatch:
		return ""
	case p.Wire() == 5:
		return "; it speaks version 5, in a format that it has yet to show"
	}
	return fmt.Sprintf("; it speaks another format than is sent, set version %d", p.Wire())
}

// system tells what kind of host sends such frames.
func system(p control.Peer) string {
	switch {
	case p.Linux:
		return "Linux"
	case p.Version == 6:
		return "OpenBSD"
	}
	return "FreeBSD"
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// inSync tells whether a peer says that it is in sync; a BSD does not say.
func inSync(p control.Peer) string {
	switch {
	case !p.Linux:
		return "-"
	case p.InSync:
		return "ok"
	}
	return "no"
}

// known prints a number that only Linux peers tell.
func known(n int) string {
	if n < 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func bulkText(b control.PeerBulk) string {
	switch {
	case b.Receiving:
		return fmt.Sprintf("%d%% here", b.Percent)
	case !b.Sending:
		return "-"
	}
	return fmt.Sprintf("%d/%d", b.Sent, b.Total)
}

func creators(ids []control.HexID) string {
	var s []string
	for _, id := range ids {
		s = append(s, id.String())
	}
	if len(s) == 0 {
		return "-"
	}
	return strings.Join(s, ",")
}
