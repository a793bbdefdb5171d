package daemon

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSyslog keeps what it is told, with the severity in front.
type fakeSyslog []string

func (s *fakeSyslog) add(sev, m string) error { *s = append(*s, sev+" "+m); return nil }
func (s *fakeSyslog) Debug(m string) error    { return s.add("debug", m) }
func (s *fakeSyslog) Info(m string) error     { return s.add("info", m) }
func (s *fakeSyslog) Warning(m string) error  { return s.add("warning", m) }
func (s *fakeSyslog) Err(m string) error      { return s.add("err", m) }
func (s *fakeSyslog) String() string          { return strings.Join(*s, "\n") }

func TestSyslog(t *testing.T) {
	var s fakeSyslog
	log := slog.New(newSyslog(&s, slog.LevelInfo)).With("dev", "pfsync0")
	log.Debug("not seen")
	log.Info("demotion", "from", 0, "to", 240)
	log.WithGroup("g").Warn("odd", "a", 1)
	log.Error("bad", "err", "two words")
	want := fakeSyslog{
		"info msg=demotion dev=pfsync0 from=0 to=240",
		"warning msg=odd dev=pfsync0 g.a=1",
		`err msg=bad dev=pfsync0 err="two words"`,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// stuckWriter takes nothing until it is released.
type stuckWriter struct {
	release chan struct{}
	got     strings.Builder
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	<-w.release
	return w.got.Write(b)
}

// TestStuckLog: a log that hangs delays nobody, and says later what it lost.
func TestStuckLog(t *testing.T) {
	w := &stuckWriter{release: make(chan struct{})}
	log, flush := newLogger(true, false, w)
	for i := range 2 * logRecords {
		log.Info("line", "i", i)
	}
	close(w.release)
	for { // until there is room again
		log.Info("after")
		if len(log.Handler().(*queuedHandler).q.todo) < logRecords {
			break
		}
	}
	log.Info("last")
	flush()
	if out := w.got.String(); !strings.Contains(out, "msg=line i=0\n") || !strings.Contains(out, " lost=") || !strings.Contains(out, "msg=last") {
		t.Errorf("log of %d bytes, ends in %q", len(out), out[max(0, len(out)-100):])
	}
	log.Info("too late")
}
