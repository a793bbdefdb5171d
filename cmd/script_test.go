package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync/pfsync/cmd/internal/cli"
	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/cmd/internal/control/controltest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pfsyncctl": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)) },
		"pfsyncd":   func() { os.Exit(fakeDaemon(os.Args[1:])) },
	})
}

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestScripts runs testdata/script/*.txtar. Beside testscript's own commands
// there are
//
//	serve [NAME [SCENARIO]]  start a daemon without a device in this process
//	halt [NAME]              stop it
//	code N CMD ARG…          run a command that must exit with N
//	json                     the output is one JSON value a line
//	asked                    what the daemon was asked for, to stdout
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Values[daemons{}] = map[string]*daemon{}
			run := filepath.Join(env.WorkDir, "run")
			env.Vars = append(env.Vars, "PFSYNC_RUNDIR="+run, "PFSYNC_ETCDIR="+filepath.Join(env.WorkDir, "etc"), "TZ=UTC",
				"GORACE=atexit_sleep_ms=0") // else every command takes a second with -race
			return os.Mkdir(run, 0o755)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "halt": halt, "code": code, "json": checkJSON, "asked": asked,
		},
	})
}

// daemons is the key of the running daemons of a script.
type daemons struct{}

// daemon is a control server with a backend in memory.
type daemon struct {
	backend *controltest.Backend
	cancel  context.CancelFunc
	done    chan error
}

// scenario is what a script says of the daemon it wants.
type scenario struct {
	Status  control.Status   `json:"status"`
	Stats   control.Stats    `json:"stats"`
	States  []control.State  `json:"states"`
	Repeat  int              `json:"repeat"` // the states so many times
	Records []control.Record `json:"records"`
	Hold    bool             `json:"hold"`
	Devices []string         `json:"devices"`
	Fail    *control.Error   `json:"fail"`

	Verdicts []control.Verification `json:"verdicts"`
	NetNS    uint64                 `json:"netns"`
}

// load reads a scenario on top of what an untouched backend has.
func load(name string, b []byte) (*controltest.Backend, scenario, error) {
	back := controltest.New(name)
	s := scenario{Status: back.Answers, Devices: back.Devices, Repeat: 1}
	if len(b) > 0 {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return nil, s, err
		}
	}
	back.Answers, back.Counters, back.Devices, back.Records, back.Hold = s.Status, s.Stats, s.Devices, s.Records, s.Hold
	for range s.Repeat {
		back.Table = append(back.Table, s.States...)
	}
	back.Verdicts = s.Verdicts
	if s.Fail != nil {
		back.Fail = s.Fail
	}
	return back, s, nil
}

// start serves on the socket of the run directory.
func start(run, name string, file []byte) (*daemon, error) {
	b, s, err := load(name, file)
	if err != nil {
		return nil, err
	}
	if s.NetNS == 0 {
		if s.NetNS, err = control.NetNS(); err != nil {
			return nil, err
		}
	}
	ln, err := control.Listen(control.Dirs{Run: run}.Socket(name), "no-such-group")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{backend: b, cancel: cancel, done: make(chan error, 1)}
	srv := &control.Server{Backend: b, NetNS: s.NetNS, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	go func() { d.done <- srv.Run(ctx, ln) }()
	return d, nil
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	name, file := "pfsync0", []byte(nil)
	if len(args) > 0 {
		name = args[0]
	}
	if len(args) > 1 {
		file = []byte(ts.ReadFile(args[1]))
	}
	d, err := start(ts.Getenv("PFSYNC_RUNDIR"), name, file)
	if neg {
		if err == nil {
			ts.Fatalf("serve succeeded")
		}
		return
	}
	ts.Check(err)
	all := ts.Value(daemons{}).(map[string]*daemon)
	all[name] = d
	ts.Defer(func() {
		if all[name] == d {
			d.cancel()
			<-d.done
		}
	})
}

func halt(ts *testscript.TestScript, _ bool, args []string) {
	name := "pfsync0"
	if len(args) > 0 {
		name = args[0]
	}
	all := ts.Value(daemons{}).(map[string]*daemon)
	d := all[name]
	if d == nil {
		ts.Fatalf("no daemon %s", name)
	}
	delete(all, name)
	d.cancel()
	ts.Check(<-d.done)
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N CMD ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	ts.Logf("[stdout]\n%s[stderr]\n%s", ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func checkJSON(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stdout")
	n := 0
	for line := range bytes.Lines([]byte(text)) {
		if !json.Valid(line) {
			ts.Fatalf("not JSON: %s", line)
		}
		n++
	}
	if n == 0 {
		ts.Fatalf("no output")
	}
}

func asked(ts *testscript.TestScript, _ bool, _ []string) {
	d := ts.Value(daemons{}).(map[string]*daemon)["pfsync0"]
	d.backend.Do(func(b *controltest.Backend) {
		for _, ch := range b.Changes {
			line, err := json.Marshal(ch)
			ts.Check(err)
			ts.Logf("change %s", line)
			_, err = ts.Stdout().Write(append(line, '\n'))
			ts.Check(err)
		}
		for _, r := range b.Requests {
			_, err := ts.Stdout().Write([]byte(r + "\n"))
			ts.Check(err)
		}
	})
}

// fakeDaemon is a pfsyncd for the scripts about starting it: it serves until it
// is destroyed, or fails with the text of FAKE_PFSYNCD_FAIL.
func fakeDaemon(args []string) int {
	if len(args) != 5 || args[0] != "--run-dir" || args[2] != "--state-dir" {
		control.ReportReady(errors.New("fake pfsyncd: unexpected arguments"))
		return 2
	}
	if text := os.Getenv("FAKE_PFSYNCD_FAIL"); text != "" {
		if text != "-" {
			control.ReportReady(errors.New(text))
		}
		return 1
	}
	d, err := start(args[1], args[4], nil)
	control.ReportReady(err)
	if err != nil {
		return 1
	}
	<-d.backend.Destroyed()
	d.cancel()
	<-d.done
	return 0
}
