package host

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

const (
	keptLines = 10   // of what a plugin says, for the error if it then ends
	lineLimit = 1000 // bytes of a line, for the log and the error
)

// pluginOutput takes what a plugin says before it is configured: it is logged, and the last lines are kept. go-plugin
// could log it too, but would panic at lines that only look like its own.
type pluginOutput struct {
	log *slog.Logger

	mu   sync.Mutex // guards the fields below
	line []byte     // as far as it has come
	last []string
}

// Write implements io.Writer.
func (o *pluginOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n':
			o.lineLocked()
		case len(o.line) < lineLimit:
			o.line = append(o.line, c)
		}
	}
	return len(p), nil
}

func (o *pluginOutput) lineLocked() {
	line := strings.ToValidUTF8(strings.TrimSpace(string(o.line)), "?")
	o.line = o.line[:0]
	if line == "" {
		return
	}
	level, text := parseLine(line)
	o.last = append(o.last, text)
	o.last = o.last[max(0, len(o.last)-keptLines):]
	switch level {
	case "trace", "debug":
		o.log.Debug("plugin said", "line", text)
	case "warn":
		o.log.Warn("plugin said", "line", text)
	case "error":
		o.log.Error("plugin said", "line", text)
	default:
		o.log.Info("plugin said", "line", text)
	}
}

// said returns the last lines, one after the other.
func (o *pluginOutput) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := append(slices.Clone(o.last), strings.ToValidUTF8(string(o.line), "?"))
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// parseLine makes one text of a line in hclog's JSON format. Any other line is given back as it is.
func parseLine(line string) (level, text string) {
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return "", line
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return "", line
	}
	level, _ = fields["@level"].(string)
	for _, known := range []string{"@message", "@level", "@timestamp", "@module", "@caller"} {
		delete(fields, known)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		message += fmt.Sprintf(" %s=%v", key, fields[key])
	}
	return level, message
}
