package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) bulkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bulk",
		Short: "ask the peers for all their states again",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c := a.client()
			defer c.Close()
			return a.gone(c.Bulk(a.ctx))
		},
	}
}

func (a *app) flushCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "flush",
		Short: "delete all synchronised entries here and tell the peers (asks first)",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.flush(yes) },
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (a *app) flush(yes bool) error {
	c := a.client()
	defer c.Close()
	st, err := c.Status(a.ctx)
	if err != nil {
		return a.gone(err)
	}
	if !yes {
		if err := a.confirm(fmt.Sprintf("delete %d states on this firewall and its own on all peers?", st.States.Total)); err != nil {
			return err
		}
	}
	r, err := c.Flush(a.ctx)
	if err != nil {
		return a.gone(err)
	}
	if a.json {
		return a.out.object(r)
	}
	fmt.Fprintf(a.err, "%d states cleared\n", r.States) // pfctl's text
	return nil
}

// confirm reads one line. Whatever is not yes is no, the end of input too.
func (a *app) confirm(question string) error {
	fmt.Fprintf(a.err, "%s: %s [y/N] ", a.name, question)
	line, err := bufio.NewReader(io.LimitReader(a.in, 64)).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(a.err)
		return fail(codeError, "not done: nobody answered; -y does not ask")
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fail(codeError, "not done")
}

// isTerminal reports whether w is a terminal: a character device is near
// enough, and all that depends on it is how progress looks.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
