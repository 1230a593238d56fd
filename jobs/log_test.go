package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// logging is work that writes a log.
func logging(text string) Func {
	return func(_ context.Context, h *Handle) (any, error) {
		n, err := io.WriteString(h.Log(), text)
		if n != len(text) {
			err = errors.Join(err, fmt.Errorf("wrote %d of %d", n, len(text)))
		}
		return nil, err
	}
}

func readLog(t *testing.T, m *Manager, id int64) string {
	t.Helper()
	r, err := m.OpenLog(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintln(&b, "line", i)
	}
	return b.String()
}

// TestLogExcerpt: the first and the last 10 lines (2.4).
func TestLogExcerpt(t *testing.T) {
	long := strings.Repeat("x", 3*excerptLine)
	tests := []struct{ name, log, want string }{
		{"empty", "", ""},
		{"one", "line\n", "line\n"},
		{"no end", "line", "line\n"},
		{"twenty", lines(1, 20), lines(1, 20)},
		{"twenty-one", lines(1, 21), lines(1, 10) + "... 1 more lines ...\n" + lines(12, 21)},
		{"many", lines(1, 5000), lines(1, 10) + "... 4980 more lines ...\n" + lines(4991, 5000)},
		{"long lines", long + "\nb\n" + long, long[:excerptLine] + "\nb\n" + long[:excerptLine] + "\n"},
		{"not UTF-8", "a\xffb\n", "a\uFFFDb\n"},
	}
	m, _ := open(t, Config{LogDir: filepath.Join(t.TempDir(), "logs")})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := wait(t, m, start(t, m, Spec{Logs: true, Run: logging(tt.log)}).ID)
			if j.LogsExcerpt != tt.want {
				t.Errorf("excerpt %q, want %q", j.LogsExcerpt, tt.want)
			}
			if got := readLog(t, m, j.ID); got != tt.log {
				t.Errorf("log %q, want %q", got, tt.log)
			}
		})
	}
}

// TestLogLimit: a log ends with whole lines and says that it was cut, within its limit.
func TestLogLimit(t *testing.T) {
	const last = "log limit of 120 bytes reached, the rest is left out\n"
	tests := []struct {
		name  string
		write []string
		want  string
	}{
		{"fits", []string{lines(1, 9)}, lines(1, 9)},
		{"many lines", []string{lines(1, 9), "a\nb\nc\nd\n", lines(10, 99)}, lines(1, 9) + "a\n" + last},
		{"one write", []string{lines(1, 50)}, lines(1, 9) + last},
		{"no end", []string{"a", "b", strings.Repeat("x", 200), "c\n"}, "ab\n" + last},
		{"one long line", []string{strings.Repeat("x", 200) + "\n"}, last},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := open(t, Config{LogDir: t.TempDir(), LogLimit: 120})
			j := wait(t, m, start(t, m, Spec{Logs: true, Run: func(_ context.Context, h *Handle) (any, error) {
				for _, text := range tt.write {
					if _, err := io.WriteString(h.Log(), text); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}}).ID)
			got := readLog(t, m, j.ID)
			if got != tt.want || len(got) > 120 {
				t.Errorf("log %q, want %q", got, tt.want)
			}
			if j.State != Success || j.LogsExcerpt == "" {
				t.Errorf("job %+v", j)
			}
		})
	}
}

func TestLogFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "logs")
	store := newMemory()
	m, _ := open(t, Config{Store: store, LogDir: dir, Keep: 2})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}

	// While it runs the log can be read; after its end nothing is written.
	wrote, release := make(chan struct{}), make(chan struct{})
	var late io.Writer
	j := start(t, m, Spec{Logs: true, Run: func(_ context.Context, h *Handle) (any, error) {
		late = h.Log()
		_, _ = io.WriteString(late, "one\n")
		close(wrote)
		<-release
		_, err := io.WriteString(late, "two\n")
		return nil, err
	}})
	<-wrote
	if got := readLog(t, m, j.ID); got != "one\n" {
		t.Errorf("log of a job that runs: %q", got)
	}
	close(release)
	wait(t, m, j.ID)
	if n, err := late.Write([]byte("three\n")); n != 6 || err != nil {
		t.Errorf("a late write gives %d, %v", n, err)
	}
	if info, err := os.Stat(j.LogsPath); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 8 {
		t.Errorf("file: %v, %v", info, err)
	}

	// Without a log, and with one that somebody removed.
	none := wait(t, m, start(t, m, Spec{Run: logging("nowhere")}).ID)
	if _, err := m.OpenLog(none.ID); !errors.Is(err, ErrNoLog) || none.LogsPath != "" || none.State != Success {
		t.Errorf("job without a log: %+v, %v", none, err)
	}
	if _, err := m.OpenLog(99); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenLog: %v", err)
	}
	gone := wait(t, m, start(t, m, Spec{Logs: true, Run: func(_ context.Context, h *Handle) (any, error) {
		return nil, os.Remove(filepath.Join(dir, fmt.Sprint(h.ID(), ".log")))
	}}).ID)
	if _, err := m.OpenLog(gone.ID); !errors.Is(err, ErrNoLog) || gone.LogsExcerpt != "Log file was removed" {
		t.Errorf("excerpt %q, %v", gone.LogsExcerpt, err)
	}

	// Keep is 2: the first job is forgotten, just after the last one has ended, and its log with it.
	m.Close()
	if _, err := m.Get(j.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := os.Stat(j.LogsPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("log of a forgotten job: %v", err)
	}
}

