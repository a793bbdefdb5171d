package nstest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// ProgramsEnv is the environment variable that names a directory in which
// pfsyncd and pfsyncctl are already, for machines without a compiler.
const ProgramsEnv = "PFSYNC_TEST_PROGRAMS"

// Built by the first test of the process that asks; made is "" if they were
// there.
var (
	made     string
	programs = sync.OnceValues(func() (string, error) {
		if have := os.Getenv(ProgramsEnv); have != "" {
			return have, nil
		}
		dir, err := os.MkdirTemp("", "pfsync-programs")
		if err != nil {
			return "", err
		}
		made = dir
		cmd := exec.Command("go", "build", "-o", dir+"/", "github.com/pfsync/pfsync/cmd/pfsyncd", "github.com/pfsync/pfsync/cmd/pfsyncctl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w: %s", err, out)
		}
		return dir, nil
	})
)

// Bin gives the directory with pfsyncd and pfsyncctl, built once for all tests
// of a package, whose TestMain must be [Main].
func Bin(t testing.TB) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// MachineEnv is the environment variable that says that the machine is ours
// alone, its clock and the limits of its kernel too. Without it the tests whose
// names begin with TestMachine are not part of the run.
const MachineEnv = "PFSYNC_TEST_MACHINE"

// Main is the TestMain of a package that uses [Bin]: it runs the tests, removes
// what was built, and ends the process.
func Main(m *testing.M) {
	flag.Parse()
	if os.Getenv(MachineEnv) == "" {
		leaveOut("^TestMachine")
	}
	code := m.Run()
	os.RemoveAll(made)
	os.Exit(code)
}

// leaveOut adds tests to those that the flag -skip names.
func leaveOut(names string) {
	f := flag.Lookup("test.skip")
	if also := f.Value.String(); also != "" {
		names = also + "|" + names
	}
	f.Value.Set(names)
}
