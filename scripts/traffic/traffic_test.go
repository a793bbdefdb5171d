package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckerFindsTheByte(t *testing.T) {
	whole := make([]byte, 4096)
	fill(whole, 0)
	for _, cut := range []int{1, 7, 8, 9, 1000, 4095} {
		var c checker
		for b := whole; len(b) > 0; b = b[min(cut, len(b)):] {
			if at, ok := c.check(b[:min(cut, len(b))]); !ok {
				t.Fatalf("pieces of %d: wrong at %d", cut, at)
			}
		}
	}
	whole[1234] ^= 1
	var c checker
	if at, ok := c.check(whole); ok || at != 1234 {
		t.Errorf("changed byte: at %d, %v, want 1234", at, ok)
	}
}

func TestFillAtAnOffset(t *testing.T) {
	whole, part := make([]byte, 64), make([]byte, 32)
	fill(whole, 0)
	fill(part, 32)
	if string(whole[32:]) != string(part) {
		t.Error("the stream depends on where the piece begins")
	}
}

// listen starts a server for one connection and returns its address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			serve(c)
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestClientsEndWithTheReason(t *testing.T) {
	tests := []struct {
		name  string
		word  string
		use   func(net.Conn, *progress) error
		serve func(net.Conn)
		want  string
	}{
		{"bulk cut", wordBulk, download, func(c net.Conn) {
			b := make([]byte, 800)
			fill(b, 0)
			c.Write(b)
		}, "download ended after 800 bytes"},
		{"bulk wrong", wordBulk, download, func(c net.Conn) { c.Write(make([]byte, 8)) }, "wrong byte at 0"},
		{"talk cut", wordTalk, talk, func(net.Conn) {}, "session ended at line 1"},
		{"talk wrong", wordTalk, talk, func(c net.Conn) { c.Write([]byte("line 2\n")) }, `heard "line 2\n"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := listen(t, func(c net.Conn) {
				first := make([]byte, len(tt.word))
				if n, err := c.Read(first); err != nil || string(first[:n]) != tt.word {
					t.Errorf("first word %q, %v", first[:n], err)
				}
				tt.serve(c)
			})
			err := client(addr, filepath.Join(t.TempDir(), "report"), tt.word, tt.use)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTalkReports(t *testing.T) {
	addr := listen(t, func(c net.Conn) {
		if err := answer(c); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Log(err)
		}
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(wordTalk)); err != nil {
		t.Fatal(err)
	}
	p := newProgress()
	done := make(chan error, 1)
	go func() { done <- talk(c, p) }()
	report := filepath.Join(t.TempDir(), "report")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := p.write(report); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(report)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), " answers 1 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer: %s", b)
		}
	}
	c.Close()
	if err := <-done; err == nil {
		t.Error("talk outlived its connection")
	}
}

func TestProgressGap(t *testing.T) {
	p := newProgress()
	p.since = time.Now().Add(-3 * time.Second)
	p.received(10)
	if p.gap < 3*time.Second {
		t.Errorf("gap %v, want the three seconds waited", p.gap)
	}
	p.restart()
	if p.gap != 0 || p.bytes != 10 {
		t.Errorf("after restart gap %v bytes %d, want 0 and 10", p.gap, p.bytes)
	}
	p.answered(1)
	if p.wait() != 0 {
		t.Errorf("waits %v after the answer, want 0", p.wait())
	}
}

func TestArpFrame(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	b := arpFrame(mac, netip.MustParseAddr("192.0.2.1"))
	want := "ffffffffffff" + "020000000009" + "0806" + "0001080006040001" +
		"020000000009" + "c0000201" + "000000000000" + "c0000201"
	var have strings.Builder
	for _, x := range b {
		const hex = "0123456789abcdef"
		have.WriteByte(hex[x>>4])
		have.WriteByte(hex[x&15])
	}
	if have.String() != want {
		t.Errorf("frame\n have %s\n want %s", have.String(), want)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"bulk"}, {"serve"}, {"announce", "eth0"}, {"nonsense", "a", "b"}, {"short", "a", "0", "1"}, {"flows", "a", "1", "x"}} {
		if err := run(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want the usage", args, err)
		}
	}
}
