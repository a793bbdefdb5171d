package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/term"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Source is what is asked: a control.Client.
type Source interface {
	Status(ctx context.Context) (control.Status, error)
	Stats(ctx context.Context) (control.Stats, error)
	States(ctx context.Context, q control.StateQuery, f func(*control.State) error) error
}

// Order is a way to sort states; what Compare puts first is shown first.
type Order struct {
	Name    string
	Key     string // that chooses it, "" none
	Compare func(a, b control.State) int
}

// Config is what a view begins with.
type Config struct {
	Source   Source
	Name     string // of the interface
	Interval time.Duration
	Orders   []Order // the first is used first
	View     int     // 1 to Views
	Colour   bool
	Blocks   bool // the terminal shows U+2581 to U+2588
}

// Limits of the interval.
const (
	MinInterval = 100 * time.Millisecond
	MaxInterval = time.Hour
)

// minWidth is the narrowest terminal on which anything can be made out.
const minWidth = 20

// Errors of Usable.
var (
	ErrNoTerminal = errors.New("not a terminal; 'stats', 'peers' and 'states' print to anything")
	ErrNoTerm     = errors.New("TERM is not set to a terminal that can move its cursor")
	ErrNarrow     = fmt.Errorf("the terminal has fewer than %d columns", minWidth)
)

// Usable reports why a view cannot be shown, nil if it can.
func Usable(in io.Reader, out io.Writer, getenv func(string) string) error {
	i, iok := in.(*os.File)
	o, ook := out.(*os.File)
	if !iok || !ook || !term.IsTerminal(i.Fd()) || !term.IsTerminal(o.Fd()) {
		return ErrNoTerminal
	}
	if t := getenv("TERM"); t == "" || t == "dumb" || t == "unknown" {
		return ErrNoTerm
	}
	if w, _, err := term.GetSize(o.Fd()); err == nil && w > 0 && w < minWidth {
		return ErrNarrow
	}
	return nil
}

// Blocks reports whether the locale has the characters of a sparkline.
func Blocks(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// Run shows the view until somebody quits or ctx ends, which is an error of
// ctx. The terminal is afterwards as it was.
func Run(ctx context.Context, c Config, in io.Reader, out io.Writer) error {
	p := tea.NewProgram(New(ctx, c), tea.WithAltScreen(), tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	_, err := p.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
