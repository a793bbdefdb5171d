// Package tuntest has stand-ins for the pseudo-device and for the link between
// firewalls, for tests that need neither rights nor a kernel: [Device] has the
// methods of tunif.Device, [Link] joins [Conn]s with the methods of
// syncdev.Conn, [Watcher] has those of syncdev.Watcher. Nothing in it sleeps,
// waits for the network or reads a clock, so it works in testing/synctest.
package tuntest
