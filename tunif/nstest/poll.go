package nstest

import (
	"errors"
	"testing"
	"time"
)

// pollEvery is the pause between two looks of Eventually: short against what
// tests wait for, long against the cost of a look.
const pollEvery = 5 * time.Millisecond

// errNotYet stands for a condition that only says no.
var errNotYet = errors.New("still not so")

// Eventually looks at cond until it is true and ends the test if that takes
// longer than within; what completes "timed out waiting for". Be generous with
// within: it is only ever spent by a failing test.
func Eventually(t testing.TB, within time.Duration, cond func() bool, what string) {
	t.Helper()
	EventuallyNil(t, within, func() error {
		if cond() {
			return nil
		}
		return errNotYet
	}, what)
}

// EventuallyNil is Eventually for a condition that can say what is missing; its
// last error is part of the failure.
func EventuallyNil(t testing.TB, within time.Duration, cond func() error, what string) {
	t.Helper()
	start := time.Now()
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Since(start) > within {
			t.Fatalf("timed out after %v waiting for %s: %v", within, what, err)
		}
		time.Sleep(pollEvery)
	}
}
