// Package controltest has a control.Backend that keeps everything in memory,
// for tests of whatever talks to one.
package controltest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Backend is a daemon without a device, a kernel and a network. The zero value
// is not usable; call New.
type Backend struct {
	mu sync.Mutex // guards everything below

	Answers   control.Status // what Status returns, apart from Config
	Counters  control.Stats
	Table     []control.State
	Records   []control.Record       // handed out by Monitor
	Hold      bool                   // Monitor waits for ctx after the last record
	Devices   []string               // interfaces that exist, for syncdev
	Fail      error                  // returned by everything, if set
	Verdicts  []control.Verification // of Verified, one after the other; the last one stays
	Changes   []control.Change       // as received
	Requests  []string               // bulk, flush, destroy as received
	destroyed chan struct{}
}

// New returns a Backend for an interface with the default configuration and
// the devices eth1, eth2.
func New(name string) *Backend {
	return &Backend{
		Answers: control.Status{
			Name: name, MTU: 1500, Config: control.DefaultConfig(), HostID: 0x7f3a9c01,
			Sync: control.Sync{State: control.SyncAlone}, Groups: control.Groups(), Peers: []control.Peer{},
			Daemon: control.Daemon{Version: control.Release},
		},
		Devices:   []string{"eth1", "eth2"},
		destroyed: make(chan struct{}),
	}
}

// Do runs f while nothing else looks at the fields.
func (b *Backend) Do(f func(*Backend)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// Destroyed is closed by Destroy.
func (b *Backend) Destroyed() <-chan struct{} { return b.destroyed }

// Status implements control.Backend.
func (b *Backend) Status(context.Context) (control.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.Answers
	st.Config = st.Config.Clone()
	st.Peers = slices.Clone(st.Peers)
	return st, b.Fail
}

// Stats implements control.Backend.
func (b *Backend) Stats(context.Context) (control.Stats, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Counters, b.Fail
}

// Peers implements control.Backend.
func (b *Backend) Peers(context.Context) ([]control.Peer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.Answers.Peers), b.Fail
}

// States implements control.Backend. It emits in steps of 100.
func (b *Backend) States(ctx context.Context, _ control.StateQuery, emit func([]control.State) error) error {
	b.mu.Lock()
	table, fail := slices.Clone(b.Table), b.Fail
	b.mu.Unlock()
	for step := range slices.Chunk(table, 100) {
		if err := emit(step); err != nil {
			return err
		}
	}
	return fail
}

// Monitor implements control.Backend.
func (b *Backend) Monitor(ctx context.Context, emit func(control.Record) error) error {
	b.mu.Lock()
	recs, fail, hold := slices.Clone(b.Records), b.Fail, b.Hold
	b.mu.Unlock()
	for _, r := range recs {
		if err := emit(r); err != nil {
			return err
		}
	}
	if hold && fail == nil {
		<-ctx.Done()
	}
	return fail
}

// Configure implements control.Backend.
func (b *Backend) Configure(_ context.Context, ch control.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Changes = append(b.Changes, ch)
	if b.Fail != nil {
		return b.Fail
	}
	n, err := b.Answers.Config.Apply(ch)
	if err != nil {
		return err
	}
	if n.SyncDev != "" && !slices.Contains(b.Devices, n.SyncDev) && !ch.Wait {
		return &control.WordError{Word: "syncdev", Arg: n.SyncDev, Err: errors.New("no such device")}
	}
	b.apply(n)
	return nil
}

// apply makes status look as a daemon's would.
func (b *Backend) apply(n control.Config) {
	st := &b.Answers
	st.Config, st.Up = n, n.Up
	st.Running = n.Up && slices.Contains(b.Devices, n.SyncDev)
	if n.HostID != 0 {
		st.HostID = control.HexID(n.HostID)
	}
	if n.MTU != 0 {
		st.MTU = n.MTU
	}
}

// Destroy implements control.Backend.
func (b *Backend) Destroy(context.Context) error {
	if err := b.request("destroy"); err != nil {
		return err
	}
	close(b.destroyed)
	return nil
}

// Bulk implements control.Backend.
func (b *Backend) Bulk(context.Context) error { return b.request("bulk") }

// Flush implements control.Backend.
func (b *Backend) Flush(context.Context) (control.FlushResult, error) {
	err := b.request("flush")
	b.mu.Lock()
	defer b.mu.Unlock()
	r := control.FlushResult{States: len(b.Table)}
	if err == nil {
		b.Table = nil
	}
	return r, err
}

// Verify implements control.Backend.
func (b *Backend) Verify(_ context.Context, peer netip.Addr) error {
	if !peer.IsValid() {
		return b.request("verify")
	}
	return b.request("verify " + peer.String())
}

// Verified implements control.Backend.
func (b *Backend) Verified(context.Context) (v control.Verification, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.Verdicts) > 0 {
		v = b.Verdicts[0]
	}
	if len(b.Verdicts) > 1 {
		b.Verdicts = b.Verdicts[1:]
	}
	return v, b.Fail
}

func (b *Backend) request(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Requests = append(b.Requests, what)
	if b.Fail != nil {
		return fmt.Errorf("%s: %w", what, b.Fail)
	}
	return nil
}
