// Package nfqueue holds first packets for defer: it reads a queue of the
// kernel's NFQUEUE, tells which connection each packet begins, and gives the
// verdicts. [Rules] are what sends packets there.
//
//	q, err := nfqueue.Open(240)
//	rules, err := nfqueue.Install("pfsync0", 240, q.Conntrack(), nfqueue.Missing())
//	n, err := q.Read(pkts)              // many per call
//	err = q.Accept([]uint32{pkts[0].ID}) // in any order
//
// Where the kernel can (CONFIG_NETFILTER_NETLINK_GLUE_CT) a packet brings its
// conntrack entry, still unconfirmed, with both tuples; else the connection is
// read from the packet itself, which cannot tell a translated source
// (linux-facts 3).
//
// What is left out: packets are never changed or dropped, and a packet whose
// connection cannot be told is let go at once. Formats: nfnetlink_queue.h.
package nfqueue
