// Pfsyncd keeps the state tables of firewalls equal: see pfsyncd(8).
package main

import (
	"os"

	"github.com/pfsync/pfsync/cmd/internal/daemon"
)

func main() {
	os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}
