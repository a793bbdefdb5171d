package control_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// TestQueryValues sends every parameter there and back.
func TestQueryValues(t *testing.T) {
	var q control.StateQuery
	for key, value := range map[string]string{
		"src": "10.0.0.0/8", "dst": "2001:db8::1", "proto": "tcp", "sport": "1", "dport": "65535", "mark": "0x10/0xf0", "zone": "3",
		"origin": "10.0.0.2", "dir": "out",
	} {
		if err := q.Set(key, value); err != nil {
			t.Errorf("Set(%s, %s): %v", key, value, err)
		}
	}
	back, err := control.ParseStateQuery(q.Values())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(q, back, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if v := (control.StateQuery{}).Values(); len(v) != 0 {
		t.Errorf("nothing asked: %v", v)
	}
}

func TestOriginForms(t *testing.T) {
	for s, want := range map[string]string{
		"local": "local", "peer": "peer", "::ffff:10.0.0.2": "10.0.0.2", "2001:DB8::1": "2001:db8::1", "7F3A9C01": "7f3a9c01", "1": "00000001",
	} {
		var q control.StateQuery
		if err := q.Set("origin", s); err != nil || q.Origin != want {
			t.Errorf("origin %s = %q, %v; want %q", s, q.Origin, err, want)
		}
	}
}

// answering serves one fixed answer over HTTP.
func answering(t *testing.T, netns uint64, status int, body string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if netns != 0 {
			w.Header().Set("Pfsync-Netns", strconv.FormatUint(netns, 10))
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return path
}

// TestClientErrors meets daemons that are not what they should be.
func TestClientErrors(t *testing.T) {
	ns, err := control.NetNS()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		netns  uint64
		status int
		body   string
		want   error // nil: any
	}{
		{"other version", ns, 200, `{"version":2}`, control.ErrVersion},
		{"other namespace", ns + 1, 200, `{"version":1}`, control.ErrNetNS},
		{"not pfsyncd", 0, 200, `hello`, nil},
		{"not JSON", ns, 200, `hello`, nil},
		{"cut", ns, 200, `{"version":1,"sta`, nil},
		{"empty answer", ns, 200, `{"version":1}`, nil},
		{"busy", ns, 503, `{"version":1,"error":{"code":"busy","text":"x"}}`, control.ErrTooMany},
		{"denied", ns, 403, `{"version":1,"error":{"code":"not permitted","text":"x"}}`, control.ErrPermission},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := control.NewClient(answering(t, tc.netns, tc.status, tc.body))
			defer c.Close()
			if _, err := c.Status(t.Context()); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("Status = %v, want %v", err, tc.want)
			}
			err := c.States(t.Context(), control.StateQuery{}, func(*control.State) error { return nil })
			if tc.name != "empty answer" && (err == nil || tc.want != nil && !errors.Is(err, tc.want)) {
				t.Errorf("States = %v, want %v", err, tc.want)
			}
		})
	}
}

// TestCutStream is a stream that ends in the middle of an object, and one that
// ends in an error.
func TestCutStream(t *testing.T) {
	ns, err := control.NetNS()
	if err != nil {
		t.Fatal(err)
	}
	states := func(body string) (n int, err error) {
		c := control.NewClient(answering(t, ns, 200, body))
		defer c.Close()
		err = c.States(t.Context(), control.StateQuery{}, func(*control.State) error { n++; return nil })
		return n, err
	}
	head := `{"version":1}` + "\n" + `{"id":"1"}` + "\n"
	if n, err := states(head); n != 1 || err != nil {
		t.Errorf("whole: %d, %v", n, err)
	}
	if n, err := states(head + `{"id":`); n != 1 || !errors.Is(err, control.ErrEnded) {
		t.Errorf("cut: %d, %v", n, err)
	}
	if n, err := states(head + `{"error":{"code":"error","text":"table moved"}}`); n != 1 || err == nil || err.Error() != "table moved" {
		t.Errorf("error: %d, %v", n, err)
	}
}
