package tunif

import (
	"errors"
	"fmt"
)

var (
	// ErrName is the error for a name that is not pfsync and a number.
	ErrName = errors.New("name is not pfsync[0-9]+")
	// ErrBusy is the error of Create when an interface has that name.
	ErrBusy = errors.New("an interface of that name exists")
	// ErrNoTun is the error of Create when the kernel or the container has
	// no TUN driver.
	ErrNoTun = errors.New("no TUN driver")
	// ErrPerm is the error of Create without the rights it needs.
	ErrPerm = errors.New("not permitted")
	// ErrDown is the error of a Write while the interface is set down.
	ErrDown = errors.New("interface is down")
	// ErrGone is the error of all methods once somebody else has deleted
	// the interface.
	ErrGone = errors.New("interface was deleted")
)

// OpError tells which operation on which interface had an error. Err is one of
// the errors above or what the system said, wrapped with it.
type OpError struct {
	Op   string // "create", "write", "set mtu" …
	Dev  string
	Err  error
	Hint string // what to do about it, may be empty
}

func (e *OpError) Error() string {
	s := fmt.Sprintf("tunif: %s %s: %v", e.Op, e.Dev, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }
