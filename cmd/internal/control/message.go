package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Paths of the requests.
const (
	pathStatus  = "/status"
	pathStats   = "/stats"
	pathPeers   = "/peers"
	pathStates  = "/states"
	pathMonitor = "/monitor"
	pathConfig  = "/config"
	pathBulk    = "/bulk"
	pathFlush   = "/flush"
	pathVerify  = "/verify"   // begins one
	pathVerdict = "/verified" // how far it is
)

// headerNetNS carries the inode of the network namespace: in a request the
// asker's, in an answer the daemon's. A request without it (curl) is not
// checked.
const headerNetNS = "Pfsync-Netns"

// maxBody bounds a request (design section 3).
const maxBody = 1 << 20

// answer is every reply that is not a stream.
type answer struct {
	Version int          `json:"version"`
	NetNS   uint64       `json:"netns"`
	Error   *Error       `json:"error,omitempty"`
	Status  *Status      `json:"status,omitempty"`
	Stats   *Stats       `json:"stats,omitempty"`
	Peers   *[]Peer      `json:"peers,omitempty"`
	Flush   *FlushResult `json:"flush,omitempty"`

	Verify *Verification `json:"verify,omitempty"`
}

// FlushResult says what a flush did.
type FlushResult struct {
	States int `json:"states"` // states deleted
}

// hello is the first line of a stream.
type hello struct {
	Version int    `json:"version"`
	NetNS   uint64 `json:"netns"`
}

// configRequest is the body of PUT /config.
type configRequest struct {
	Version int `json:"version"`
	Change
}

// plainRequest is the body of POST /bulk and /flush; none at all will do.
type plainRequest struct {
	Version int `json:"version"`
}

func (r *configRequest) protocol() int { return r.Version }
func (r *plainRequest) protocol() int  { return r.Version }

// decodeBody reads one JSON object of at most maxBody bytes, with no field
// that v lacks and nothing behind it. The version is looked at first: another
// one explains every other surprise.
func decodeBody(r io.Reader, v interface{ protocol() int }) error {
	b, err := io.ReadAll(r)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return ErrBodySize
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBody, err)
	}
	var only plainRequest
	if json.Unmarshal(b, &only) == nil && only.Version != Protocol {
		return &Error{Code: CodeVersion, Text: fmt.Sprintf("control protocol version %d asked for, this daemon speaks %d", only.Version, Protocol)}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrBody, err)
	}
	if d.More() {
		return fmt.Errorf("%w: more than one object", ErrBody)
	}
	return nil
}
