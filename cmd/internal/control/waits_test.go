package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hung listens as a daemon that answers nothing, apart from the first line of
// a stream if hello is set.
func hung(t *testing.T, hello bool) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pfsync0.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ns, err := NetNS()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			if r, err := http.ReadRequest(bufio.NewReader(c)); err != nil || !hello || r.URL.Path != pathStates && r.URL.Path != pathMonitor {
				continue
			}
			line := fmt.Sprintf("{\"version\":%d,\"netns\":%d}\n", Protocol, ns)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s: %d\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", headerNetNS, ns, len(line), line)
		}
	}()
	return path
}

// TestSilent: a daemon that is stopped or hangs is not waited for without end,
// whatever it is asked, and in the middle of a stream either.
func TestSilent(t *testing.T) {
	requests := []struct {
		name string
		ask  func(context.Context, *Client) error
	}{
		{"status", func(ctx context.Context, c *Client) error { _, err := c.Status(ctx); return err }},
		{"stats", func(ctx context.Context, c *Client) error { _, err := c.Stats(ctx); return err }},
		{"peers", func(ctx context.Context, c *Client) error { _, err := c.Peers(ctx); return err }},
		{"states", func(ctx context.Context, c *Client) error {
			return c.States(ctx, StateQuery{}, func(*State) error { return nil })
		}},
		{"monitor", func(ctx context.Context, c *Client) error {
			return c.Monitor(ctx, func(*Record) error { return nil })
		}},
	}
	for _, hello := range []bool{false, true} {
		path := hung(t, hello)
		for _, r := range requests {
			t.Run(fmt.Sprintf("%s, first line %t", r.name, hello), func(t *testing.T) {
				c := NewClient(path)
				c.waits = waits{look: 50 * time.Millisecond, quiet: 20 * time.Millisecond}
				defer c.Close()
				if err := r.ask(t.Context(), c); !errors.Is(err, ErrTimeout) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestQuiet: a stream that has nothing to say is not given up while the daemon
// answers.
func TestQuiet(t *testing.T) {
	ns, err := NetNS()
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	path := filepath.Join(t.TempDir(), "pfsync0.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerNetNS, fmt.Sprint(ns))
		if strings.HasSuffix(r.URL.Path, pathStatus) {
			fmt.Fprintf(w, "{\"version\":%d,\"status\":{}}\n", Protocol)
			if n++; n == 3 { // one watcher asks, one after the other
				close(asked)
			}
			return
		}
		fmt.Fprintf(w, "{\"version\":%d}\n", Protocol)
		w.(http.Flusher).Flush()
		<-asked
	})}
	go hs.Serve(ln)
	defer hs.Close()
	c := NewClient(path)
	c.waits = waits{look: time.Minute, quiet: 20 * time.Millisecond}
	defer c.Close()
	if err := c.States(t.Context(), StateQuery{}, func(*State) error { return nil }); err != nil {
		t.Error(err)
	}
}
