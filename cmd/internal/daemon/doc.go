// Package daemon is pfsyncd: it wires the pfsync machine to the kernel's state
// table, the pseudo-device, the syncdev and the control socket.
//
// One goroutine, the loop, owns engine and table; there is no lock around
// them. All else are tasks that talk to it by batches and requests:
//
//	listener  ─[Event]─▶ ┌──────┐ ─[frames]─▶ sender ─▶ syncdev, pfsync0
//	dumper    ─[Event]─▶ │ loop │
//	receiver  ─[Packet]─▶│      │ ─[Op]─▶ injector ─[Result]─▶ (back)
//	watcher   ─[Link]──▶ └──────┘ ─[demotion, peers]─▶ keeper
//	control, signals ─[request]─▶ (run between two batches)
//
// A batch is owned by who received it last; the batches of each kind are made
// once and circulate. An error or a panic of any task ends the daemon: inputs
// first, then the loop, which sends what is queued, then the outputs. Entries
// of the kernel are never removed by that.
//
//	d, err := daemon.New(daemon.Config{Name: "pfsync0", Dirs: dirs, Log: log, Host: daemon.System(nil)})
//	err = d.Run(ctx) // until ctx ends, destroy, or an error
//
// Spec: design.md sections 3 to 6.
package daemon
