package nfqueue

import (
	"errors"
	"fmt"
)

// Errors of the parser.
var (
	ErrShort = errors.New("nfqueue: message cut short")
	ErrAttr  = errors.New("nfqueue: attribute of wrong length")
	// ErrPacket: it begins no connection that could be told from it.
	ErrPacket = errors.New("nfqueue: not a first packet of a known kind")
)

// Errors of [Open] and [Install], each with its remedy.
var (
	ErrNoQueue    = errors.New("the kernel has no NFQUEUE: modprobe nfnetlink_queue")
	ErrPermission = errors.New("not permitted: CAP_NET_ADMIN is needed")
	ErrTaken      = errors.New("another program has this queue: set deferqueue to another number")
	ErrNoRules    = errors.New("neither nft nor iptables can send packets to a queue")
)

// OpError is something that was tried and failed. Err can be asked for with
// errors.Is.
type OpError struct {
	Op  string
	Err error
}

func (e *OpError) Error() string { return fmt.Sprintf("nfqueue: %s: %v", e.Op, e.Err) }

func (e *OpError) Unwrap() error { return e.Err }
