package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"
)

// Backend does what requests ask for. Methods are called from many goroutines
// at once, one for each request; ctx ends when the client has gone or the
// server stops. An error that is an *Error travels as it is, any other as its
// text.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Stats(ctx context.Context) (Stats, error)
	Peers(ctx context.Context) ([]Peer, error)

	// States hands out the table in steps. It may use q to hand out less; the
	// server matches every state again. emit may block on a slow client and
	// must therefore not be called by the goroutine that owns the table; it
	// keeps nothing of the slice. An error of emit ends the walk and is
	// returned.
	States(ctx context.Context, q StateQuery, emit func([]State) error) error

	// Monitor hands out frames until ctx ends or emit fails. A client that
	// is too slow loses frames, counted in Record.Lost; it delays nobody.
	Monitor(ctx context.Context, emit func(Record) error) error

	// Configure applies the whole change or nothing. The values have been
	// checked against the table of words, not against the host. It is never
	// called with the word destroy.
	Configure(ctx context.Context, ch Change) error

	Destroy(ctx context.Context) error // removes the interface and ends the daemon, after the answer
	Bulk(ctx context.Context) error    // asks the peers for all their states again
	Flush(ctx context.Context) (FlushResult, error)

	// Verify begins to compare the table with that of a peer, or of all if the
	// address is not valid; Verified tells how far that is.
	Verify(ctx context.Context, peer netip.Addr) error
	Verified(ctx context.Context) (Verification, error)
}

// timeouts are what a client that hangs can cost.
type timeouts struct {
	header time.Duration // to send a request
	body   time.Duration // to send the whole of it
	idle   time.Duration // between requests
	write  time.Duration // to take an answer, or one piece of a stream
	last   time.Duration // to take an answer when the server stops
}

var defaultTimeouts = timeouts{header: 5 * time.Second, body: 10 * time.Second, idle: 30 * time.Second, write: 10 * time.Second, last: time.Second}

// Server answers requests from a Backend.
type Server struct {
	Backend Backend
	NetNS   uint64 // of the daemon, as NetNS returns it
	Log     *slog.Logger

	streams slots
	times   timeouts // defaultTimeouts if zero
}

// Run serves until ctx ends, and closes the listener, which removes the
// socket. It returns nil after an orderly end.
func (s *Server) Run(ctx context.Context, ln *net.UnixListener) error {
	s.streams = slots{mostOwner: maxStreams, most: maxGroupStreams}
	if s.times == (timeouts{}) {
		s.times = defaultTimeouts
	}
	g := &gate{UnixListener: ln, clients: &slots{mostOwner: maxClients, most: maxGroupClients}, refuse: s.refuse}
	hs := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: s.times.header,
		ReadTimeout:       s.times.body,
		IdleTimeout:       s.times.idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(c context.Context, conn net.Conn) context.Context {
			return context.WithValue(c, clientKey{}, conn)
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- hs.Serve(g) }()
	select {
	case err := <-ended:
		return fmt.Errorf("control: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.times.last)
	defer cancel()
	if hs.Shutdown(last) != nil {
		hs.Close() // who has not finished by now is cut off
	}
	<-ended
	return nil
}

type clientKey struct{}

// isOwner reports whether the client of this request may change things.
func isOwner(r *http.Request) bool {
	c, ok := r.Context().Value(clientKey{}).(*client)
	return ok && c.owner
}

// refuse tells a client that there are too many, without reading what it
// wants: the answer fits into the socket's buffer.
func (s *Server) refuse(c net.Conn) {
	body, _ := json.Marshal(s.failed(&Error{Code: CodeBusy, Text: ErrTooMany.Error()})) // marshals: plain fields
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n%s: %d\r\nContent-Length: %d\r\n\r\n%s",
		headerNetNS, s.NetNS, len(body), body)
	c.Close()
}

// request is one path: its method and what it does.
type request struct {
	method string
	serve  func(*Server, http.ResponseWriter, *http.Request) (*answer, error) // nil answer: a stream, written already
}

var requests = map[string]request{
	pathStatus:  {http.MethodGet, (*Server).status},
	pathStats:   {http.MethodGet, (*Server).stats},
	pathPeers:   {http.MethodGet, (*Server).peers},
	pathStates:  {http.MethodGet, (*Server).states},
	pathMonitor: {http.MethodGet, (*Server).monitor},
	pathConfig:  {http.MethodPut, (*Server).config},
	pathBulk:    {http.MethodPost, (*Server).bulk},
	pathFlush:   {http.MethodPost, (*Server).flush},
	pathVerify:  {http.MethodPost, (*Server).verify},
	pathVerdict: {http.MethodGet, (*Server).verified},
}

// serve checks who asks for what from where, then lets the path's function
// answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(headerNetNS, strconv.FormatUint(s.NetNS, 10))
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	req, ok := requests[r.URL.Path]
	switch {
	case !ok:
		s.reply(w, http.StatusNotFound, s.failed(&Error{Code: CodeInvalid, Text: r.URL.Path + ": no such request"}))
	case r.Method != req.method:
		w.Header().Set("Allow", req.method)
		s.reply(w, http.StatusMethodNotAllowed, s.failed(&Error{Code: CodeInvalid, Text: r.URL.Path + ": wants " + req.method}))
	case !mayUse(isOwner(r), r.Method):
		s.fail(w, &Error{Code: CodeDenied, Text: "only root may change things; members of the group " + Group + " may look"})
	case r.Method == http.MethodGet && r.ContentLength != 0:
		w.Header().Set("Connection", "close")
		s.fail(w, &Error{Code: CodeInvalid, Text: "GET takes no body"})
	case s.elsewhere(r):
		s.fail(w, &Error{Code: CodeNetNS, Text: ErrNetNS.Error()})
	default:
		a, err := req.serve(s, w, r)
		switch {
		case err != nil:
			s.fail(w, asError(err))
		case a != nil:
			s.reply(w, http.StatusOK, a)
		}
	}
}

