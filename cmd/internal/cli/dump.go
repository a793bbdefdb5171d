package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func (a *app) dumpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dump",
		Short: "the configuration as lines of /etc/hostname.pfsyncN",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c := a.client()
			defer c.Close()
			st, err := c.Status(a.ctx)
			if err != nil {
				return a.gone(err)
			}
			set := st.Config.Settings()
			if a.json {
				return a.out.object(append([]control.Setting{}, set...))
			}
			for _, s := range set {
				if _, err := fmt.Fprintln(a.out, settingLine(s)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// settingLine writes a setting so that the reader of the start file reads the
// same: filters are words there, a text with more in it is quoted.
func settingLine(s control.Setting) string {
	switch {
	case s.Arg == "":
		return s.Word
	case strings.HasSuffix(s.Word, "nosync"):
		return s.Word + " " + s.Arg
	}
	return s.Word + " " + quote(s.Arg)
}

// quote puts single quotes around what the shell would take apart.
func quote(s string) string {
	if !strings.ContainsAny(s, " \t'\"\\$`;&|<>()*?#") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
