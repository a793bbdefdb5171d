// Package sim runs engines against each other: two to five firewalls, each with
// a model of its kernel's table, on a link that loses, repeats and reorders,
// while machines die and come back, daemons stall, clocks jump and connections
// come, go and move. Everything happens in one thread and in simulated time,
// and a run is a pure function of its scenario, which a seed makes.
//
// The tests judge what must be true once the faults have stopped (judge_test.go),
// shrink a scenario that fails to a smaller one that still does, and tell the
// story of the connection that it is about. All of it is test code:
//
//	make simulate SEEDS=10000 FROM=20000          many seeds, from one on
//	SIM='207 nodes=2 conns=3 faults=1' go test .  one scenario, with its trace
//
// Spec: design.md sections 5 to 7.
package sim
