package syncdev

import (
	"errors"
	"fmt"
)

var (
	// ErrNoDevice is the error for an interface that does not exist.
	ErrNoDevice = errors.New("no such interface")
	// ErrNoAddress is the error for an interface without an address of the
	// family that is to be sent.
	ErrNoAddress = errors.New("no address on it")
	// ErrPerm is the error of opening a raw socket without the right to.
	ErrPerm = errors.New("not permitted")
	// ErrTooBig is the error of WriteBatch if frames did not fit the MTU.
	ErrTooBig = errors.New("frame larger than the MTU")
)

// OpError tells which operation on which interface had an error. Err is one of
// the errors above, os.ErrClosed, or what the system said.
type OpError struct {
	Op   string // "open", "write", "join 224.0.0.240 on" …
	Dev  string
	Err  error
	Hint string // what to do about it, may be empty
}

func (e *OpError) Error() string {
	s := fmt.Sprintf("syncdev: %s %s: %v", e.Op, e.Dev, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }
