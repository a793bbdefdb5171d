// Package keepalived has the configuration of keepalived for a pair of
// firewalls, and its test: the real keepalived and the real programs, on two
// machines of network and mount namespaces, with these very files, while all
// that can fail between two firewalls does.
//
// The test prints a table: what failed, the connections lost, the longest time
// nothing came through, how much of it was not keepalived's own detection, and
// how many connections the kernel did not have at the moment its machine became
// master.
package keepalived
