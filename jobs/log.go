package jobs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	excerptEnds = 10   // lines at the beginning and at the end of a log that clients see without asking for it
	excerptLine = 4096 // bytes of such a line
)

// logs tells whether a job has a log.
func (m *Manager) logs(s Spec) bool { return s.Logs && m.cfg.LogDir != "" }

func (m *Manager) logPath(id int64) string {
	return filepath.Join(m.cfg.LogDir, strconv.FormatInt(id, 10)+".log")
}

// logFile is the log of a job that runs.
type logFile struct {
	warn func(error) // called at the first error
	last []byte      // the line that says that the rest is left out

	mu     sync.Mutex // guards what follows
	file   *os.File   // nil once closed
	room   int64      // for lines; last has its own
	full   bool
	middle bool // the last line has no end yet
	warned bool
}

// createLog makes the log of a job. If it cannot, the job goes on without: nil.
func (m *Manager) createLog(id int64) *logFile {
	f, err := os.OpenFile(m.logPath(id), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		m.cfg.Log.Warn("log of a job cannot be made", "job", id, "error", err)
		return nil
	}
	last := fmt.Appendf(nil, "log limit of %d bytes reached, the rest is left out\n", m.cfg.LogLimit)
	return &logFile{
		warn: func(err error) { m.cfg.Log.Warn("log of a job has gaps", "job", id, "error", err) },
		last: last, file: f, room: m.cfg.LogLimit - int64(len(last)) - 1, // and the end of a line before it
	}
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.full || len(p) == 0 {
		return len(p), nil
	}
	text := p
	if int64(len(p)) > l.room {
		l.full = true
		text = p[:bytes.LastIndexByte(p[:max(0, l.room)], '\n')+1]
	}
	l.putLocked(text)
	if l.full {
		if l.middle {
			l.putLocked([]byte("\n"))
		}
		l.putLocked(l.last)
	}
	return len(p), nil
}

func (l *logFile) putLocked(text []byte) {
	if len(text) == 0 {
		return
	}
	n, err := l.file.Write(text)
	l.room -= int64(n)
	if n > 0 {
		l.middle = text[n-1] != '\n'
	}
	if err != nil && !l.warned {
		l.warned = true
		l.warn(err)
	}
}

// close ends the log and returns its excerpt.
func (l *logFile) close() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil && !l.warned {
		l.warn(err)
	}
	path := l.file.Name()
	l.file = nil
	return excerpt(path)
}

// excerpt returns the first and the last lines of a log, or what became of it.
func excerpt(path string) string {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "Log file was removed"
	}
	if err != nil {
		return "Log file cannot be read"
	}
	defer f.Close()
	var head, tail []string
	count := 0
	for r := bufio.NewReaderSize(f, excerptLine); ; count++ {
		line, more, err := r.ReadLine()
		if err != nil {
			break
		}
		text := strings.ToValidUTF8(string(line), "\uFFFD") + "\n"
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
		if count < excerptEnds {
			head = append(head, text)
			continue
		}
		tail = append(tail, text)
		tail = tail[max(0, len(tail)-excerptEnds):]
	}
	if left := count - 2*excerptEnds; left > 0 {
		head = append(head, fmt.Sprintf("... %d more lines ...\n", left))
	}
	return strings.Join(append(head, tail...), "")
}
