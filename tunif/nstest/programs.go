package nstest

import (
	"fmt"
	"os"
	"os/exec"
)

// ProgramsEnv is the environment variable that names a directory in which
// pfsyncd and pfsyncctl are already, for machines without a compiler.
const ProgramsEnv = "PFSYNC_TEST_PROGRAMS"

// Programs builds pfsyncd and pfsyncctl in dir, unless ProgramsEnv says where
// they are, and gives the directory that has them.
func Programs(dir string) (string, error) {
	if have := os.Getenv(ProgramsEnv); have != "" {
		return have, nil
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "github.com/pfsync/pfsync/cmd/pfsyncd", "github.com/pfsync/pfsync/cmd/pfsyncctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, nil
}
