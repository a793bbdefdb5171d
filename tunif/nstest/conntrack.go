package nstest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Conntrack lists the entries of the namespace's table, a line each, as
// conntrack -L prints them; args filter ("-p", "tcp", "--dport", "80" …).
func (ns *NS) Conntrack(t testing.TB, args ...string) []string {
	t.Helper()
	var stderr strings.Builder // its version and the number of entries
	cmd := ns.Cmd(context.Background(), append([]string{"conntrack", "-L"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nstest: %s: conntrack -L %s: %v: %s", ns.name, strings.Join(args, " "), err, stderr.String())
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// ConntrackEvents runs conntrack -E with args and waits until it hears events.
func (ns *NS) ConntrackEvents(t testing.TB, args ...string) *Proc {
	t.Helper()
	p := ns.Start(t, "", append([]string{"conntrack", "-E"}, args...)...)
	Eventually(t, procWait, func() bool { return ns.hearsConntrack(t, p.Pid()) }, "conntrack -E to listen")
	return p
}

// netlinkNetfilter is NETLINK_NETFILTER as /proc/net/netlink prints it.
const netlinkNetfilter = "12"

// hearsConntrack tells whether the process has a netfilter socket that is
// member of a group. The columns of /proc/net/netlink are sk, Eth, Pid, Groups,
// Rmem, Wmem, Dump, Locks, Drops, Inode; the inode is what ties a line to a
// process, for only its first socket has its process id as port id.
func (ns *NS) hearsConntrack(t testing.TB, pid int) bool {
	sockets := socketInodes(pid)
	for line := range strings.Lines(ns.ReadFile(t, "/proc/thread-self/net/netlink")) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == netlinkNetfilter && f[3] != "00000000" && sockets[f[9]] {
			return true
		}
	}
	return false
}

// socketInodes is the set of sockets a process has open; empty when it is gone.
func socketInodes(pid int) map[string]bool {
	set := make(map[string]bool)
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		link, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			set[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return set
}
