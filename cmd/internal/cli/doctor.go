package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/cli/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "look for what keeps pfsync from working; exit 5 if something does",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.doctor() },
	}
}

func (a *app) doctor() error {
	c := a.client()
	defer c.Close()
	found := doctor.New(c, a.name, a.dirs()).Examine(a.ctx)
	if a.ctx.Err() != nil {
		return errStopped
	}
	colour := isTerminal(a.out.dst) && a.getenv("NO_COLOR") == ""
	for _, f := range found {
		if a.json {
			if err := a.out.object(f); err != nil {
				return err
			}
			continue
		}
		findingText(a.out, f, colour)
	}
	if doctor.Worst(found) == doctor.Fault {
		return &exitError{codeNotInSync, errSaid}
	}
	return nil
}

// levelColours are ANSI's: green, yellow, red.
var levelColours = map[doctor.Level]string{doctor.OK: "32", doctor.Warning: "33", doctor.Fault: "31"}

// findingText prints one line: level, check, what was found, the remedy.
func findingText(w io.Writer, f doctor.Finding, colour bool) {
	level := fmt.Sprintf("%-7s", f.Level)
	if colour {
		level = "\x1b[" + levelColours[f.Level] + "m" + level + "\x1b[m"
	}
	remedy := ""
	if f.Remedy != "" {
		remedy = "; remedy: " + f.Remedy
	}
	fmt.Fprintf(w, "%s  %-10s  %s\n", level, f.Check, printable(f.Text+remedy))
}
