// Package syncdev is the wire between firewalls: raw sockets for protocol 240
// on the interface pfsync calls its syncdev, and a watch on that interface.
//
//	conn, err := syncdev.Open(syncdev.Config{Dev: "eth2"})
//	go func() {
//		for {
//			n, err := conn.ReadBatch(packets) // payload, source, TTL, interface
//			…
//		}
//	}()
//	n, err := conn.WriteBatch(frames)
//
//	w, err := syncdev.NewWatcher("eth2", "pfsync0")
//	w.Run(ctx, func(s syncdev.Status) { conn.SetLink(s.Links[0]) … })
//
// The sending socket is bound to the interface and hears nothing. The receiving
// one is bound to no interface, so that a frame that came by another one is seen
// and can be counted as such (badif); for the same reason TTL and destination
// are reported, not checked: what is wrong with a frame is for the protocol to
// say. An interface may vanish and come back under the same name (a VLAN or bond
// made anew); the sockets stay, and [Conn.SetLink] binds them to the new one.
//
// All sockets belong to the network namespace of the thread that opened them
// and may then be used from any goroutine.
//
// Spec: pfsync-protocol.md §2, design §4 and §6.
package syncdev
