package cli

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/cli/top"
	"github.com/pfsync/pfsync/cmd/internal/control"
)

// topOptions are the options of the verb top.
type topOptions struct {
	interval float64 // seconds
	sort     string
	view     int
}

func (a *app) topCommand() *cobra.Command {
	var o topOptions
	c := &cobra.Command{
		Use:   "top",
		Short: "rates, peers and states on a screen that renews itself",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.top(&o) },
	}
	f := c.Flags()
	f.Float64VarP(&o.interval, "interval", "s", 1, "`seconds` between two looks")
	f.StringVar(&o.sort, "sort", "", "order of states by `key`; at first bytes where the kernel counts them, else recent")
	f.IntVar(&o.view, "view", 1, "begin with view `N`: 1 overview, 2 states, 3 peers, 4 counters")
	return c
}

// topOrders are those of states with the keys of pftop, and before them one for
// what has just begun: the kernel need not count bytes.
var topOrders = []top.Order{
	{Name: "recent", Key: "R", Compare: func(a, b control.State) int { return orders["age"](b, a) }},
	{Name: "bytes", Key: "B", Compare: orders["bytes"]},
	{Name: "packets", Key: "P", Compare: orders["packets"]},
	{Name: "age", Key: "A", Compare: orders["age"]},
	{Name: "expire", Key: "E", Compare: orders["expire"]},
	{Name: "src", Key: "F", Compare: orders["src"]},
	{Name: "dst", Key: "T", Compare: orders["dst"]},
	{Name: "sport", Key: "S", Compare: orders["sport"]},
	{Name: "dport", Key: "D", Compare: orders["dport"]},
	{Name: "proto", Compare: orders["proto"]},
	{Name: "origin", Compare: orders["origin"]},
}

// countingFile tells whether the kernel counts packets and bytes, as text: 0 or 1.
const countingFile = "/proc/sys/net/netfilter/nf_conntrack_acct"

// heaviest is the order to begin with: the states that move most, as pftop has
// it, if that is known.
func heaviest() string {
	if v, err := os.ReadFile(countingFile); err == nil && strings.TrimSpace(string(v)) == "1" {
		return "bytes"
	}
	return topOrders[0].Name
}

func (a *app) top(o *topOptions) error {
	if o.sort == "" {
		o.sort = heaviest()
	}
	interval := time.Duration(o.interval * float64(time.Second))
	first := slices.IndexFunc(topOrders, func(t top.Order) bool { return t.Name == o.sort })
	switch {
	case !(o.interval > 0) || interval < top.MinInterval || interval > top.MaxInterval:
		return usage("--interval %g: %g to %g seconds", o.interval, top.MinInterval.Seconds(), top.MaxInterval.Seconds())
	case o.view < 1 || o.view > top.Views:
		return usage("--view %d: 1 to %d", o.view, top.Views)
	case first < 0:
		return usage("--sort %s: no such order", o.sort)
	case a.json:
		return usage("top: is for a terminal; 'stats', 'peers' and 'states' print JSON")
	}
	if err := top.Usable(a.in, a.out.dst, a.getenv); err != nil {
		return fail(codeError, "top: %w", err)
	}
	c := a.client()
	defer c.Close()
	if _, err := c.Status(a.ctx); err != nil { // said before the screen is taken
		return a.gone(err)
	}
	return top.Run(a.ctx, top.Config{
		Source: c, Name: a.name, Interval: interval, View: o.view, Orders: slices.Concat(topOrders[first:], topOrders[:first]),
		Colour: a.getenv("NO_COLOR") == "", Blocks: top.Blocks(a.getenv),
	}, a.in, a.out.dst)
}
