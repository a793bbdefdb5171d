package conntrack

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite testdata from the running kernel")

// recordedFile holds what a kernel says: per line the name, how it was told,
// the message in hex and the Flow it stands for in JSON. testdata/README says
// how it was made.
const recordedFile = "testdata/kernel.txt"

type recorded struct {
	name, kind string
	msg        []byte
	flow       pfstate.Flow
}

func readRecorded(t testing.TB) (all []recorded) {
	t.Helper()
	if nativeUint32([]byte{1, 0, 0, 0}) != 1 {
		t.Skip("the recorded messages are little endian")
	}
	file, err := os.Open(recordedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for sc := bufio.NewScanner(file); sc.Scan(); {
		f := strings.SplitN(sc.Text(), "\t", 4)
		if len(f) != 4 {
			t.Fatalf("%s: %q", recordedFile, sc.Text())
		}
		r := recorded{name: f[0], kind: f[1]}
		if r.msg, err = hex.DecodeString(f[2]); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(f[3]), &r.flow); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// TestRecorded decodes what a kernel said, and compares with what that is known
// to mean and with the case it came of.
func TestRecorded(t *testing.T) {
	cases := make(map[string]pfstate.Flow)
	for _, tc := range flowCases() {
		cases[tc.name] = tc.flow
	}
	all := readRecorded(t)
	if len(all) < 2*len(cases) {
		t.Errorf("%d messages for %d cases", len(all), len(cases))
	}
	for _, r := range all {
		t.Run(r.name+" "+r.kind, func(t *testing.T) {
			_, body, rest, err := nextMessage(r.msg)
			if err != nil || len(rest) != 0 {
				t.Fatalf("%d bytes left, %v", len(rest), err)
			}
			var got pfstate.Flow
			if err := ParseFlow(body, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(r.flow, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if r.kind == "destroy" {
				return // tells less
			}
			if d := cmp.Diff(plainOf(cases[r.name]), plainOf(got)); d != "" {
				t.Errorf("the case (-want +got)\n%s", d)
			}
		})
	}
}

// TestRecord rewrites testdata/kernel.txt with -update.
func TestRecord(t *testing.T) {
	if !*update {
		return
	}
	ns := newNS(t)
	inj := newInjector(t, ns)
	var ear *socket
	var err error
	ns.Do(func() { ear, err = openSocket(0, eventGroups, func(int) error { return nil }) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ear.fd)
	var out strings.Builder
	r := newReceiver(1, eventSize)
	for _, tc := range flowCases() {
		must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
		must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
		for _, kind := range []string{"new", "destroy"} {
			if _, err := r.recv(ear.fd, 1, 0); err != nil {
				t.Fatal(err)
			}
			b, _, _ := r.datagram(0)
			_, body, _, _ := nextMessage(b)
			var f pfstate.Flow
			if err := ParseFlow(body, &f); err != nil {
				t.Fatal(err)
			}
			js, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s\t%s\t%x\t%s\n", tc.name, kind, b, js)
		}
	}
	if err := os.WriteFile(recordedFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
