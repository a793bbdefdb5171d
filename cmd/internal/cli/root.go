package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// run parses the command line and does what it says.
func (a *app) run(args []string) error {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return root.ExecuteContext(a.ctx)
}

// root is the command itself: options, then an interface with words or a verb,
// or one of the few verbs that need no interface.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "pfsyncctl",
		Short:             "configure and watch pfsync",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.complete,
		RunE:              func(_ *cobra.Command, args []string) error { return a.dispatch(args) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	f := root.Flags()
	f.SetInterspersed(false) // what follows the name belongs to words and verbs
	f.BoolVarP(&a.all, "all", "a", false, "all pfsync interfaces")
	f.BoolVarP(&a.list, "list", "l", false, "names of all pfsync interfaces")
	a.commonFlags(f)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { a.help(c) })
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(a.decodeCommand(), a.replayCommand(), a.versionCommand(), a.completionCommand())
	return root
}

// commonFlags are those that stand before the name as well as after a verb.
func (a *app) commonFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.BoolVarP(&a.json, "json", "j", a.json, "print JSON")
	before := a.verbose // CountVarP sets it to 0
	f.CountVarP(&a.verbose, "verbose", "v", "print more; may be given twice")
	a.verbose = before
	f.StringVar(&a.runDir, "run-dir", a.runDir, "run `directory` instead of "+control.DefaultRunDir)
	f.StringVar(&a.stateDir, "state-dir", a.stateDir, "state `directory` instead of "+control.DefaultStateDir)
}

// dispatch looks at what follows the options.
func (a *app) dispatch(args []string) error {
	switch {
	case len(args) == 0:
		return a.statusAll()
	case a.all || a.list:
		return usage("-a and -l take no interface")
	case !control.ValidName(args[0]):
		return a.badName(args[0])
	}
	a.name = args[0]
	switch rest := args[1:]; {
	case len(rest) == 0:
		return a.status()
	case isVerb(rest[0]):
		return a.verb(rest)
	default:
		return a.words(rest)
	}
}

// badName says what is wrong with the first argument, and guesses what was
// meant.
func (a *app) badName(s string) error {
	if _, ok := control.LookupWord(s); ok || isVerb(s) {
		return usage("%s: the interface comes first: pfsyncctl pfsync0 %s", s, s)
	}
	if strings.HasPrefix(s, "pfsync") {
		return usage("%s: a pfsync interface is called pfsync and a number: pfsync0", s)
	}
	if n := control.Nearest(s, plainVerbs()); n != "" {
		return usage("%s: no such command; did you mean %s?", s, n)
	}
	return usage("%s: neither a pfsync interface nor a command; see pfsyncctl help", s)
}

// plainVerbs are the verbs that stand without an interface.
func plainVerbs() []string { return []string{"completion", "decode", "help", "replay", "version"} }

// words configures.
func (a *app) words(args []string) error {
	set, err := control.ParseWords(args)
	if err != nil {
		return wordHint(args, err)
	}
	return a.configure(control.Change{Set: set})
}

// wordHint helps who typed an option among the words, or a verb nearly right.
func wordHint(args []string, err error) error {
	w, ok := unknownWord(err)
	switch {
	case !ok:
		return err
	case slices.Contains([]string{"-a", "-l", "-j", "-v", "-vv", "-h"}, w) || strings.HasPrefix(w, "--"):
		return usage("%s: options stand before the interface or after a verb", w)
	case isVerb(w):
		return usage("%s: a verb stands alone behind the interface", w)
	}
	if w != args[0] {
		return err
	}
	if n := control.Nearest(w, slices.Concat(verbNames(), wordNames())); isVerb(n) {
		return usage("%s: unknown word; did you mean %s?", w, n)
	}
	return err
}

func wordNames() []string {
	var names []string
	for _, w := range control.Words() {
		names = append(names, w.Name)
	}
	return names
}
