// Package golden has recorded pfsync frames for tests: whole IP packets, the
// values in them, what the kernel that they are for makes of them, and the
// text that its tcpdump prints. testdata/golden.txt says where they are from.
//
// Only tests import it.
//
//	for _, c := range golden.Cases(t, "openbsd6") {
//		t.Run(c.Name, func(t *testing.T) {
//			for _, p := range c.Packets {
//				frame := p.Frame() // behind the IP header
//				want := p.Expect["openbsd"].Counters
//			}
//		})
//	}
package golden
