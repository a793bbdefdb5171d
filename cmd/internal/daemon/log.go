package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"log/syslog"
	"strings"
	"sync"
)

// newLogger logs to stderr in the foreground, else to syslog, which under
// systemd is the journal. Where there is no syslog stderr has to do. flush
// waits until all is written.
func newLogger(foreground, verbose bool, stderr io.Writer) (log *slog.Logger, flush func()) {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	var h slog.Handler = slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})
	if !foreground {
		if w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "pfsyncd"); err == nil {
			h = newSyslog(w, level)
		}
	}
	q := newLogQueue()
	return slog.New(&queuedHandler{h, q}), q.close
}

// severities is what the handler wants of a syslog.Writer.
type severities interface {
	Debug(m string) error
	Info(m string) error
	Warning(m string) error
	Err(m string) error
}

// syslogHandler formats as slog.TextHandler, without what syslog adds itself.
type syslogHandler struct {
	slog.Handler
	out *syslogBuffer
}

type syslogBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
	w   severities
}

func newSyslog(w severities, level slog.Level) *syslogHandler {
	b := &syslogBuffer{w: w}
	return &syslogHandler{slog.NewTextHandler(&b.buf, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}), b}
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// Handle implements slog.Handler.
func (h *syslogHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buf.Reset()
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	line := strings.TrimSpace(h.out.buf.String())
	switch {
	case r.Level >= slog.LevelError:
		return h.out.w.Err(line)
	case r.Level >= slog.LevelWarn:
		return h.out.w.Warning(line)
	case r.Level >= slog.LevelInfo:
		return h.out.w.Info(line)
	}
	return h.out.w.Debug(line)
}

// WithAttrs implements slog.Handler.
func (h *syslogHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &syslogHandler{h.Handler.WithAttrs(as), h.out}
}

// WithGroup implements slog.Handler.
func (h *syslogHandler) WithGroup(name string) slog.Handler {
	return &syslogHandler{h.Handler.WithGroup(name), h.out}
}
