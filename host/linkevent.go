package host

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/zferry/zferry/rpc"
)

// pluginEvent is an event as a plugin sends it.
type pluginEvent struct {
	Name     string          `json:"name"`
	Msg      string          `json:"msg"`
	ID       json.RawMessage `json:"id"`
	Fields   json.RawMessage `json:"fields"`
	Extra    json.RawMessage `json:"extra"`
	Audience audience        `json:"audience"`
}

// event passes an event of the plugin on to those who have subscribed to it.
func (l *link) event(params json.RawMessage) error {
	var e pluginEvent
	if err := json.Unmarshal(params, &e); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if _, owner := l.host.plugins.event(e.Name); owner != l.plugin {
		return fmt.Errorf("event %q is none that the plugin has registered", e.Name)
	}
	switch e.Msg {
	case "added", "changed":
	case "removed":
		e.Fields = nil
	default:
		return fmt.Errorf("event %q: msg %q", e.Name, e.Msg)
	}
	l.host.hub.publish(publication{
		Event:    rpc.Event{Msg: e.Msg, Collection: e.Name, ID: e.ID, Fields: e.Fields, Extra: e.Extra},
		audience: e.Audience,
	})
	return nil
}

const maxLogText = 8 << 10 // of a line that a plugin sends

// logLine is a line for the log of the host.
type logLine struct {
	Time    time.Time                  `json:"time"`
	Level   slog.Level                 `json:"level"`
	Message string                     `json:"message"`
	Attrs   map[string]json.RawMessage `json:"attrs"`
}

// writeLog puts a line of the plugin into the host's log, with its own time.
func (l *link) writeLog(ctx context.Context, params json.RawMessage) {
	var line logLine
	if err := json.Unmarshal(params, &line); err != nil {
		l.log.Warn("passed over a line of the plugin's log", "err", err)
		return
	}
	if !l.log.Enabled(ctx, line.Level) {
		return
	}
	record := slog.NewRecord(line.Time, line.Level, cut(line.Message, maxLogText), 0)
	for _, name := range slices.Sorted(maps.Keys(line.Attrs)) {
		var value any
		if json.Unmarshal(line.Attrs[name], &value) != nil {
			continue
		}
		text, isText := value.(string)
		if !isText {
			text = string(line.Attrs[name])
		}
		record.AddAttrs(slog.String(name, cut(text, maxLogText)))
	}
	if err := l.log.Handler().Handle(ctx, record); err != nil {
		return // a log that cannot be written cannot be complained about in it
	}
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
