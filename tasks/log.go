package tasks

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/zferry/zferry/jobs"
)

// logger writes the job's log, as much of it as the task wants.
func logger(h *jobs.Handle, d *Definition) *slog.Logger {
	level := slog.LevelInfo
	if d.LoggingLevel != nil {
		// WARNING is the API's word for WARN; the others are slog's own, and Check takes no more.
		if *d.LoggingLevel == "WARNING" {
			level = slog.LevelWarn
		} else if err := level.UnmarshalText([]byte(*d.LoggingLevel)); err != nil {
			level = slog.LevelInfo
		}
	}
	return slog.New(leveled{jobs.LineHandler(h.Log(), fmt.Sprintf("job_%d", h.ID()), "replication"), level})
}

// leveled drops what is below a level.
type leveled struct {
	slog.Handler
	level slog.Level
}

func (l leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{l.Handler.WithAttrs(attrs), l.level}
}

func (l leveled) WithGroup(name string) slog.Handler {
	return leveled{l.Handler.WithGroup(name), l.level}
}
