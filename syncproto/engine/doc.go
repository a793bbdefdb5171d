// Package engine is the pfsync machine: it takes news from the kernel and
// frames from peers, keeps the table of states, and says which frames to send
// and what to ask of the kernel.
//
// It is pure. It does no I/O, starts no goroutine or timer and reads no clock:
// every input carries now, in monotonic nanoseconds of any origin, and
// Deadline says when Tick is due. So a day of two firewalls with a bad cable
// between them runs in a second, and runs the same every time.
//
// Inputs: [Engine.Local] (kernel events and dumps), [Engine.Remote] (a frame
// from a peer), [Engine.Done] (what the kernel made of an operation),
// [Engine.Tick], [Engine.Link] (the syncdev), [Engine.Set] (configuration).
// Outputs are pulled: [Engine.NextFrame], [Engine.Ops]. One goroutine owns an
// Engine.
//
// Queues hold states, not messages: bytes are made when a frame leaves, from
// what the state is then. That is what collapses updates and bounds memory.
//
// Spec: pfsync-protocol.md sections 9 to 13, design.md sections 5 to 7. After
// if_pfsync.c of OpenBSD; where an engine differs from it on purpose, the
// place says so.
package engine
