package main

import (
	"net"
	"strings"
	"testing"
)

func TestShortConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	served := make(chan int)
	go func() {
		n := 0
		for {
			c, err := l.Accept()
			if err != nil {
				served <- n
				return
			}
			n++
			go func() { defer c.Close(); answer(c) }()
		}
	}()
	if err := short(addr, "200", "100000"); err != nil {
		t.Error(err)
	}
	l.Close()
	if n := <-served; n != 200 {
		t.Errorf("%d connections came, want 200", n)
	}
	if err := short(addr, "3", "100000"); err == nil || !strings.HasPrefix(err.Error(), "3 of 3 connections: ") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestFlowsAreDistinct(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3), Port: firstPort})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := flows("127.0.0.3", "2001", "1000000"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{} // every 1000th of the flows comes to this port
	for range 3 {
		_, from, err := c.ReadFrom(make([]byte, 1))
		if err != nil {
			t.Fatal(err)
		}
		seen[from.String()] = true
	}
	if len(seen) != 3 {
		t.Errorf("sources %v, want three", seen)
	}
}
