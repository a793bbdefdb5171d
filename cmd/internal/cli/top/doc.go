// Package top is a terminal's view of a pfsync interface, in the manner of
// pftop: the rates of both directions, bulk transfers, the peers, and the
// states that are the first in some order.
//
// Model is the whole of it: Update takes what was typed and what was measured,
// View draws a screen, and neither does anything else; asking the daemon is left
// to commands that bubbletea runs. So a test sees every screen without a
// terminal.
//
//	if err := top.Usable(os.Stdin, os.Stdout, os.Getenv); err != nil { … }
//	err := top.Run(ctx, top.Config{Source: client, Name: "pfsync0", Interval: time.Second, Orders: orders}, os.Stdin, os.Stdout)
//
// A table of a million states is not read for every screen: the pause between
// two readings is a multiple of what the last one took.
package top
