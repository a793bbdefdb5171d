package control

import (
	"errors"
	"io/fs"
	"net/http"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotRunning = errors.New("no daemon")                                                   // nobody listens on the socket
	ErrEnded      = errors.New("daemon has ended")                                            // in the middle of an answer
	ErrRunning    = errors.New("a daemon is running already")                                 // Listen, LockPID
	ErrPermission = errors.New("permission denied")                                           // socket or request refused
	ErrNetNS      = errors.New("daemon runs in another network namespace; set PFSYNC_RUNDIR") // design section 3
	ErrVersion    = errors.New("other version of the control protocol")                       // daemon and command do not match
	ErrTimeout    = errors.New("daemon does not answer")                                      // client side
	ErrTooLong    = errors.New("name of the run directory is too long for a socket in it")    // sun_path
	ErrNotSocket  = errors.New("is there and is no socket")                                   // Listen
	ErrTooMany    = errors.New("too many clients; try again")                                 // limits of the server
	ErrInvalid    = errors.New("invalid")                                                     // a value that is no value of its word
	ErrTooSmall   = errors.New("too small")                                                   // below the range
	ErrTooLarge   = errors.New("too large")                                                   // above the range
	ErrBody       = errors.New("request is not understood")                                   // JSON that is none of ours
	ErrBodySize   = errors.New("request is longer than 1 MiB")                                // design section 3
	ErrNoSuchWord = errors.New("unknown word")                                                // not in Words
	ErrArgument   = errors.New("wrong number of arguments")                                   // a word with or without one
	ErrAlone      = errors.New("stands alone: no other word beside it")                       // destroy
	ErrStartFile  = errors.New("start file")                                                  // any line of a start file that is wrong
	ErrStopping   = errors.New("daemon is stopping")                                          // a request too late, or the last line of a stream
)

// Code says what kind of error an answer carries.
type Code string

// Codes of [Error].
const (
	CodeError     Code = "error"             // it was tried and did not work
	CodeInvalid   Code = "invalid"           // the request is wrong
	CodeNoDevice  Code = "no such interface" // the pfsync interface is not there
	CodeDenied    Code = "not permitted"     // who asked, or the daemon, has not the right
	CodeVersion   Code = "version"           // control protocol of another version
	CodeNetNS     Code = "netns"             // client and daemon are in different network namespaces
	CodeBusy      Code = "busy"              // a limit of the server is reached
	CodeNotInSync Code = "not in sync"       // asked for something that needs synchronisation
	CodeStopping  Code = "stopping"          // the daemon is on its way out
)

// Error is an error as it travels in an answer. Text is one line for a
// person, without the name of the interface.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Is lets errors.Is find the sentinel of the code on the client's side.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case CodeDenied:
		return target == ErrPermission
	case CodeVersion:
		return target == ErrVersion
	case CodeNetNS:
		return target == ErrNetNS
	case CodeBusy:
		return target == ErrTooMany
	case CodeStopping:
		return target == ErrStopping
	}
	return false
}

// httpStatus returns the HTTP status that goes with the code.
func (e *Error) httpStatus() int {
	switch e.Code {
	case CodeInvalid, CodeVersion:
		return http.StatusBadRequest
	case CodeNoDevice:
		return http.StatusNotFound
	case CodeDenied:
		return http.StatusForbidden
	case CodeNetNS, CodeNotInSync:
		return http.StatusConflict
	case CodeBusy, CodeStopping:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// asError turns whatever a Backend returned into what travels. A Backend that
// wants a certain code returns an *Error.
func asError(err error) *Error {
	var e *Error
	var w *WordError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &w):
		return &Error{Code: CodeInvalid, Text: err.Error()}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, ErrPermission):
		return &Error{Code: CodeDenied, Text: err.Error()}
	case errors.Is(err, ErrStopping):
		return &Error{Code: CodeStopping, Text: err.Error()}
	}
	return &Error{Code: CodeError, Text: err.Error()}
}
