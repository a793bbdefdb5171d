package top_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// patience bounds every wait; only a failing test spends it.
const patience = 60 * time.Second

func TestMain(m *testing.M) { nstest.Main(m) }

// terminal is a tmux of its own in a namespace, with one window.
type terminal struct {
	t    *testing.T
	ns   *nstest.NS
	sock string
}

func (s *terminal) tmux(args ...string) string {
	s.t.Helper()
	return s.ns.Run(s.t, append([]string{"env", "-u", "TMUX", "LC_ALL=C.UTF-8", "tmux", "-f", os.DevNull, "-S", s.sock}, args...)...)
}

func (s *terminal) screen() string { return s.tmux("capture-pane", "-p", "-J") }

func (s *terminal) typing(keys ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, keys...)...)
}

// shows waits until all of the texts are on the screen.
func (s *terminal) shows(texts ...string) {
	s.t.Helper()
	nstest.EventuallyNil(s.t, patience, func() error {
		screen := s.screen()
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return fmt.Errorf("no %q on\n%s", text, screen)
			}
		}
		return nil
	}, "screen")
}

// resize waits until the shell knows: tmux tells it a little later.
func (s *terminal) resize(width, height int) {
	s.t.Helper()
	s.tmux("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
	nstest.Eventually(s.t, patience, func() bool {
		s.typing("clear; stty size", "Enter")
		return strings.Contains(s.screen(), fmt.Sprintf("\n%d %d\n", height, width)) || strings.HasPrefix(s.screen(), fmt.Sprintf("%d %d\n", height, width))
	}, "the new size")
}

// open starts a shell of that size, in which pfsyncctl is a command.
func open(t *testing.T, ns *nstest.NS, bin, run string, width, height int) *terminal {
	t.Helper()
	s := &terminal{t, ns, filepath.Join(t.TempDir(), "s")}
	size := []string{"-x", fmt.Sprint(width), "-y", fmt.Sprint(height)}
	s.tmux(append([]string{"new-session", "-d"}, append(size, "env", "PATH="+bin+":"+os.Getenv("PATH"), "PFSYNC_RUNDIR="+run, "PS1=$ ", "ENV=", "sh", "-i")...)...)
	t.Cleanup(func() { s.tmux("kill-server") })
	s.shows("$")
	return s
}

// TestTmux: the view on a real terminal: what it shows of a pair of firewalls
// with a connection, keys, sizes, and that it leaves the terminal as it was.
func TestTmux(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{})
	top.Bed.Need("tmux", "conntrack")
	bin := nstest.Bin(t)
	run := make([]string, len(top.FW))
	for i, fw := range top.FW {
		run[i] = t.TempDir()
		env := []string{"env", "PFSYNC_RUNDIR=" + run[i], "NOTIFY_SOCKET="}
		fw.Start(t, "msg=ready", append(env, filepath.Join(bin, "pfsyncd"), "-f")...)
		fw.Run(t, append(env, filepath.Join(bin, "pfsyncctl"), "pfsync0", "syncdev", nstest.SyncDev)...)
	}
	const counting = "net.netfilter.nf_conntrack_acct"
	top.FW[0].Sysctl(t, counting, "0")
	top.Server.Echo(t, "tcp", nstest.ServerAddr+":7")
	c := top.Client.Dial(t, "tcp", nstest.ServerAddr+":7")
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}

	s := open(t, top.FW[0], bin, run[0], 100, 24)
	s.typing("clear; echo before; pfsyncctl pfsync0 top -s 0.2; echo code $?", "Enter")
	s.shows("sync: ok", "every 200ms", "10.0.3.3", nstest.ServerAddr+":7", "msg/s", "q quit")
	if strings.Contains(s.screen(), "before") {
		t.Errorf("the view is not alone on the screen:\n%s", s.screen())
	}
	s.typing("4")
	s.shows("COUNTER", "framesout")
	s.typing("3")
	s.shows("PEER", "peers 1-1/1")
	s.typing("h")
	s.shows("page down", "B bytes")
	s.typing("h", "Space")
	s.shows("PAUSED")
	s.typing("Space", "2", "o")
	s.shows("order: bytes")
	s.typing("s", "2", "Enter")
	s.shows("every 2s")
	s.tmux("resize-window", "-x", "40", "-y", "10")
	s.shows("sync: ok", "states 1-")
	s.tmux("resize-window", "-x", "16", "-y", "10")
	s.shows("too small")
	s.tmux("resize-window", "-x", "100", "-y", "24")
	s.shows("every 2s", nstest.ServerAddr+":7")
	s.typing("q")
	s.shows("before", "code 0")

	s.typing("clear; TERM=dumb pfsyncctl pfsync0 top; echo code $?", "Enter")
	s.shows("TERM is not set to a terminal", "code 1")
	s.typing("clear; pfsyncctl pfsync0 top | cat; echo done", "Enter")
	s.shows("not a terminal", "done")
	s.resize(19, 24)
	s.typing("clear; pfsyncctl pfsync0 top; echo code $?", "Enter")
	s.shows("fewer than 2", "code 1")

	s.resize(100, 24)
	top.FW[0].Sysctl(t, counting, "1")
	s.typing("clear; pfsyncctl pfsync0 top -s 0.2; echo code $?", "Enter")
	s.shows("sync: ok", "order: bytes")
	top.FW[0].Run(t, "env", "PFSYNC_RUNDIR="+run[0], filepath.Join(bin, "pfsyncctl"), "pfsync0", "destroy")
	s.shows("no answer")
	s.typing("C-c")
	s.shows("code ")
}