// TestLogsOverRestarts: logs live as long as their jobs; those of jobs that nobody knows go, and nothing else.
func TestLogsOverRestarts(t *testing.T) {
	dir, store := t.TempDir(), newMemory()
	m, _ := open(t, Config{Store: store, LogDir: dir})
	id := wait(t, m, start(t, m, Spec{Logs: true, Run: logging("kept\n")}).ID).ID
	m.Close()
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"77.log", "077.log", "notes.log", "1.txt"} {
		if err := os.WriteFile(filepath.Join(moved, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(moved, 0o755); err != nil {
		t.Fatal(err)
	}
	m, _ = open(t, Config{Store: store, LogDir: moved})
	if got := readLog(t, m, id); got != "kept\n" {
		t.Errorf("log %q", got)
	}
	var names []string
	files, err := os.ReadDir(moved)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "077.log 1.log 1.txt notes.log" {
		t.Errorf("folder has %s", got)
	}
	if info, err := os.Stat(moved); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
}

// TestLogTrouble: a job does not suffer when its log cannot be written.
func TestLogTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	m, _ := open(t, Config{LogDir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	j := wait(t, m, start(t, m, Spec{Logs: true, Run: logging("lost\n")}).ID)
	if j.State != Success {
		t.Errorf("job %+v", j)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(t.Context(), Config{Store: newMemory(), LogDir: dir}); err == nil {
		t.Error("a file is taken as a folder for logs")
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var warned []error
	l := &logFile{file: full, room: 100, warn: func(err error) { warned = append(warned, err) }}
	for range 3 {
		if n, err := l.Write([]byte("line\n")); n != 5 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if err := full.Close(); err != nil { // what it gives to readers has no end
		t.Error(err)
	}
	if len(warned) != 1 {
		t.Errorf("warnings %v, want one", warned)
	}
}

// TestLineHandler: the lines of 5.7, with attributes after them.
func TestLineHandler(t *testing.T) {
	var b strings.Builder
	h := LineHandler(&b, "replication_task__task_1", "zferry.replication")
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	put := func(h slog.Handler, l slog.Level, message string, attrs ...slog.Attr) {
		t.Helper()
		if !h.Enabled(t.Context(), l) {
			t.Errorf("%v is not enabled", l)
		}
		r := slog.NewRecord(at, l, message, 0)
		r.AddAttrs(attrs...)
		if err := h.Handle(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	put(h, slog.LevelDebug, "one")
	put(h, slog.LevelInfo, "two", slog.String("dataset", "tank/a b"), slog.Int("n", 3))
	put(h.WithAttrs([]slog.Attr{slog.String("msg", "m")}).WithGroup("g"), slog.LevelWarn, "three", slog.Bool("msg", true))
	put(h, slog.LevelError, "four", slog.Any("error", errors.New("no")))
	const want = `[2026/03/04 05:06:07] DEBUG    [replication_task__task_1] [zferry.replication] one
[2026/03/04 05:06:07] INFO     [replication_task__task_1] [zferry.replication] two dataset="tank/a b" n=3
[2026/03/04 05:06:07] WARNING  [replication_task__task_1] [zferry.replication] three msg=m g.msg=true
[2026/03/04 05:06:07] ERROR    [replication_task__task_1] [zferry.replication] four error=no
`
	if b.String() != want {
		t.Errorf("lines\n%swant\n%s", b.String(), want)
	}
}
