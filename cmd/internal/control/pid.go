package control

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// PIDFile is the locked file that keeps a second daemon away. The lock goes
// with the process, however it ends.
type PIDFile struct {
	f *os.File
}

// LockPID makes and locks the file and writes the process number. If another
// process holds it the error is ErrRunning and names that process.
func LockPID(path string) (*PIDFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w%s", ErrRunning, holder(f))
		}
		return nil, fmt.Errorf("control: lock %s: %w", path, err)
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("control: %s: %w", path, err)
	}
	return &PIDFile{f: f}, nil
}

func holder(f *os.File) string {
	if pid := readPID(f); pid != 0 {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

// HolderOf returns the process number in the file at path, 0 if there is none.
// Whether that process lives is for the caller to find out.
func HolderOf(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	return readPID(f)
}

func readPID(f *os.File) int {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0) // what cannot be read is no number
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f, "%d\n", os.Getpid())
	return err
}

// Close empties the file and gives up the lock. The file stays: removing it
// would let two daemons lock two files of one name.
func (p *PIDFile) Close() error {
	if err := p.f.Truncate(0); err != nil {
		p.f.Close()
		return fmt.Errorf("control: %w", err)
	}
	return p.f.Close()
}
