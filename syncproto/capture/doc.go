// Package capture reads and writes pfsync packets in pcap files, and teaches
// gopacket the protocol: a program that imports it decodes IP protocol 240 as
// layer [PFSync].
//
//	import _ "github.com/pfsync/pfsync/syncproto/capture"
//
// Files are read whatever their link layer, also as OpenBSD's and FreeBSD's
// tcpdump wrote them from pfsync0:
//
//	for p, err := range capture.Packets(file) {
//		if err != nil {
//			return err
//		}
//		os.Stdout.Write(text.Append(nil, p.IP, p.Frame, 1))
//	}
//
// It is the only package that imports gopacket, to keep that off the data
// path. The layer is one of github.com/google/gopacket. Files are read with
// its maintained continuation, github.com/gopacket/gopacket: the other knows
// link types up to 255 only, which leaves out Linux cooked version 2 (276),
// and allocates whatever length a damaged file names.
package capture
