package cli

import (
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// completionCommand prints what the shell is to source. The work is done by
// complete, each time the tab key is hit.
func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash | zsh | fish",
		Short:     "print completion for a shell: source <(pfsyncctl completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("completion: name one shell: bash, zsh or fish")
			}
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.out, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.out)
			case "fish":
				return c.Root().GenFishCompletion(a.out, true)
			}
			return usage("completion: %s: only bash, zsh and fish", args[0])
		},
	}
}

// complete proposes what may stand next. args are the arguments before, now is
// what has been typed of this one.
func (a *app) complete(_ *cobra.Command, args []string, now string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && slices.Contains([]string{"-w", "--write", "--run-dir", "--state-dir"}, args[len(args)-1]) {
		return nil, cobra.ShellCompDirectiveDefault // the shell knows files
	}
	p := slices.DeleteFunc(a.proposals(args), func(s string) bool { return !strings.HasPrefix(s, now) })
	return p, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) proposals(args []string) []string {
	if len(args) == 0 {
		return a.interfaces()
	}
	a.name = args[0]
	rest := args[1:]
	if len(rest) == 0 {
		return slices.Concat(wordProposals(), a.allVerbs())
	}
	if isVerb(rest[0]) {
		return a.verbProposals(rest)
	}
	last, ok := control.LookupWord(rest[len(rest)-1])
	if ok && last.Arg != "" && needsArgument(rest) {
		return argumentProposals(last)
	}
	return wordProposals()
}

// interfaces are those with a daemon and those of the kernel; pfsync0 always,
// as it can be made.
func (a *app) interfaces() []string {
	names, _ := a.dirs().Names() // without a run directory there are none
	for _, l := range linkNames() {
		if control.ValidName(l) && !slices.Contains(names, l) {
			names = append(names, l)
		}
	}
	if len(names) == 0 {
		names = append(names, "pfsync0")
	}
	return names
}

func linkNames() []string {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

// needsArgument reports whether the last of the words still waits for its
// argument.
func needsArgument(words []string) bool {
	_, err := control.ParseWords(words)
	_, unknown := unknownWord(err)
	return err != nil && !unknown
}

func wordProposals() []string {
	var p []string
	for _, w := range control.Words() {
		p = append(p, w.Name+"\t"+w.Help)
	}
	return p
}

func (a *app) allVerbs() []string {
	var p []string
	for _, v := range a.ifaceCommand().Commands() {
		if !v.Hidden {
			p = append(p, v.Name()+"\t"+v.Short)
		}
	}
	return p
}

// verbProposals are the options of a verb, or the values of the option that
// stands last.
func (a *app) verbProposals(args []string) []string {
	for _, v := range a.ifaceCommand().Commands() {
		if v.Name() != args[0] {
			continue
		}
		if o := valueOption(v.Flags(), args[len(args)-1]); o != nil {
			return a.optionValues(v.Name(), o.Name)
		}
		var p []string
		if v.Name() == "verify" {
			p = a.peerNames()
		}
		v.Flags().VisitAll(func(f *pflag.Flag) {
			_, text := pflag.UnquoteUsage(f)
			p = append(p, "--"+f.Name+"\t"+text)
		})
		return p
	}
	return nil
}

// valueOption returns the option that arg is, if a value has to follow it.
func valueOption(f *pflag.FlagSet, arg string) *pflag.Flag {
	var o *pflag.Flag
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		o = f.Lookup(name)
	} else if len(arg) == 2 && arg[0] == '-' {
		o = f.ShorthandLookup(arg[1:])
	}
	if o == nil || o.NoOptDefVal != "" {
		return nil
	}
	return o
}

// optionValues knows what can be known of the value of an option.
func (a *app) optionValues(verb, option string) []string {
	switch option {
	case "action":
		return actionNames()
	case "direction":
		return []string{control.RecordIn, control.RecordOut}
	case "origin":
		return append([]string{control.OriginLocal, control.OriginPeer}, a.peerNames()...)
	case "proto":
		return control.ProtoNames()
	case "sort":
		return orderProposals(verb)
	}
	return nil
}

// orderProposals are the orders of states; top has its own.
func orderProposals(verb string) []string {
	if verb != "top" {
		return slices.Sorted(maps.Keys(orders))
	}
	var p []string
	for _, o := range topOrders {
		p = append(p, o.Name)
	}
	return p
}

// peerNames are the addresses of the peers, as the daemon knows them now.
func (a *app) peerNames() []string {
	c := a.client()
	defer c.Close()
	peers, _ := c.Peers(a.ctx) // without a daemon there are none
	var names []string
	for _, p := range peers {
		names = append(names, p.Addr.String())
	}
	return names
}

// argumentProposals knows what can be known of an argument.
func argumentProposals(w control.Word) []string {
	switch w.Arg {
	case "IF":
		return slices.DeleteFunc(linkNames(), func(n string) bool { return n == "lo" || strings.HasPrefix(n, "pfsync") })
	case "FILTER":
		var p []string
		for _, k := range control.FilterKinds() {
			p = append(p, string(k))
		}
		return p
	case "HEX":
		return []string{"random"}
	}
	if w.Name == "version" {
		return []string{"6", "1301", "1400", "1500"}
	}
	return nil
}
