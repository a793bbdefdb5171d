package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "apply /etc/hostname.pfsyncN or /etc/default/pfsync: what boot scripts call",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.start() },
	}
}

// start reads the whole file before the first line takes effect. No file, or
// one that says no, is nothing to do: a service may be started to be
// configured by hand.
func (a *app) start() error {
	st, err := control.ReadStart(a.dirs(), a.name)
	if errors.Is(err, fs.ErrNotExist) {
		a.say("%s: nothing to do: there is no %s", a.name, a.dirs().Hostname(a.name))
		return nil
	}
	if err != nil {
		return err
	}
	for _, w := range st.Warnings {
		a.say("%s: warning: %s", a.name, w)
	}
	if st.Disabled {
		a.say("%s: nothing to do: pfsync_enable is not YES in %s", a.name, st.File)
		return nil
	}
	return a.runStart(st)
}

// runStart does what netstart(8) does with the lines, in order: words that
// follow each other are one change, a command runs between them. Like there, a
// command that fails is reported and the rest still done.
func (a *app) runStart(st control.Start) error {
	ch := control.Change{Wait: true, Set: []control.Setting{{Word: control.WordCreate}}}
	for _, it := range st.Items {
		if it.Command == "" {
			ch.Set = append(ch.Set, it.Set...)
			continue
		}
		if err := a.configure(ch); err != nil {
			return fmt.Errorf("%s: %w", st.File, err)
		}
		ch.Set = nil
		a.shell(it)
	}
	if len(ch.Set) == 0 {
		return nil
	}
	if err := a.configure(ch); err != nil {
		return fmt.Errorf("%s: %w", st.File, err)
	}
	return nil
}

func (a *app) shell(it control.StartItem) {
	cmd := exec.CommandContext(a.ctx, "/bin/sh", "-c", it.Command)
	cmd.Stdout, cmd.Stderr = a.err, a.err
	if err := cmd.Run(); err != nil {
		a.say("%s: %s:%d: %s: %v", a.name, it.File, it.Line, it.Command, err)
	}
}
