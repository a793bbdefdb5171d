package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"
)

// maxStartFile bounds a start file: people write a few lines.
const maxStartFile = 64 << 10

// StartItem is one line of a start file: words, or a command for the shell.
type StartItem struct {
	File    string
	Line    int
	Set     []Setting
	Command string // $if is replaced already
}

// Start is what the start files say.
type Start struct {
	File     string // which one it was
	Items    []StartItem
	Warnings []string // for a person, each one line
	Disabled bool     // pfsync_enable is not YES
}

// ReadStart reads /etc/hostname.NAME, or if there is none and name is pfsync0,
// /etc/default/pfsync. All words are checked: an error names file and line,
// wraps ErrStartFile, and means that nothing is to be applied. With neither
// file the error wraps fs.ErrNotExist.
func ReadStart(d Dirs, name string) (Start, error) {
	st, err := readStart(d.Hostname(name), name, parseHostname)
	if errors.Is(err, fs.ErrNotExist) && name == "pfsync0" {
		return readStart(d.Defaults(), name, parseDefaults)
	}
	if err == nil && name == "pfsync0" {
		if _, serr := os.Stat(d.Defaults()); serr == nil {
			st.Warnings = append(st.Warnings, d.Defaults()+": not read: "+st.File+" is there")
		}
	}
	return st, err
}

// Change returns all words of the file as one change that puts everything
// else back to its default: what SIGHUP wants. Commands are left out.
func (s Start) Change() Change {
	ch := Change{Reset: true, Wait: true}
	for _, it := range s.Items {
		ch.Set = append(ch.Set, it.Set...)
	}
	return ch
}

func readStart(path, name string, parse func(st *Start, name string, lines [][]byte) error) (Start, error) {
	st := Start{File: path}
	b, err := st.load()
	if err != nil {
		return Start{}, fmt.Errorf("%w %s: %w", ErrStartFile, path, err)
	}
	if err := parse(&st, name, bytes.Split(b, []byte("\n"))); err != nil {
		return Start{}, err
	}
	return st, st.check()
}

// lineError names the line.
func (s *Start) lineError(line int, err error) error {
	return fmt.Errorf("%w %s:%d: %w", ErrStartFile, s.File, line, err)
}

// load reads the file if it is one that root may trust: a command in it is run
// as root.
func (s *Start) load() ([]byte, error) {
	f, err := os.OpenFile(s.File, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not block
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if err := s.checkMode(fi); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxStartFile+1))
	switch {
	case err != nil:
		return nil, cause(err)
	case len(b) > maxStartFile:
		return nil, fmt.Errorf("%w: more than %d KiB", ErrTooLarge, maxStartFile>>10)
	case bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b):
		return nil, errors.New("is not a text file")
	}
	return b, nil
}

// cause drops operation and path, which the caller names.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// checkMode follows netstart(8), which wants 640 root and repairs the rest; we
// repair nothing, warn when others can read, and refuse what others can write.
func (s *Start) checkMode(fi fs.FileInfo) error {
	switch {
	case fi.IsDir():
		return errors.New("is a directory")
	case !fi.Mode().IsRegular():
		return errors.New("is not a regular file")
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d; chown root %s", st.Uid, s.File)
	}
	switch perm := fi.Mode().Perm(); {
	case perm&0o022 != 0:
		return fmt.Errorf("mode %03o: others can write it; chmod 640 %s", perm, s.File)
	case perm&0o007 != 0:
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: mode %03o: others can read it; chmod 640 %s", s.File, perm, s.File))
	}
	return nil
}

// check applies all words in order, so that an error is found before the first
// line takes effect.
func (s *Start) check() error {
	c := DefaultConfig()
	for _, it := range s.Items {
		for _, set := range it.Set {
			n, err := c.Apply(Change{Set: []Setting{set}})
			if err != nil {
				return s.lineError(it.Line, err)
			}
			c = n
		}
	}
	return nil
}
