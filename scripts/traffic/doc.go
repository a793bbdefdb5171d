// Traffic is the two ends of the connections that the demonstration sends
// through a pair of firewalls: a server, a bulk download and an idle session
// that speaks once a second.  It measures what a person would feel, the longest
// time nothing came, and checks every byte.
//
//	traffic serve ADDR                 serve both kinds until killed
//	traffic bulk ADDR REPORT           download for ever
//	traffic talk ADDR REPORT           say a line a second and wait for its echo
//	traffic short ADDR COUNT RATE      COUNT connections of one line, RATE a second
//	traffic flows IP COUNT RATE        one UDP packet for each of COUNT flows
//	traffic announce IFACE ADDR        gratuitous ARP: ADDR (IPv4) is here now
//	traffic entries COUNT              make COUNT entries of nf_conntrack
//	traffic probe A B COUNT RATE       COUNT entries in namespace A, how long until they are in B
//
// Bulk and talk keep one connection from beginning to end; losing it is the
// failure they are looking for.  Ten times a second they replace the file REPORT
// by one line,
//
//	bytes 1234 answers 5 gap 120 wait 3
//
// with the bytes received and found right, the answers to lines said, the
// longest time without progress and the present one, both in milliseconds.
// SIGUSR1 restarts gap.  A wrong byte or a lost connection ends the client with
// status 1 and a line that says which.
//
// Short and flows are load for scripts/bench.sh, entries and probe for
// scripts/scale.sh.
package main
