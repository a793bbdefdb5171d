package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// EnvReady names the variable with the number of the descriptor on which a
// daemon started in the background says that it is ready, or why it is not.
const EnvReady = "PFSYNC_READY_FD"

// readyLimit bounds what is read of a daemon that fails to start.
const readyLimit = 4096

// ReportReady writes "ok" for a nil error, else its text, to the descriptor
// that the environment names, closes it and forgets the variable, so that no
// child of the daemon inherits it. Without the variable it does nothing.
func ReportReady(cause error) error {
	v := os.Getenv(EnvReady)
	if v == "" {
		return nil
	}
	os.Unsetenv(EnvReady)
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return fmt.Errorf("control: %s=%s: %w", EnvReady, v, ErrInvalid)
	}
	f := os.NewFile(uintptr(fd), "ready")
	defer f.Close()
	text := "ok"
	if cause != nil {
		text = strings.ReplaceAll(cause.Error(), "\n", "; ")
	}
	if _, err := fmt.Fprintln(f, text); err != nil {
		return fmt.Errorf("control: ready: %w", err)
	}
	return nil
}

// WaitReady reads what ReportReady wrote until the other end is closed, and
// returns nil or an error with the daemon's text. A daemon that dies without a
// word is an error too.
func WaitReady(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, readyLimit))
	switch text := strings.TrimSpace(string(b)); {
	case err != nil:
		return err
	case text == "ok":
		return nil
	case text == "":
		return errors.New("pfsyncd ended without a word")
	default:
		return errors.New(text)
	}
}
