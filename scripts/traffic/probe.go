package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"golang.org/x/sys/unix"
)

// probePort is the destination of the entries that probe makes.
const probePort = 7

// lost is how long an entry may take; after that it is not waited for.
const lost = 30 * time.Second

// probe makes entries in the network namespace at path a, rate a second, and
// prints how long each took to be in that at path b.
func probe(a, b, count, rate string) error {
	n, perSecond, err := numbers(count, rate)
	if err != nil {
		return err
	}
	if n > 60_000 {
		return errUsage
	}
	var inj *conntrack.Injector
	var lis *conntrack.Listener
	if err := within(a, func() (err error) { inj, err = conntrack.NewInjector(); return }); err != nil {
		return err
	}
	defer inj.Close()
	if err := within(b, func() (err error) { lis, err = conntrack.Listen(conntrack.ListenConfig{}); return }); err != nil {
		return err
	}
	defer lis.Close()

	start := time.Now()
	made, took := make([]atomic.Int64, n), make([]atomic.Int64, n)
	arrived := make(chan int, n)
	go hear(lis, start, made, took, arrived)
	ops, res := make([]pfstate.Op, 1), make([]pfstate.Result, 1)
	err = paced(n, perSecond, func(i int) error {
		ops[0] = pfstate.Op{Kind: pfstate.OpCreate, Flow: probeEntry(i)}
		made[i].Store(int64(time.Since(start)))
		if _, err := inj.Do(ops, res); err != nil {
			return err
		}
		if res[0].Code != pfstate.ResultOK {
			return fmt.Errorf("entry %d: %v", i, res[0].Code)
		}
		return nil
	})
	if err != nil {
		return err
	}
	late := time.After(lost)
	for got := 0; got < n; got++ {
		select {
		case <-arrived:
		case <-late:
			return tell(took)
		}
	}
	return tell(took)
}

// probeEntry is the i-th entry of a probe.
func probeEntry(i int) pfstate.Flow {
	f := entry(0)
	f.Timeout = 10
	f.Orig.Src, f.Orig.SrcPort, f.Orig.DstPort = pfstate.Addr{192, 0, 2, 1}, uint16(1024+i), probePort
	f.Reply = f.Orig.Inverse(f.Proto)
	return f
}

// hear notes when each entry of the probe is made.
func hear(lis *conntrack.Listener, start time.Time, made, took []atomic.Int64, arrived chan<- int) {
	evs := make([]pfstate.Event, 64)
	for {
		k, err := lis.Read(evs)
		if err != nil {
			return
		}
		now := int64(time.Since(start))
		for i := range evs[:k] {
			f := &evs[i].Flow
			at := int(f.Orig.SrcPort) - 1024
			if evs[i].Kind == pfstate.EventNew && f.Orig.DstPort == probePort && at >= 0 && at < len(took) &&
				took[at].CompareAndSwap(0, max(1, now-made[at].Load())) {
				arrived <- at
			}
		}
	}
}

// tell prints what was measured.
func tell(took []atomic.Int64) error {
	var all []time.Duration
	missing := 0
	for i := range took {
		if d := time.Duration(took[i].Load()); d > 0 {
			all = append(all, d)
		} else {
			missing++
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("none of %d entries arrived", missing)
	}
	slices.Sort(all)
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000 }
	_, err := fmt.Printf("entries %d missing %d ms median %.3f p99 %.3f max %.3f\n", len(all), missing, at(0.5), at(0.99), at(1))
	return err
}

// within calls f with the thread in the network namespace at path.
func within(path string, f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ferr := f()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return err // the thread stays locked, and ends with us
	}
	runtime.UnlockOSThread()
	return ferr
}
