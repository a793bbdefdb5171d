package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// Client asks one daemon. It may be used from several goroutines.
type Client struct {
	path  string
	http  http.Client
	waits waits
}

// NewClient returns a client for the socket at path. It connects with the
// first request.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{path: path, waits: defaultWaits, http: http.Client{Transport: &http.Transport{
		DialContext:           dial,
		ResponseHeaderTimeout: defaultWaits.change,
		DisableCompression:    true,
	}}}
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the state of the interface.
func (c *Client) Status(ctx context.Context) (Status, error) {
	a, err := c.ask(ctx, http.MethodGet, pathStatus, nil)
	if err == nil && a.Status == nil {
		err = errEmpty
	}
	if err != nil {
		return Status{}, err
	}
	return *a.Status, nil
}

// Stats asks for the counters.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	a, err := c.ask(ctx, http.MethodGet, pathStats, nil)
	if err == nil && a.Stats == nil {
		err = errEmpty
	}
	if err != nil {
		return Stats{}, err
	}
	return *a.Stats, nil
}

// Peers asks for the other firewalls.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	a, err := c.ask(ctx, http.MethodGet, pathPeers, nil)
	if err == nil && a.Peers == nil {
		err = errEmpty
	}
	if err != nil {
		return nil, err
	}
	return *a.Peers, nil
}

// Configure has a change made. A change that is wrong by the table of words is
// refused without asking.
func (c *Client) Configure(ctx context.Context, ch Change) error {
	if !ch.IsDestroy() {
		if _, err := DefaultConfig().Apply(ch); err != nil {
			return err
		}
	}
	_, err := c.ask(ctx, http.MethodPut, pathConfig, configRequest{Version: Protocol, Change: ch})
	return err
}

// Bulk has the daemon ask its peers for all their states.
func (c *Client) Bulk(ctx context.Context) error {
	_, err := c.ask(ctx, http.MethodPost, pathBulk, plainRequest{Version: Protocol})
	return err
}

// Flush has all synchronised states deleted.
func (c *Client) Flush(ctx context.Context) (FlushResult, error) {
	a, err := c.ask(ctx, http.MethodPost, pathFlush, plainRequest{Version: Protocol})
	if err == nil && a.Flush == nil {
		err = errEmpty
	}
	if err != nil {
		return FlushResult{}, err
	}
	return *a.Flush, nil
}

// Verify has the daemon compare its table with that of a peer, or of all if the
// address is not valid. It returns at once; see Verified.
func (c *Client) Verify(ctx context.Context, peer netip.Addr) error {
	_, err := c.ask(ctx, http.MethodPost, pathVerify, verifyRequest{Version: Protocol, Peer: peer})
	return err
}

// Verified asks how far the last verification is.
func (c *Client) Verified(ctx context.Context) (Verification, error) {
	a, err := c.ask(ctx, http.MethodGet, pathVerdict, nil)
	if err == nil && a.Verify == nil {
		err = errEmpty
	}
	if err != nil {
		return Verification{}, err
	}
	return *a.Verify, nil
}

// States calls f with every state that q chooses. The pointer is good until f
// returns. An error of f ends the walk and is returned.
func (c *Client) States(ctx context.Context, q StateQuery, f func(*State) error) error {
	path := pathStates
	if v := q.Values(); len(v) > 0 {
		path += "?" + v.Encode()
	}
	return c.follow(ctx, path, func(d *json.Decoder) error {
		var line struct {
			State
			Error *Error `json:"error"`
		}
		if err := d.Decode(&line); err != nil {
			return err
		}
		if line.Error != nil {
			return line.Error
		}
		return f(&line.State)
	})
}

// Monitor calls f with every frame until ctx ends, which is no error, the
// daemon ends, which is ErrEnded, or f returns an error.
func (c *Client) Monitor(ctx context.Context, f func(*Record) error) error {
	err := c.follow(ctx, pathMonitor, func(d *json.Decoder) error {
		var line struct {
			Record
			Error *Error `json:"error"`
		}
		if err := d.Decode(&line); err != nil {
			return err
		}
		if line.Error != nil {
			return line.Error
		}
		return f(&line.Record)
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil, errors.Is(err, ErrStopping):
		return ErrEnded
	}
	return err
}

var errEmpty = errors.New("daemon sent an empty answer")

// ask makes one request and reads its one answer.
func (c *Client) ask(ctx context.Context, method, path string, body any) (*answer, error) {
	if method == http.MethodGet {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.waits.look)
		defer cancel()
	}
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) (*answer, error) {
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return nil, fmt.Errorf("answer of the daemon: %w", err)
	}
	if a.Version != Protocol {
		return nil, otherVersion(a.Version)
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return &a, nil
}

func otherVersion(v int) error {
	return fmt.Errorf("%w: daemon %d, pfsyncctl %d; restart pfsyncd", ErrVersion, v, Protocol)
}

// follow makes one request and calls next for every line of its stream.
func (c *Client) follow(ctx context.Context, path string, next func(*json.Decoder) error) error {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSilence()
	go s.watch(watched, c, cancel)
	err := c.lines(watched, path, func(d *json.Decoder) error {
		err := next(d)
		s.heard()
		return err
	})
	if ctx.Err() == nil && errors.Is(context.Cause(watched), ErrTimeout) {
		return ErrTimeout
	}
	return err
}

// lines is follow without a limit to its patience.
func (c *Client) lines(ctx context.Context, path string, next func(*json.Decoder) error) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, err := readAnswer(resp)
		return err
	}
	d := json.NewDecoder(resp.Body)
	var h hello
	if err := d.Decode(&h); err != nil {
		return fmt.Errorf("answer of the daemon: %w", err)
	}
	if h.Version != Protocol {
		return otherVersion(h.Version)
	}
	for {
		switch err := next(d); {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return ErrEnded
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// send makes one request, with our network namespace in it, and checks the
// daemon's.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	ns, err := NetNS()
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	inode := strconv.FormatUint(ns, 10)
	req.Header.Set(headerNetNS, inode)
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if h := resp.Header.Get(headerNetNS); h != inode {
		resp.Body.Close()
		if h == "" {
			return nil, fmt.Errorf("%s: what answers there is not pfsyncd", c.path)
		}
		return nil, ErrNetNS
	}
	return resp, nil
}

// A server that has too many clients says so and hangs up, which may cross with
// the request: what only looks is asked again to hear it.
const (
	crossings     = 5
	crossingPause = 20 * time.Millisecond
)

// do makes the request; errors are explained.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := c.http.Do(req)
		if err == nil {
			return resp, nil
		}
		err = c.explain(err)
		if req.Method != http.MethodGet || try == crossings || final(err) {
			return nil, err
		}
		select {
		case <-req.Context().Done():
			return nil, c.explain(req.Context().Err())
		case <-time.After(crossingPause):
		}
	}
}

// final reports whether asking again would be no use. What crosses has many
// forms in net/http, some without a value to compare with.
func final(err error) bool {
	for _, e := range []error{ErrNotRunning, ErrPermission, ErrTimeout, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	if len(c.path) > maxSocketPath {
		return nil, fmt.Errorf("%s: %w", c.path, ErrTooLong)
	}
	return http.NewRequestWithContext(ctx, method, "http://pfsync"+path, r)
}

// explain turns what net/http says into what it means here.
func (c *Client) explain(err error) error {
	var t interface{ Timeout() bool }
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w at %s", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", c.path, ErrPermission)
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &t) && t.Timeout(): // ours, or the caller's, who knows
		return ErrTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrEnded
	}
	return err
}
