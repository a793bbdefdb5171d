package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// unit is the service that runs pfsyncd for pfsync0.
const unit = "pfsyncd.service"

// unitDirs are where systemd finds units, systemd.unit(5).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// useSystemd reports whether the daemon is systemd's to start (design section
// 3): it runs, has the unit, the run directory is the unit's, and we are not
// ourselves started by it. It also must be our namespace that it starts it in.
func (a *app) useSystemd() bool {
	if a.name != "pfsync0" || !a.dirs().IsDefault() || a.getenv("INVOCATION_ID") != "" {
		return false
	}
	if fi, err := os.Stat("/run/systemd/system"); err != nil || !fi.IsDir() {
		return false
	}
	return unitInstalled() && sameNetNS("/proc/1/ns/net", "/proc/self/ns/net")
}

func unitInstalled() bool {
	for _, d := range unitDirs {
		if _, err := os.Stat(filepath.Join(d, unit)); err == nil {
			return true
		}
	}
	return false
}

func sameNetNS(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// startUnit returns when the unit has said that it is ready (Type=notify).
func (a *app) startUnit() error {
	out, err := exec.CommandContext(a.ctx, "systemctl", "start", unit).CombinedOutput()
	if err != nil {
		if text := bytes.TrimSpace(out); len(text) > 0 {
			a.say("%s", bytes.ReplaceAll(text, []byte("\n"), []byte("; ")))
		}
		return fmt.Errorf("systemctl start %s: %w; see journalctl -u %s", unit, err, unit)
	}
	return nil
}
