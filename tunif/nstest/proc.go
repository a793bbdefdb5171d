package nstest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// procWait bounds the wait for a program to say that it is ready.
const procWait = 2 * time.Minute

// outputWait is how long after its end a program's output is read, which a child
// may hold that outlives it.
const outputWait = 10 * time.Second

// Proc is a program that runs in a namespace beside the test, such as a
// capture. It is killed when the test ends.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and all it wrote is in lines

	mu    sync.Mutex
	lines []string // guarded by mu
}

// Start runs a program and waits until it has written a line, to stdout or
// stderr, that matches ready; an empty ready waits for nothing.
func (ns *NS) Start(t testing.TB, ready string, args ...string) *Proc {
	t.Helper()
	p := &Proc{cmd: ns.Cmd(context.Background(), args...), done: make(chan struct{})}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.WaitDelay = outputWait
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("nstest: %s: %v", ns.name, err)
	}
	go func() {
		p.cmd.Wait()
		w.Close()
	}()
	go p.collect(r)
	t.Cleanup(func() { p.Stop() })
	if ready != "" {
		p.WaitFor(t, procWait, ready)
	}
	return p
}

func (p *Proc) collect(r io.Reader) {
	defer close(p.done)
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
	}
}

// Pid is the process id; nsenter has become the program.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Lines gives what the program has written so far.
func (p *Proc) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// WaitFor waits for a line that matches the regular expression and gives the
// first one.
func (p *Proc) WaitFor(t testing.TB, within time.Duration, expr string) (line string) {
	t.Helper()
	re := regexp.MustCompile(expr)
	EventuallyNil(t, within, func() error {
		lines := p.Lines()
		if i := slices.IndexFunc(lines, re.MatchString); i >= 0 {
			line = lines[i]
			return nil
		}
		return fmt.Errorf("only:\n%s", strings.Join(lines, "\n"))
	}, fmt.Sprintf("%q from %s", expr, strings.Join(p.cmd.Args[3:], " ")))
	return line
}

// Children are the processes that the program has started and that are still
// there.
func (p *Proc) Children() (pids []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Pid()))
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stop kills the program with its children, which hear nothing of its end, waits
// for that and gives all that it wrote.
func (p *Proc) Stop() []string {
	if p.cmd.Process.Signal(syscall.SIGSTOP) == nil { // else it starts new ones
		for _, pid := range p.Children() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	p.cmd.Process.Kill()
	<-p.done
	return p.Lines()
}

// Tcpdump captures on an interface and waits until it does. Further arguments
// go to tcpdump before the filter's words; packets appear in Lines at once.
func (ns *NS) Tcpdump(t testing.TB, dev string, args ...string) *Proc {
	t.Helper()
	argv := append([]string{"tcpdump", "-i", dev, "-n", "-l", "--immediate-mode", "-Z", "root"}, args...)
	return ns.Start(t, "^(tcpdump: )?listening on ", argv...)
}
