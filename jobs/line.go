package jobs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// LineHandler writes records as lines of a job's log, each with one call of Write:
//
//	[YYYY/MM/DD HH:MM:SS] LEVEL    [thread] [logger] message key=value
func LineHandler(w io.Writer, thread, logger string) slog.Handler {
	p := &linePrinter{w: w}
	attrs := slog.NewTextHandler(&p.attrs, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: onlyAttrs})
	return &lineHandler{p: p, attrs: attrs, names: fmt.Sprintf("[%s] [%s]", thread, logger)}
}

// onlyAttrs leaves out what a text handler puts before the attributes of a record.
func onlyAttrs(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	_, level := a.Value.Any().(slog.Level)
	if (level && a.Key == slog.LevelKey) || (a.Key == slog.MessageKey && a.Value.String() == "") {
		return slog.Attr{}
	}
	return a
}

// linePrinter is what the handlers that come of one another share.
type linePrinter struct {
	mu    sync.Mutex // guards what follows
	w     io.Writer
	attrs bytes.Buffer // of the record at hand
}

type lineHandler struct {
	p     *linePrinter
	attrs slog.Handler // writes to p.attrs
	names string
}

func (h *lineHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.attrs.Enabled(ctx, l) }

func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.attrs.Reset()
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	if err := h.attrs.Handle(ctx, bare); err != nil {
		return err
	}
	line := fmt.Appendf(nil, "[%s] %-8s %s %s", r.Time.Format("2006/01/02 15:04:05"), levelName(r.Level), h.names, r.Message)
	if attrs := bytes.TrimSpace(h.p.attrs.Bytes()); len(attrs) > 0 {
		line = append(append(line, ' '), attrs...)
	}
	_, err := h.p.w.Write(append(line, '\n'))
	return err
}

// levelName gives the names that the log lines of TrueNAS have.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARNING"
	}
	return "ERROR"
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{p: h.p, attrs: h.attrs.WithAttrs(attrs), names: h.names}
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{p: h.p, attrs: h.attrs.WithGroup(name), names: h.names}
}
