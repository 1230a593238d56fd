package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tailSize is how much of the end of a command's standard error is kept, in bytes.
const tailSize = 16 << 10

// tail keeps the last part of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// signalGroup sends sig to the process group of pid. That the group is gone, or belongs to root under sudo, is no error
// here: the caller waits for the end in any case.
func signalGroup(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

// stat reads the state of process pid and when it started, in the kernel's clock ticks since the system did (field 22):
// together with the pid that names one process.
func stat(pid int) (state, start string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", fmt.Errorf("state of process %d: %w", pid, err)
	}
	// The name in parentheses may hold blanks and parentheses itself.
	end := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text)[end+1:])
	if end < 0 || len(fields) < 20 {
		return "", "", fmt.Errorf("state of process %d: unreadable stat", pid)
	}
	return fields[0], fields[19], nil
}

// Started is when process pid of this system started, the same opaque text that Stream's started gets.
func (Local) Started(pid int) (string, error) {
	_, start, err := stat(pid)
	return start, err
}

// Alive tells whether the process pid that started at start still runs on this system.
func (Local) Alive(pid int, start string) bool {
	state, now, err := stat(pid)
	return err == nil && now == start && state != "Z"
}

// End ends the process pid and its group if it is still the one that started at start, first gently, after two seconds by
// force, and tells whether it is gone.
func (l Local) End(ctx context.Context, pid int, start string) (gone bool, err error) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !l.Alive(pid, start) {
			return true, nil
		}
		if err := syscall.Kill(-pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("end process %d: %w", pid, err)
		}
		for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
			if !l.Alive(pid, start) {
				return true, nil
			}
			select {
			case <-ctx.Done():
				return false, context.Cause(ctx)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return !l.Alive(pid, start), nil
}
