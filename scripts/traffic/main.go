package main

import (
	"errors"
	"fmt"
	"os"
)

// errUsage is answered with status 2, as the project's programs do.
var errUsage = errors.New("usage: traffic serve ADDR | bulk ADDR REPORT | talk ADDR REPORT | short ADDR COUNT RATE | flows IP COUNT RATE | announce IFACE ADDR | entries COUNT | probe A B COUNT RATE")

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "traffic:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "bulk":
		return client(args[1], args[2], wordBulk, download)
	case len(args) == 3 && args[0] == "talk":
		return client(args[1], args[2], wordTalk, talk)
	case len(args) == 4 && args[0] == "short":
		return short(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "flows":
		return flows(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "announce":
		return announce(args[1], args[2])
	case len(args) == 2 && args[0] == "entries":
		return entries(args[1])
	case len(args) == 5 && args[0] == "probe":
		return probe(args[1], args[2], args[3], args[4])
	}
	return errUsage
}
