package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// shortAtOnce is how many short connections there are at the same time at most.
const shortAtOnce = 100

// short makes count connections, rate a second, each of which says one line,
// hears it again and closes.
func short(addr, count, rate string) error {
	n, perSecond, err := numbers(count, rate)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, shortAtOnce)
	failed := make(chan error, n)
	paced(n, perSecond, func(int) error {
		slots <- struct{}{}
		wg.Go(func() {
			if err := oneLine(addr); err != nil {
				failed <- err
			}
			<-slots
		})
		return nil
	})
	wg.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("%d of %d connections: %w", len(failed)+1, n, err)
	default:
		return nil
	}
}

// oneLine is one connection.
func oneLine(addr string) error {
	const line = "hello\n"
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, wordTalk+line); err != nil {
		return err
	}
	heard, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && heard != line {
		err = fmt.Errorf("said %q, heard %q", line, heard)
	}
	return err
}

// Each socket sends to so many ports of the other side, from firstPort on.
const (
	portsPerSocket = 1000
	firstPort      = 20000
)

// flows sends one UDP packet for each of count flows, rate a second.
func flows(addr, count, rate string) error {
	n, perSecond, err := numbers(count, rate)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return err
	}
	var open []*net.UDPConn // to the end: a port must not come twice
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	return paced(n, perSecond, func(i int) error {
		if i%portsPerSocket == 0 {
			c, err := net.ListenUDP("udp", nil)
			if err != nil {
				return err
			}
			open = append(open, c)
		}
		_, err := open[len(open)-1].WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(ip, uint16(firstPort+i%portsPerSocket)))
		return err
	})
}

// paced calls f n times, perSecond times a second; after a delay it catches up.
func paced(n, perSecond int, f func(i int) error) error {
	start := time.Now()
	for i := range n {
		due := start.Add(time.Second * time.Duration(i) / time.Duration(perSecond))
		if wait := time.Until(due); wait > time.Millisecond {
			time.Sleep(wait)
		}
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

func numbers(count, rate string) (n, perSecond int, err error) {
	if n, err = strconv.Atoi(count); err == nil {
		perSecond, err = strconv.Atoi(rate)
	}
	if err != nil || n < 1 || perSecond < 1 {
		return 0, 0, errUsage
	}
	return n, perSecond, nil
}
