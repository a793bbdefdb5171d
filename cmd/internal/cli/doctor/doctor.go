package doctor

import (
	"context"
	"fmt"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Level is how bad a finding is.
type Level string

// Levels of a finding.
const (
	OK      Level = "ok"
	Warning Level = "warning" // works, but will not always, or not as well as it could
	Fault   Level = "fault"   // pfsync does not do what it is for
)

// Finding is the answer to one question.
type Finding struct {
	Check  string `json:"check"`            // what was looked at, one word
	Level  Level  `json:"level"`            // how it is
	Text   string `json:"text"`             // what was found
	Remedy string `json:"remedy,omitempty"` // what to do; not with OK
}

// Daemon is what answers for the interface: a control.Client.
type Daemon interface {
	Status(ctx context.Context) (control.Status, error)
	Stats(ctx context.Context) (control.Stats, error)
}

// Doctor examines one interface.
type Doctor struct {
	Daemon Daemon
	Name   string // of the interface
	Dirs   control.Dirs
	Host   Host
}

// New returns a Doctor for the host and the network namespace of the process.
func New(d Daemon, name string, dirs control.Dirs) *Doctor {
	return &Doctor{Daemon: d, Name: name, Dirs: dirs, Host: System()}
}

// exam is one examination.
type exam struct {
	*Doctor
	ctx   context.Context
	st    control.Status
	stats control.Stats
	alive bool // the daemon answered
	dev   Link // the syncdev
	found []Finding
}

// Examine asks all questions. It takes about a second, as long as a daemon may
// be silent.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	e := &exam{Doctor: d, ctx: ctx}
	e.daemon()
	if e.alive {
		e.device()
		e.syncdev()
		e.peers()
	}
	e.rules()
	e.sysctls()
	if e.alive {
		e.tables()
		e.sync()
		e.identity()
	}
	e.programs()
	if e.alive {
		e.buffers()
	}
	return e.found
}

// Worst returns the level of the worst finding.
func Worst(found []Finding) Level {
	worst := OK
	for _, f := range found {
		if f.Level == Fault || f.Level == Warning && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// count is a number of things.
func count[N int | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func (e *exam) ok(check, format string, args ...any) {
	e.found = append(e.found, Finding{Check: check, Level: OK, Text: fmt.Sprintf(format, args...)})
}

func (e *exam) warn(check, text, remedy string) {
	e.found = append(e.found, Finding{check, Warning, text, remedy})
}

func (e *exam) fault(check, text, remedy string) {
	e.found = append(e.found, Finding{check, Fault, text, remedy})
}
