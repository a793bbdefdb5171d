package control

import (
	"errors"
	"fmt"
	"strings"
)

// variable is one assignment of the file with FreeBSD's variables.
type variable struct {
	value string
	line  int
}

// rcVariables are the variables of FreeBSD's rc.d/pfsync.
var rcVariables = []string{"pfsync_enable", "pfsync_syncdev", "pfsync_syncpeer", "pfsync_ifconfig"}

// parseDefaults reads FreeBSD's variables and makes of them what rc.d/pfsync
// does: [syncpeer P] syncdev D [words] up.
func parseDefaults(st *Start, _ string, lines [][]byte) error {
	vars := map[string]variable{}
	for i, b := range lines {
		if err := assign(vars, i+1, strings.TrimSpace(string(b))); err != nil {
			return st.lineError(i+1, err)
		}
	}
	enabled, err := yes(vars["pfsync_enable"].value)
	switch {
	case err != nil:
		return st.lineError(vars["pfsync_enable"].line, fmt.Errorf("pfsync_enable %w", err))
	case !enabled:
		st.Disabled = true
		return nil
	case vars["pfsync_syncdev"].value == "":
		return st.lineError(vars["pfsync_enable"].line, errors.New("pfsync_syncdev is not set"))
	}
	return st.addVariables(vars)
}

// assign reads one line.
func assign(vars map[string]variable, n int, line string) error {
	args, err := splitShell(line)
	if err != nil || len(args) == 0 {
		return err
	}
	name, value, ok := strings.Cut(args[0], "=")
	if !ok || len(args) > 1 {
		return errors.New(`not an assignment, as in pfsync_syncdev="eth2"`)
	}
	for _, known := range rcVariables {
		if known == name {
			vars[name] = variable{value, n}
			return nil
		}
	}
	if near := Nearest(name, rcVariables); near != "" {
		return fmt.Errorf("%s: unknown variable; did you mean %s?", name, near)
	}
	return fmt.Errorf("%s: unknown variable", name)
}

func (s *Start) addVariables(vars map[string]variable) error {
	add := func(v variable, args ...string) error {
		if len(args) == 0 {
			return nil
		}
		set, err := ParseWords(args)
		if err != nil {
			return s.lineError(v.line, err)
		}
		s.Items = append(s.Items, StartItem{File: s.File, Line: v.line, Set: set})
		return nil
	}
	if v := vars["pfsync_syncpeer"]; v.value != "" {
		if err := add(v, "syncpeer", v.value); err != nil {
			return err
		}
	}
	dev := vars["pfsync_syncdev"]
	if err := add(dev, "syncdev", dev.value); err != nil {
		return err
	}
	v := vars["pfsync_ifconfig"]
	args, err := splitShell(v.value)
	if err != nil {
		return s.lineError(v.line, err)
	}
	if err := add(v, args...); err != nil {
		return err
	}
	return add(vars["pfsync_enable"], "up")
}

// yes is checkyesno of FreeBSD's rc.subr.
func yes(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0", "":
		return false, nil
	}
	return false, fmt.Errorf("%s: neither YES nor NO", s)
}
