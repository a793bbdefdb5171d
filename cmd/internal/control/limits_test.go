package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come: far more than it takes
// on a busy machine.
const patience = time.Minute

// endless is a backend whose streams never end by themselves.
type endless struct {
	Backend            // nil: nothing else is asked
	ended   chan error // what emit said at last
}

func (e *endless) Status(context.Context) (Status, error) { return Status{Name: "pfsync0"}, nil }

func (e *endless) States(_ context.Context, _ StateQuery, emit func([]State) error) error {
	for {
		if err := emit(make([]State, 100)); err != nil {
			e.ended <- err
			return err
		}
	}
}

func (e *endless) Monitor(ctx context.Context, _ func(Record) error) error {
	<-ctx.Done()
	e.ended <- ctx.Err()
	return ctx.Err()
}

func (e *endless) Configure(context.Context, Change) error { return nil }

// run serves e with short timeouts.
func run(t *testing.T, e *endless, times timeouts) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pfsync0.sock")
	ln, err := Listen(path, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := NetNS()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := &Server{Backend: e, NetNS: ns, Log: slog.New(slog.DiscardHandler), times: times}
	go func() { done <- srv.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return path
}

// raw sends text and returns the answer, or an error if the server hung up
// without one.
func raw(t *testing.T, path, text string) (*http.Response, answer, error) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go io.WriteString(c, text) // the server may answer before it has read all
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, answer{}, err
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Errorf("answer is not JSON: %v", err)
	}
	return resp, a, nil
}

func request1(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path, len(body), body)
}

func TestBadRequests(t *testing.T) {
	path := run(t, &endless{}, timeouts{})
	big := `{"version":1,"set":[{"word":"description","arg":"` + strings.Repeat("x", maxBody) + `"}]}`
	for _, tc := range []struct {
		name   string
		text   string
		status int
		code   Code
		part   string // of the text
	}{
		{"good", request1("GET", "/status", ""), 200, "", ""},
		{"a change", request1("PUT", "/config", `{"version":1,"set":[{"word":"up"}]}`), 200, "", ""},
		{"too long", request1("PUT", "/config", big), 400, CodeInvalid, "longer than 1 MiB"},
		{"cut", request1("PUT", "/config", `{"version":1,"set":[{"word":"up"`), 400, CodeInvalid, "not understood"},
		{"empty", request1("PUT", "/config", ""), 400, CodeInvalid, "not understood"},
		{"no JSON", request1("PUT", "/config", "syncdev eth1"), 400, CodeInvalid, "not understood"},
		{"two objects", request1("PUT", "/config", `{"version":1} {"version":1}`), 400, CodeInvalid, "more than one object"},
		{"unknown field", request1("PUT", "/config", `{"version":1,"sett":[]}`), 400, CodeInvalid, `unknown field "sett"`},
		{"other version", request1("PUT", "/config", `{"version":2,"set":[]}`), 400, CodeVersion, "version 2 asked for, this daemon speaks 1"},
		{"other version with other fields", request1("PUT", "/config", `{"version":2,"new":true}`), 400, CodeVersion, "version 2"},
		{"no version", request1("PUT", "/config", `{"set":[]}`), 400, CodeVersion, "version 0"},
		{"unknown word", request1("PUT", "/config", `{"version":1,"set":[{"word":"fly"}]}`), 400, CodeInvalid, "fly: unknown word"},
		{"out of range", request1("PUT", "/config", `{"version":1,"set":[{"word":"maxupd","arg":"256"}]}`), 400, CodeInvalid, "maxupd 256: too large"},
		{"argument too much", request1("PUT", "/config", `{"version":1,"set":[{"word":"up","arg":"1"}]}`), 400, CodeInvalid, "wrong number of arguments"},
		{"destroy among others", request1("PUT", "/config", `{"version":1,"set":[{"word":"destroy"},{"word":"up"}]}`), 400, CodeInvalid, "stands alone"},
		{"no such path", request1("GET", "/etc/passwd", ""), 404, CodeInvalid, "no such request"},
		{"wrong method", request1("GET", "/flush", ""), 405, CodeInvalid, "wants POST"},
		{"GET with a body", request1("GET", "/status", "{}"), 400, CodeInvalid, "GET takes no body"},
		{"unknown parameter", request1("GET", "/states?color=red", ""), 400, CodeInvalid, "color"},
		{"repeated parameter", request1("GET", "/states?zone=1&zone=2", ""), 400, CodeInvalid, "more than once"},
		{"bad parameter", request1("GET", "/states?src=10.0.0", ""), 400, CodeInvalid, "src 10.0.0: invalid"},
		{"other namespace", "GET /status HTTP/1.1\r\nHost: x\r\nPfsync-Netns: 1\r\n\r\n", 409, CodeNetNS, ErrNetNS.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, a, err := raw(t, path, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status || a.Version != Protocol || a.NetNS == 0 {
				t.Errorf("status %d, version %d, netns %d; want status %d", resp.StatusCode, a.Version, a.NetNS, tc.status)
			}
			if tc.code == "" {
				if a.Error != nil {
					t.Errorf("error %v", a.Error)
				}
				return
			}
			if a.Error == nil || a.Error.Code != tc.code || !strings.Contains(a.Error.Text, tc.part) {
				t.Errorf("error %+v, want %s: …%s…", a.Error, tc.code, tc.part)
			}
		})
	}
}

