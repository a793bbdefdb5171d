// Package pfstate knows states: what one tracked connection is ([State]), how
// the kernel tells it ([Flow]), how a batch of news about it looks ([Event]),
// what is asked of the kernel ([Op]) and what came of it ([Result]), and the
// [Table] and queues in which states are kept.
//
// It does no I/O, reads no clock and knows no wire format: package
// pfstate/conntrack talks to the kernel, package syncproto/engine speaks
// pfsync. All types are flat values without pointers, so that a million of
// them cost the garbage collector nothing and a batch can be copied with one
// move.
//
// Words follow pf where a state is meant (key, peer, name, creatorid, timeout
// index) and ctnetlink where a kernel entry is meant (tuple, zone, mark,
// status).
//
// Spec: design.md section 5, pfsync-protocol.md sections 6 to 8.
package pfstate
