// Package cli is pfsyncctl: it reads what a person typed, asks the daemon
// through package control, and prints the answer as text or JSON.
//
// The command line has three forms: nothing or an option for all interfaces, a
// name with words as ifconfig(8) takes them, a name with a verb. Words are
// those of control.Words, from left to right, one change for all of them;
// verbs are cobra commands with options of their own. Options never stand
// among words, because -syncdev is a word.
//
// Data goes to stdout, everything said about it to stderr. [Main] takes all it
// uses as arguments and returns the exit code, so that a test can call it.
//
// Text follows OpenBSD where OpenBSD prints such a thing: ifconfig(8) for
// status, netstat(1) -s for stats, pfctl(8) -ss for states.
//
// Spec: design.md sections 2 and 3, pfsync-protocol.md sections 17 to 19.
package cli
