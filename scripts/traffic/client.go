package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	reportEvery = 100 * time.Millisecond
	speakEvery  = time.Second
)

// client opens the one connection, says what it wants, and lets use have it
// until it fails; meanwhile the report is kept up to date.
func client(addr, report, word string, use func(net.Conn, *progress) error) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, word); err != nil {
		return err
	}
	p := newProgress()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR1)

	done := make(chan error, 1)
	go func() { done <- use(c, p) }()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-again:
			p.restart()
		case <-tick.C:
			if err := p.write(report); err != nil {
				return err
			}
		}
	}
}

// download reads and checks the stream.
func download(c net.Conn, p *progress) error {
	buf := make([]byte, 256<<10)
	var check checker
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if at, ok := check.check(buf[:n]); !ok {
				return fmt.Errorf("wrong byte at %d", at)
			}
			p.received(n)
		}
		if err != nil {
			return fmt.Errorf("download ended after %d bytes: %w", check.offset, err)
		}
	}
}

// talk says a line each second; what counts is the wait for its echo, not the
// second in between.
func talk(c net.Conn, p *progress) error {
	in := bufio.NewReader(c)
	tick := time.NewTicker(speakEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		p.asked()
		said := fmt.Sprintf("line %d\n", n)
		if _, err := io.WriteString(c, said); err != nil {
			return fmt.Errorf("session ended at line %d: %w", n, err)
		}
		heard, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("session ended at line %d: %w", n, err)
		}
		if heard != said {
			return fmt.Errorf("said %q, heard %q", said, heard)
		}
		p.answered(len(heard))
		<-tick.C
	}
}
