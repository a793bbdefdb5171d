package cli

import (
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// help prints the whole command on one screen and a half, or one verb.
func (a *app) help(c *cobra.Command) {
	if c.HasParent() {
		fmt.Fprint(a.out, c.Short, "\n\n", c.UsageString())
		return
	}
	fmt.Fprint(a.out, `usage: pfsyncctl [options] [-a | -l]
       pfsyncctl [options] pfsyncN
       pfsyncctl [options] pfsyncN word [argument] ...
       pfsyncctl pfsyncN verb [options]
       pfsyncctl decode [options] file.pcap
       pfsyncctl replay [options] file.pcap
       pfsyncctl completion | help | version

words:
`)
	a.helpWords()
	fmt.Fprint(a.out, "\nverbs:\n")
	a.helpVerbs()
	fmt.Fprint(a.out, "\noptions:\n", c.Flags().FlagUsages())
}

func (a *app) helpWords() {
	t := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, w := range control.Words() {
		text := w.Help
		if w.Range != "" {
			text += " (" + w.Range + ")"
		}
		fmt.Fprintf(t, "  %s %s\t%s\n", w.Name, w.Arg, text)
	}
	t.Flush()
}

func (a *app) helpVerbs() {
	t := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, v := range a.ifaceCommand().Commands() {
		if !v.Hidden {
			fmt.Fprintf(t, "  %s\t%s\n", v.Name(), v.Short)
		}
	}
	t.Flush()
}

// helpCommand explains the whole, one word or one verb.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [word | verb]",
		Short: "explain the command, a word or a verb",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return slices.Concat(wordProposals(), a.allVerbs()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				a.help(c.Root())
				return nil
			case len(args) > 1:
				return usage("help: one word or verb at a time")
			}
			return a.helpOne(args[0])
		},
	}
}

func (a *app) helpOne(name string) error {
	if w, ok := control.LookupWord(name); ok {
		fmt.Fprintf(a.out, "%s %s\n  %s\n", w.Name, w.Arg, w.Help)
		if w.Range != "" {
			fmt.Fprintf(a.out, "  %s: %s\n", w.Arg, w.Range)
		}
		return nil
	}
	a.name = "pfsyncN"
	for _, v := range a.ifaceCommand().Commands() {
		if v.Name() == name && !v.Hidden {
			fmt.Fprint(a.out, v.Short, "\n\n", v.UsageString())
			return nil
		}
	}
	a.name = ""
	return usage("help: %s: neither a word nor a verb", name)
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "print the version", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		if a.json {
			return a.out.object(map[string]any{"version": control.Release, "control": control.Protocol})
		}
		_, err := fmt.Fprintf(a.out, "pfsyncctl %s (pfsync for Linux, control protocol %d)\n", control.Release, control.Protocol)
		return err
	}}
	c.Flags().BoolVarP(&a.json, "json", "j", false, "print JSON")
	return c
}
