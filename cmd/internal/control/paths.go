package control

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// Where things are unless the environment or an option says otherwise.
const (
	DefaultRunDir   = "/run/pfsync"
	DefaultStateDir = "/var/lib/pfsync"
	EnvRunDir       = "PFSYNC_RUNDIR"
	EnvStateDir     = "PFSYNC_STATEDIR"
	DefaultEtcDir   = "/etc"
	EnvEtcDir       = "PFSYNC_ETCDIR"
	Group           = "pfsync" // may look at everything and change nothing
)

// maxSocketPath is sizeof(sun_path) without the terminating zero, unix(7).
const maxSocketPath = 107

var nameForm = regexp.MustCompile(`^pfsync(0|[1-9][0-9]{0,8})$`)

// ValidName reports whether name can be the name of a pfsync interface:
// pfsync and a number, at most 15 bytes (IFNAMSIZ).
func ValidName(name string) bool { return nameForm.MatchString(name) }

// Dirs are the run directory, the state directory, and where the start files
// are.
type Dirs struct {
	Run, State, Etc string
}

// FindDirs applies the rules of design section 3: an option wins over the
// environment, that over the default; a run directory that was moved takes the
// state directory along unless that was moved too. Empty options count as not
// given.
func FindDirs(runOpt, stateOpt string, getenv func(string) string) Dirs {
	d := Dirs{
		Run:   first(runOpt, getenv(EnvRunDir)),
		State: first(stateOpt, getenv(EnvStateDir)),
		Etc:   first(getenv(EnvEtcDir), DefaultEtcDir),
	}
	if d.State == "" {
		d.State = first(d.Run, DefaultStateDir)
	}
	d.Run = first(d.Run, DefaultRunDir)
	return d
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// IsDefault reports whether the run directory is the one that the service
// unit uses.
func (d Dirs) IsDefault() bool { return filepath.Clean(d.Run) == DefaultRunDir }

// Socket is where the daemon of interface name listens.
func (d Dirs) Socket(name string) string { return filepath.Join(d.Run, name+".sock") }

// PID is the file with the daemon's process number, locked while it lives.
func (d Dirs) PID(name string) string { return filepath.Join(d.Run, name+".pid") }

// Demotion is the file with one integer that keepalived tracks.
func (d Dirs) Demotion(name string) string { return filepath.Join(d.Run, name+".demotion") }

// HostID is the file that keeps the creatorid over restarts.
func (d Dirs) HostID(name string) string { return filepath.Join(d.State, name+".hostid") }

// Peers is the file with the addresses of peers known.
func (d Dirs) Peers(name string) string { return filepath.Join(d.State, name+".peers") }

// Hostname is OpenBSD's start file of the interface.
func (d Dirs) Hostname(name string) string { return filepath.Join(d.Etc, "hostname."+name) }

// Defaults is the file with FreeBSD's variables. It is about pfsync0.
func (d Dirs) Defaults() string { return filepath.Join(d.Etc, "default", "pfsync") }

// Names returns the interfaces that have a socket in the run directory,
// sorted by number. A socket may be that of a dead daemon.
func (d Dirs) Names() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(globQuote(d.Run), "pfsync*.sock"))
	if err != nil {
		return nil, fmt.Errorf("control: %s: %w", d.Run, err)
	}
	var names []string
	for _, f := range files {
		if n := strings.TrimSuffix(filepath.Base(f), ".sock"); ValidName(n) {
			names = append(names, n)
		}
	}
	sortNames(names)
	return names, nil
}

func globQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