// elsewhere reports whether the asker says it is in another network namespace.
func (s *Server) elsewhere(r *http.Request) bool {
	h := r.Header.Get(headerNetNS)
	return h != "" && h != strconv.FormatUint(s.NetNS, 10)
}

func (s *Server) failed(e *Error) *answer {
	return &answer{Version: Protocol, NetNS: s.NetNS, Error: e}
}

func (s *Server) fail(w http.ResponseWriter, e *Error) { s.reply(w, e.httpStatus(), s.failed(e)) }

// reply writes one object. The deadline is the client's: it had its chance.
func (s *Server) reply(w http.ResponseWriter, status int, a *answer) {
	b, err := json.Marshal(a)
	if err != nil { // a Backend's value that JSON cannot say
		status, b = http.StatusInternalServerError, []byte(`{"version":1,"error":{"code":"error","text":"answer cannot be written"}}`)
		s.Log.Error("cannot marshal answer", "err", err)
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.times.write))
	w.WriteHeader(status)
	if _, err := w.Write(append(b, '\n')); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.Log.Debug("client gone", "err", err)
	}
}

func (s *Server) done() *answer { return &answer{Version: Protocol, NetNS: s.NetNS} }

func (s *Server) status(_ http.ResponseWriter, r *http.Request) (*answer, error) {
	v, err := s.Backend.Status(r.Context())
	a := s.done()
	a.Status = &v
	return a, err
}

func (s *Server) stats(_ http.ResponseWriter, r *http.Request) (*answer, error) {
	v, err := s.Backend.Stats(r.Context())
	a := s.done()
	a.Stats = &v
	return a, err
}

func (s *Server) peers(_ http.ResponseWriter, r *http.Request) (*answer, error) {
	v, err := s.Backend.Peers(r.Context())
	if v == nil {
		v = []Peer{} // [] and not null
	}
	a := s.done()
	a.Peers = &v
	return a, err
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) (*answer, error) {
	var req configRequest
	if err := readBody(w, r, &req); err != nil {
		return nil, badRequest(err)
	}
	if req.Change.IsDestroy() {
		return s.done(), s.Backend.Destroy(r.Context())
	}
	if _, err := DefaultConfig().Apply(req.Change); err != nil {
		return nil, badRequest(err)
	}
	return s.done(), s.Backend.Configure(r.Context(), req.Change)
}

func (s *Server) bulk(w http.ResponseWriter, r *http.Request) (*answer, error) {
	if err := plainBody(w, r); err != nil {
		return nil, err
	}
	return s.done(), s.Backend.Bulk(r.Context())
}

func (s *Server) flush(w http.ResponseWriter, r *http.Request) (*answer, error) {
	if err := plainBody(w, r); err != nil {
		return nil, err
	}
	v, err := s.Backend.Flush(r.Context())
	a := s.done()
	a.Flush = &v
	return a, err
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request) (*answer, error) {
	var req verifyRequest
	if r.ContentLength != 0 {
		if err := readBody(w, r, &req); err != nil {
			return nil, badRequest(err)
		}
	}
	return s.done(), s.Backend.Verify(r.Context(), req.Peer)
}

func (s *Server) verified(_ http.ResponseWriter, r *http.Request) (*answer, error) {
	v, err := s.Backend.Verified(r.Context())
	a := s.done()
	a.Verify = &v
	return a, err
}

// plainBody lets a request without a body pass: curl -X POST is enough.
func plainBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	if err := readBody(w, r, &plainRequest{}); err != nil {
		return badRequest(err)
	}
	return nil
}

// readBody decodes the body, and then lifts the deadline of reading: from here
// on it is the daemon that takes its time, and a deadline that passes would
// look like a client that has gone.
func readBody(w http.ResponseWriter, r *http.Request, v interface{ protocol() int }) error {
	if err := decodeBody(r.Body, v); err != nil {
		return err
	}
	return http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// badRequest gives an error the code that says the asker made it.
func badRequest(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInvalid, Text: err.Error()}
}
