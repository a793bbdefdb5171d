// Pfsyncctl is the ifconfig(8) of pfsync for Linux: see pfsyncctl(8).
package main

import (
	"os"

	"github.com/pfsync/pfsync/cmd/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