// TestGarbage sends what is not HTTP: the server hangs up or says 400, and
// still answers the next.
func TestGarbage(t *testing.T) {
	path := run(t, &endless{}, timeouts{})
	for _, text := range []string{"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", strings.Repeat("A", 1<<17) + "\r\n\r\n"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, text) // may fail: the server hangs up early
		io.Copy(io.Discard, c)
		c.Close()
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestHangingClients fills all places with clients that never finish their
// request. One more is told so at once; when the hanging ones have timed out
// there is room again.
func TestHangingClients(t *testing.T) {
	path := run(t, &endless{}, timeouts{header: time.Second, body: time.Second, idle: time.Second, write: time.Second, last: time.Second})
	for i := range maxClients {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			io.WriteString(c, "GET /status HT")
		}
	}
	resp, a, err := raw(t, path, "") // says nothing, so that it cannot be reset while writing
	if err == nil && (resp.StatusCode != http.StatusServiceUnavailable || a.Error == nil || a.Error.Code != CodeBusy) {
		t.Errorf("status %d, error %+v, want 503 busy", resp.StatusCode, a.Error)
	}
	if err != nil {
		t.Errorf("no answer: %v", err)
	}
	eventually(t, func() error {
		c := NewClient(path)
		defer c.Close()
		_, err := c.Status(t.Context())
		return err
	})
}

// TestSilentDaemon: a daemon that hangs is not waited for for ever.
func TestSilentDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // the kernel accepts, nobody reads
	c := NewClient(path)
	defer c.Close()
	c.http.Transport.(*http.Transport).ResponseHeaderTimeout = time.Millisecond
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrTimeout) {
		t.Errorf("Status = %v, want %v", err, ErrTimeout)
	}
	if err := c.Configure(t.Context(), Change{Set: []Setting{{Word: "up"}}}); !errors.Is(err, ErrTimeout) {
		t.Errorf("Configure = %v, want %v", err, ErrTimeout)
	}
}

// eventually asks until there is no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // between two tries, nothing depends on it
	}
}

// TestSlowReader takes nothing of a stream: the server gives it up, and the
// backend's walk ends.
func TestSlowReader(t *testing.T) {
	e := &endless{ended: make(chan error, 1)}
	path := run(t, e, timeouts{header: time.Second, body: time.Second, idle: time.Second, write: 100 * time.Millisecond, last: time.Second})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, request1("GET", "/states", ""))
	select {
	case err := <-e.ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("emit = %v, want a deadline", err)
		}
	case <-time.After(patience):
		t.Error("the walk goes on")
	}
}

// TestClientGone ends a monitor when its client has gone.
func TestClientGone(t *testing.T) {
	e := &endless{ended: make(chan error, 1)}
	path := run(t, e, timeouts{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewClient(path).Monitor(ctx, func(*Record) error { return nil }) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Monitor = %v", err)
	}
}

// TestStreamLimit opens all streams there may be; one more is refused.
func TestStreamLimit(t *testing.T) {
	e := &endless{ended: make(chan error, maxStreams)}
	path := run(t, e, timeouts{})
	for range maxStreams {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, request1("GET", "/monitor", ""))
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil { // the head is there: the stream is open
			t.Fatal(err)
		}
	}
	err := NewClient(path).Monitor(t.Context(), func(*Record) error { return nil })
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("Monitor = %v, want %v", err, ErrTooMany)
	}
}

// TestStopping lets the server stop under a client: it must see that the stream
// was cut.
func TestStopping(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Listen(path, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := NetNS()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	srv := &Server{Backend: &endless{ended: make(chan error, 1)}, NetNS: ns, Log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }()
	err = NewClient(path).States(t.Context(), StateQuery{}, func(*State) error { cancel(); return nil })
	if err == nil {
		t.Error("a stream that was cut looks whole")
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestNotRoot connects as another user, who may look and not change.
func TestNotRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	path := run(t, &endless{}, timeouts{})
	for _, f := range []struct {
		path string
		mode os.FileMode
	}{{filepath.Dir(filepath.Dir(path)), 0o755}, {filepath.Dir(path), 0o755}, {path, 0o666}} {
		if err := os.Chmod(f.path, f.mode); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan [2]string, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			done <- [2]string{errno.Error()}
			return
		}
		done <- [2]string{ask(path, request1("GET", "/status", "")), ask(path, request1("POST", "/flush", ""))}
	}()
	got := <-done
	if want := [2]string{"200", "403 not permitted"}; got != want {
		t.Errorf("GET, POST = %q, want %q", got, want)
	}
}

// ask is raw for a goroutine that is not the test's.
func ask(path, text string) string {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var a answer
	json.NewDecoder(resp.Body).Decode(&a)
	if a.Error != nil {
		return fmt.Sprintf("%d %s", resp.StatusCode, a.Error.Code)
	}
	return fmt.Sprint(resp.StatusCode)
}

// TestClientLimit: who comes when all places are taken is told so, however his
// request and the refusal cross.
func TestClientLimit(t *testing.T) {
	path := run(t, &endless{ended: make(chan error, 1)}, defaultTimeouts)
	for range maxClients {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 50 {
		c := NewClient(path)
		_, err := c.Status(t.Context())
		c.Close()
		if !errors.Is(err, ErrTooMany) {
			t.Fatalf("%v, want %v", err, ErrTooMany)
		}
	}
}
