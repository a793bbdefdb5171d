// Package tunif is the pseudo-device pfsync0: a TUN interface that nobody
// routes to and on which every frame we send can be seen with tcpdump.
//
//	dev, err := tunif.Create("pfsync0", 1500)
//	go dev.Run(ctx)                            // throws away what the host sends to it
//	pkt := make([]byte, tunif.HeaderLen+n)     // frame behind the headroom
//	tunif.PutHeader(pkt, src, id)
//	dev.Write(pkt)
//
// To the kernel a frame written here is a packet that arrived on pfsync0. It
// must not be delivered, forwarded or tracked, and it is not, because of its
// destination: it always is the group 224.0.0.240, whatever the real one, and
// that group is not joined on pfsync0, so routing drops the packet before
// conntrack and without a log line. A unicast destination would be routed.
//
// The package leaves out what goes over the wire: that is tunif/syncdev.
//
// Spec: design §4, pfsync-protocol.md §2.
package tunif
