package plugin

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zferry/zferry/plugin/boundary"
)

// maxLog is the size from which on the log is put aside, as plugin.log.1, when it is opened.
const maxLog = 16 << 20

// takeOutput puts the log file in place of standard output and error, and nothing in place of standard input, for this
// process and whatever it starts. The pipes that were there break or fill when the host dies, and the process would die
// or stand still with them. It may be called again, and then opens the log anew.
func (p *Process) takeOutput() error {
	p.output.Lock()
	defer p.output.Unlock()
	log, err := openLog(p.dir)
	if err != nil {
		return err
	}
	defer log.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	for descriptor, file := range []*os.File{nothing, log, log} {
		if err := unix.Dup3(int(file.Fd()), descriptor, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	// Only at the first Configure, before anything else works: later ones find them in use.
	if os.Stdout != p.stdout || os.Stderr != p.stderr {
		os.Stdout, os.Stderr = p.stdout, p.stderr
	}
	return nil
}

// restoreOutput undoes what go-plugin has done to os.Stdout and os.Stderr, if no Configure has.
func (p *Process) restoreOutput() {
	p.output.Lock()
	defer p.output.Unlock()
	os.Stdout, os.Stderr = p.stdout, p.stderr
}

func openLog(dir string) (*os.File, error) {
	path := filepath.Join(dir, boundary.LogName)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// hclogTime is the layout of hclog's @timestamp.
const hclogTime = "2006-01-02T15:04:05.000000Z07:00"

// newLogHandler writes JSON lines as hclog does. A host with go-plugin takes @timestamp, @level and @message for texts
// without a look, and panics if one is not; so nothing else gets these names.
func newLogHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.TimeKey:
			if a.Value.Kind() == slog.KindTime {
				return slog.String("@timestamp", a.Value.Time().Format(hclogTime))
			}
		case slog.LevelKey:
			if level, ok := a.Value.Any().(slog.Level); ok {
				return slog.String("@level", strings.ToLower(level.String()))
			}
		case slog.MessageKey:
			if a.Value.Kind() == slog.KindString {
				return slog.String("@message", a.Value.String())
			}
		}
		a.Key = strings.TrimLeft(a.Key, "@")
		return a
	}})
}
