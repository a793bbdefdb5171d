package cli

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// statesOptions are the options of the verb states.
type statesOptions struct {
	filters map[string]*string
	ct      bool
	sort    string
	reverse bool
}

// stateFilter is an option that chooses states, and the parameter it sets.
type stateFilter struct{ name, short, key, help string }

// usage says what is wrong with a value, with the name that was typed.
func (s stateFilter) usage(value string, err error) error {
	return usage("--%s %s: %w", s.name, value, errors.Unwrap(err))
}

// stateFilters are the options that choose states, named as in conntrack(8);
// every one is a parameter of control.StateQuery.
var stateFilters = []stateFilter{
	{"src", "s", "src", "source `address` or prefix of the original direction"},
	{"dst", "d", "dst", "destination `address` or prefix of the original direction"},
	{"proto", "p", "proto", "`protocol`, name or number"},
	{"sport", "", "sport", "source `port`"},
	{"dport", "", "dport", "destination `port`"},
	{"mark", "m", "mark", "conntrack `mark`, V or V/MASK"},
	{"zone", "", "zone", "conntrack `zone`"},
	{"origin", "", "origin", "`who` made it: local, peer, the address of a peer, or a creatorid"},
	{"direction", "", "dir", "`in` or out"},
}

func (a *app) statesCommand() *cobra.Command {
	o := statesOptions{filters: map[string]*string{}}
	c := &cobra.Command{
		Use:   "states",
		Short: "the state table, as pfctl -ss prints it",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return a.states(c.Flags(), &o) },
	}
	f := c.Flags()
	for _, s := range stateFilters {
		o.filters[s.name] = f.StringP(s.name, s.short, "", s.help)
	}
	f.BoolVar(&o.ct, "ct", false, "print as conntrack -L does")
	f.StringVar(&o.sort, "sort", "", "sort by `key`: "+orderNames())
	f.BoolVarP(&o.reverse, "reverse", "r", false, "sort the other way round")
	return c
}

// states streams, unless an order is wanted, which takes all states at once.
func (a *app) states(f *pflag.FlagSet, o *statesOptions) error {
	q, err := o.query(f)
	if err != nil {
		return err
	}
	order, ok := orders[o.sort]
	if o.sort != "" && !ok {
		return usage("--sort %s: want one of %s", o.sort, orderNames())
	}
	c := a.client()
	defer c.Close()
	if order == nil {
		return a.gone(c.States(a.ctx, q, func(s *control.State) error { return a.printState(s, o) }))
	}
	var all []control.State
	if err := c.States(a.ctx, q, func(s *control.State) error { all = append(all, *s); return nil }); err != nil {
		return a.gone(err)
	}
	slices.SortStableFunc(all, order)
	if o.reverse {
		slices.Reverse(all)
	}
	for i := range all {
		if err := a.printState(&all[i], o); err != nil {
			return err
		}
	}
	return nil
}

func (o *statesOptions) query(f *pflag.FlagSet) (control.StateQuery, error) {
	var q control.StateQuery
	for _, s := range stateFilters {
		if !f.Changed(s.name) {
			continue
		}
		if err := q.Set(s.key, *o.filters[s.name]); err != nil {
			return q, s.usage(*o.filters[s.name], err)
		}
	}
	return q, nil
}

func (a *app) printState(s *control.State, o *statesOptions) error {
	switch {
	case a.json:
		return a.out.object(s)
	case o.ct && s.Reason != "":
		return nil // conntrack has no words for it
	case o.ct:
		return ctText(a.out, s)
	}
	return pfText(a.out, s, a.verbose)
}

// orders compare two states; numbers with the largest first, as pftop does.
var orders = map[string]func(a, b control.State) int{
	"age":    func(a, b control.State) int { return cmp.Compare(b.Creation, a.Creation) },
	"bytes":  func(a, b control.State) int { return cmp.Compare(b.Bytes[0]+b.Bytes[1], a.Bytes[0]+a.Bytes[1]) },
	"dport":  func(a, b control.State) int { return cmp.Compare(end(&a, 1).Port, end(&b, 1).Port) },
	"dst":    func(a, b control.State) int { return compareEnds(end(&a, 1), end(&b, 1)) },
	"expire": func(a, b control.State) int { return cmp.Compare(a.Expire, b.Expire) },
	"id": func(a, b control.State) int {
		return cmp.Or(cmp.Compare(a.CreatorID, b.CreatorID), cmp.Compare(a.ID, b.ID))
	},
	"origin": func(a, b control.State) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.From, b.From))
	},
	"packets": func(a, b control.State) int { return cmp.Compare(b.Packets[0]+b.Packets[1], a.Packets[0]+a.Packets[1]) },
	"proto":   func(a, b control.State) int { return cmp.Compare(a.Proto, b.Proto) },
	"sport":   func(a, b control.State) int { return cmp.Compare(end(&a, 0).Port, end(&b, 0).Port) },
	"src":     func(a, b control.State) int { return compareEnds(end(&a, 0), end(&b, 0)) },
}

func orderNames() string { return strings.Join(slices.Sorted(maps.Keys(orders)), ", ") }

func end(s *control.State, i int) control.Endpoint {
	orig, _ := s.Tuples()
	return orig[i]
}

func compareEnds(a, b control.Endpoint) int {
	return netip.AddrPortFrom(a.Addr, a.Port).Compare(netip.AddrPortFrom(b.Addr, b.Port))
}
