// Package nstest is a test bed of network namespaces: real interfaces, real
// routing, real nf_conntrack, in tests that need no build tag and leave nothing
// behind.
//
//	bed := nstest.New(t)                       // skips without the rights
//	a, b := bed.NS("fw1"), bed.NS("fw2")
//	bed.Veth(a, "eth0", b, "eth0")
//	a.Addr(t, "eth0", "10.0.0.1/24")
//	b.Addr(t, "eth0", "10.0.0.2/24")
//	b.Echo(t, "tcp", "10.0.0.2:7")
//	c := a.Dial(t, "tcp", "10.0.0.2:7")        // use it from any goroutine
//
// The namespaces have no name in /run/netns: they are held by a descriptor of
// the test process, so that even a killed test leaves none. A descriptor opened
// inside [NS.Do] belongs to that namespace for life and works from every
// goroutine; that is how several daemons in several namespaces run in one
// race-checked test process.
//
// [NewTopology] builds the usual picture: a client and a server with two (or
// three) firewalls between them, a sync link among these, gateway addresses
// that move from one to the other.
//
// A test that cannot have namespaces is skipped with the reason; with
// PFSYNC_REQUIRE_NETNS=1 in the environment it fails instead. Waiting is
// always polling ([Eventually]), never sleeping.
package nstest
