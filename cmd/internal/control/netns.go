package control

import (
	"fmt"
	"os"
	"syscall"
)

// NetNS returns the inode of the calling thread's network namespace, which is
// how namespaces are told apart.
func NetNS() (uint64, error) {
	fi, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return 0, fmt.Errorf("control: network namespace: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("control: network namespace: no inode")
	}
	return st.Ino, nil
}
