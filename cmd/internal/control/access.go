package control

import (
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// Limits of the server. Root has room of its own, so that members of the
// group cannot lock it out.
const (
	maxClients      = 48 // connections of root
	maxGroupClients = 24 // connections of everybody else together
	maxStreams      = 16 // states and monitor at a time, root
	maxGroupStreams = 8  // the same, everybody else together
)

// client is one accepted connection with what the kernel says of its maker.
type client struct {
	*net.UnixConn
	owner   bool // root, or who the daemon runs as: may change things
	release func()
}

func (c *client) Close() error {
	c.release()
	return c.UnixConn.Close()
}

// peerOwner asks the kernel who connected (SO_PEERCRED, unix(7)). The mode of
// the socket has already kept out everybody but root and the group.
func peerOwner(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return false, err
	}
	if credErr != nil {
		return false, credErr
	}
	return cred.Uid == 0 || int(cred.Uid) == os.Geteuid(), nil
}

// slots counts what is in use, root and others apart.
type slots struct {
	mu              sync.Mutex
	owner, group    int // in use; guarded by mu
	mostOwner, most int
}

// take reports whether there was room, and how to give it back; release may be
// called more than once.
func (s *slots) take(owner bool) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, most := &s.group, s.most
	if owner {
		used, most = &s.owner, s.mostOwner
	}
	if *used >= most {
		return nil, false
	}
	*used++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		*used--
	}), true
}

// gate is a listener that knows its clients and turns away who is too many.
type gate struct {
	*net.UnixListener
	clients *slots
	refuse  func(net.Conn) // answers and closes, must not block
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.UnixListener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		owner, err := peerOwner(c)
		if err != nil {
			c.Close() // gone already
			continue
		}
		release, ok := g.clients.take(owner)
		if !ok {
			g.refuse(c)
			continue
		}
		return &client{UnixConn: c, owner: owner, release: release}, nil
	}
}

// mayUse reports whether a client may make this request: who is not the owner
// may look only.
func mayUse(owner bool, method string) bool { return owner || method == http.MethodGet }
