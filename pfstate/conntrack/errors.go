package conntrack

import (
	"errors"
	"syscall"
)

// Errors of the decoder.
var (
	ErrShort  = errors.New("conntrack: message cut short")
	ErrAttr   = errors.New("conntrack: attribute of wrong length")
	ErrTuple  = errors.New("conntrack: tuple missing or incomplete")
	ErrFamily = errors.New("conntrack: address family not supported")
)

// Errors of the encoder.
var (
	// ErrNoTuple refuses a request without an original tuple: as a delete it
	// would flush the table.
	ErrNoTuple = errors.New("conntrack: no original tuple")
	// ErrNoReply refuses to create an entry whose reply tuple is empty.
	ErrNoReply = errors.New("conntrack: no reply tuple")
)

// Errors of [NewInjector], each with its remedy.
var (
	ErrNoConntrack = errors.New("conntrack: the kernel has no connection tracking: modprobe nf_conntrack")
	ErrNoNetlink   = errors.New("conntrack: the kernel does not tell of its connections: modprobe nf_conntrack_netlink")
	ErrPermission  = errors.New("conntrack: not permitted: CAP_NET_ADMIN is needed")
)

// ErrBusy is returned by [Dumper.Begin] while a dump is not read to its end.
var ErrBusy = errors.New("conntrack: a dump is under way")

// OpError is a system call that failed. Err is the errno and can be asked for
// with errors.Is.
type OpError struct {
	Op  string // what was tried
	Err error
}

func (e *OpError) Error() string { return "conntrack: " + e.Op + ": " + e.Err.Error() }

func (e *OpError) Unwrap() error { return e.Err }

func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	if err == syscall.EPERM || err == syscall.EACCES {
		err = errors.Join(ErrPermission, err)
	}
	return &OpError{Op: op, Err: err}
}
