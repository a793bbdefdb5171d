module github.com/pfsync/pfsync

go 1.26.0

require golang.org/x/sys v0.49.0

require (
	github.com/gopacket/gopacket v1.7.7 // indirect
	golang.org/x/tools v0.26.0 // indirect
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/rogpeppe/go-internal v1.14.1
	github.com/spf13/cobra v1.10.1
	github.com/spf13/pflag v1.0.9
)

require (
	github.com/google/go-cmp v0.7.0
	github.com/mdlayher/netlink v1.11.2
	github.com/mdlayher/socket v0.6.0 // indirect
	github.com/songgao/water v0.0.0-20200317203138-2b4b6d7c09d8
	golang.org/x/net v0.62.0
	golang.org/x/sync v0.20.0 // indirect
	pgregory.net/rapid v1.3.0
)
