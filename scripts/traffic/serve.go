package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"time"
)

// What a client says first.
const (
	wordBulk = "bulk\n"
	wordTalk = "talk\n"
)

// The download is paced: it must keep the line busy, not the machine, which
// plays all five hosts.
const (
	chunk     = 32 << 10              // bytes written at a time
	chunkTime = 2 * time.Millisecond  // one chunk each: 16 MB/s
	maxBehind = 50 * time.Millisecond // no catching up beyond this after a stall
)

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := answer(c); err != nil {
				log.Printf("%v: %v", c.RemoteAddr(), err)
			}
		}()
	}
}

func answer(c net.Conn) error {
	in := bufio.NewReader(c)
	first, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	if first == wordBulk {
		return upload(c)
	}
	_, err = io.Copy(c, in)
	return err
}

// upload writes the stream until the client goes.
func upload(w io.Writer) error {
	buf := make([]byte, chunk)
	due := time.Now()
	for offset := uint64(0); ; offset += chunk {
		fill(buf, offset)
		if _, err := w.Write(buf); err != nil {
			return err
		}
		due = due.Add(chunkTime)
		if now := time.Now(); now.Sub(due) > maxBehind {
			due = now
		}
		time.Sleep(time.Until(due))
	}
}
