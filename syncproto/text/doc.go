// Package text shows pfsync packets to people and programs: as OpenBSD's
// tcpdump prints version 6, as FreeBSD's prints version 5, and as JSON.
//
// Where the systems' printers are known to misread a frame, this one reads it
// right: it honours the message length of version 6 and goes on behind
// actions that it cannot print, reads all state formats of version 5, and
// knows the Linux region. Numbers and addresses are never resolved to names
// (tcpdump -n) and no time is printed (-t).
//
//	var ip text.IP
//	frame, err := text.ParseIP(packet, &ip)
//	if err != nil {
//		return err
//	}
//	os.Stdout.Write(text.Append(nil, &ip, frame, 1)) // -v
//	json.NewEncoder(os.Stdout).Encode(text.Decode(&ip, frame))
//
// Spec: pfsync-protocol.md section 19; print-pfsync.c and pf_print_state.c of
// both systems.
package text
