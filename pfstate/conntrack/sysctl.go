package conntrack

import (
	"bytes"
	"os"
	"strconv"
)

// Names below /proc/sys/net/netfilter. They are those of the calling thread's
// network namespace.
const (
	sysctlDir     = "/proc/sys/net/netfilter/nf_conntrack_"
	sysctlCount   = "count"
	sysctlMax     = "max"
	sysctlEvents  = "events"
	sysctlAcct    = "acct"
	sysctlLiberal = "tcp_be_liberal"
)

func sysctlPath(name string) string { return sysctlDir + name }

// readSysctl reads a number.
func readSysctl(name string) (uint32, error) {
	b, err := os.ReadFile(sysctlPath(name))
	if err != nil {
		return 0, sysctlError("read", name, err)
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32)
	if err != nil {
		return 0, sysctlError("read", name, err)
	}
	return uint32(n), nil
}

func writeSysctl(name string, v uint32) error {
	err := os.WriteFile(sysctlPath(name), strconv.AppendUint(nil, uint64(v), 10), 0)
	return sysctlError("write", name, err)
}

// sysctlError puts the sysctl's own name into the text.
func sysctlError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if pe, ok := err.(*os.PathError); ok {
		err = pe.Err
	}
	return opError(op+" net.netfilter.nf_conntrack_"+name, err)
}

// Count is the number of entries in the table.
func Count() (uint32, error) { return readSysctl(sysctlCount) }

// Max is the number of entries the table may have; 0 is no limit.
func Max() (uint32, error) { return readSysctl(sysctlMax) }

// EnableEvents makes every entry made from now on tell its events. The kernel's
// default, 2, gives them only to entries made while somebody listens: those
// stay silent for life. It is not undone at exit, so that entries made while
// the daemon is away are heard when it is back.
func EnableEvents() error {
	if n, err := readSysctl(sysctlEvents); err == nil && n == 1 {
		return nil
	}
	return writeSysctl(sysctlEvents, 1)
}

// SetLiberal sets nf_conntrack_tcp_be_liberal (packets outside the window are
// marked valid) and gives the value it had, to be handed to a later call.
func SetLiberal(v uint32) (was uint32, err error) {
	was, err = readSysctl(sysctlLiberal)
	if err != nil || was == v {
		return was, err
	}
	return was, writeSysctl(sysctlLiberal, v)
}
