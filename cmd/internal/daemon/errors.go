package daemon

import "errors"

// Errors that end the daemon or refuse its start.
var (
	// ErrDeleted is why the daemon ends when somebody else removes its
	// interface.
	ErrDeleted = errors.New("interface was deleted from outside")
	// ErrOther refuses a second pfsync interface in a network namespace.
	ErrOther = errors.New("one pfsync interface per network namespace")
	// ErrCapability is the error of a start without the rights it needs.
	ErrCapability = errors.New("not permitted")
)
