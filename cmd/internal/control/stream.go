package control

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// streamBuffer is what is collected of the states before it is written.
const streamBuffer = 64 << 10

// stream writes one object a line to a client that must keep up: every piece
// has timeouts.write to leave.
type stream struct {
	ctl *http.ResponseController
	buf *bufio.Writer
	enc *json.Encoder
}

// streamError is the last line of a stream that went wrong.
type streamError struct {
	Error *Error `json:"error"`
}

// openStream takes one of the places for streams and writes the first line.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request) (*stream, func(), error) {
	release, ok := s.streams.take(isOwner(r))
	if !ok {
		return nil, nil, &Error{Code: CodeBusy, Text: ErrTooMany.Error()}
	}
	st := &stream{ctl: http.NewResponseController(w)}
	st.ctl.SetReadDeadline(time.Time{}) // the request is read; a stream may last
	st.buf = bufio.NewWriterSize(deadlineWriter{w, st.ctl, s.times.write}, streamBuffer)
	st.enc = json.NewEncoder(st.buf)
	if err := st.enc.Encode(hello{Version: Protocol, NetNS: s.NetNS}); err != nil {
		release()
		return nil, nil, err
	}
	return st, release, st.flush()
}

// deadlineWriter gives every write its own deadline.
type deadlineWriter struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	time time.Duration
}

func (d deadlineWriter) Write(b []byte) (int, error) {
	if err := d.ctl.SetWriteDeadline(time.Now().Add(d.time)); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

func (st *stream) flush() error {
	if err := st.buf.Flush(); err != nil {
		return err
	}
	return st.ctl.Flush()
}

// end writes what is left, and the error if there is one. The head of the
// answer has long been sent, so an error can only be the last line. A stream
// cut short because the daemon stops must not look whole. A client that has
// gone needs no answer.
func (st *stream) end(ctx context.Context, err error) {
	if ctx.Err() != nil {
		err = ErrStopping
	}
	if err != nil {
		st.enc.Encode(streamError{asError(err)})
	}
	st.flush()
}

func (s *Server) states(w http.ResponseWriter, r *http.Request) (*answer, error) {
	q, err := ParseStateQuery(r.URL.Query())
	if err != nil {
		return nil, badRequest(err)
	}
	st, release, err := s.openStream(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	err = s.Backend.States(r.Context(), q, func(states []State) error {
		for i := range states {
			if !q.Match(&states[i]) {
				continue
			}
			if err := st.enc.Encode(&states[i]); err != nil {
				return err
			}
		}
		return nil
	})
	st.end(r.Context(), err)
	return nil, nil
}

func (s *Server) monitor(w http.ResponseWriter, r *http.Request) (*answer, error) {
	st, release, err := s.openStream(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	err = s.Backend.Monitor(r.Context(), func(rec Record) error {
		if err := st.enc.Encode(&rec); err != nil {
			return err
		}
		return st.flush()
	})
	st.end(r.Context(), err)
	return nil, nil
}
