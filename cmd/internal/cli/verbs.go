package cli

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// verbs makes the commands that stand behind an interface.
var verbs = []func(*app) *cobra.Command{
	(*app).statesCommand,
	(*app).statsCommand,
	(*app).peersCommand,
	(*app).monitorCommand,
	(*app).topCommand,
	(*app).bulkCommand,
	(*app).flushCommand,
	(*app).waitCommand,
	(*app).verifyCommand,
	(*app).doctorCommand,
	(*app).dumpCommand,
	(*app).startCommand,
}

// ifaceCommand is the tree of verbs of one interface. It is a tree of its own:
// cobra looks for a command among all arguments, and "states" may well be the
// argument of a word.
func (a *app) ifaceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "pfsyncctl",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "pfsyncctl " + a.name},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.SetFlagErrorFunc(flagError)
	for _, make := range verbs {
		v := make(a)
		v.Flags().SortFlags = false
		a.commonFlags(v.Flags())
		c.AddCommand(v)
	}
	c.SetHelpCommand(&cobra.Command{Hidden: true})
	return c
}

func verbNames() []string {
	var names []string
	for _, c := range (&app{}).ifaceCommand().Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}

func isVerb(s string) bool { return slices.Contains(verbNames(), s) }

// verb runs args[0] with the options and arguments behind it.
func (a *app) verb(args []string) error {
	c := a.ifaceCommand()
	c.SetArgs(args)
	c.SetOut(a.out)
	c.SetErr(a.err)
	return c.ExecuteContext(a.ctx)
}

// noArgs refuses arguments with a text of ours and the right exit code.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s: takes no argument: %s", c.Name(), args[0])
	}
	return nil
}

// unknownWord returns the word that an error is about, if it is unknown.
func unknownWord(err error) (string, bool) {
	var w *control.WordError
	if errors.As(err, &w) && errors.Is(err, control.ErrNoSuchWord) {
		return w.Word, true
	}
	return "", false
}
