package syncproto

import (
	"errors"
	"fmt"
)

// Errors of this package, one for each counter of pfsync that a frame or a
// message can bump before its meaning is looked at. Test with errors.Is.
var (
	ErrShort   = errors.New("syncproto: short message")        // fewer bytes than the layout has; of a frame: hdrops
	ErrVersion = errors.New("syncproto: unknown version")      // badver
	ErrLength  = errors.New("syncproto: length out of bounds") // badlen
	ErrAction  = errors.New("syncproto: bad action")           // badact
	ErrValue   = errors.New("syncproto: bad value")            // badval
)

// Reasons why a value is refused; all of them are ErrValue.
var (
	errTimeout   = fmt.Errorf("%w: timeout index", ErrValue)
	errPeerState = fmt.Errorf("%w: peer state", ErrValue)
	errDirection = fmt.Errorf("%w: direction", ErrValue)
	errFamily    = fmt.Errorf("%w: address family", ErrValue)
)
