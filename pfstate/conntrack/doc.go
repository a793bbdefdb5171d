// Package conntrack is the bridge to the kernel's state table: a ctnetlink
// codec, a [Listener] for its events, a [Dumper] for its contents and an
// [Injector] that creates, changes, removes and looks up entries.
//
// It turns netlink messages into pfstate.Flow and back, and nothing else: what
// an event means for the state table, and what pfsync says about it, is decided
// in syncproto/engine. Nothing here allocates per entry; callers own all
// memory and hand in slices to fill.
//
//	inj, _ := conntrack.NewInjector()
//	lis, _ := conntrack.Listen(conntrack.ListenConfig{Own: []uint32{inj.PortID()}})
//	go func() {
//		evs := make([]pfstate.Event, 256)
//		for {
//			n, err := lis.Read(evs) // blocks
//			...
//		}
//	}()
//	n, err := inj.Do(ops, results)
//
// Sockets belong to the network namespace of the thread that opens them. Each
// of the three is used by one goroutine at a time; Close may be called from any.
//
// Two rules of the kernel shape the encoder. Translation: an entry with NAT is
// created with the plain inverse as its reply tuple and CTA_NAT_SRC and
// CTA_NAT_DST beside it; with the real reply tuple the kernel would store the
// entry and not translate. Direction: the kernel finds an entry by either of
// its tuples, so requests that change something are built to match the
// original direction only (see guard.go). What the kernel has no words for, a call
// of PPTP that it has not read, is made of two entries and read as one (see
// call.go).
//
// Source: nf_conntrack_netlink.c, nfnetlink_conntrack.h; design section 5.
package conntrack
