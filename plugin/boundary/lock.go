package boundary

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HeldError means that another process holds the data folder.
type HeldError struct {
	Dir string
	PID int // 0 if it has not written it
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another plugin works in %s", e.Dir)
	}
	return fmt.Sprintf("another plugin works in %s, pid %d", e.Dir, e.PID)
}

// Lock is a data folder that this process holds. The kernel lets go of it when the process ends, however it ends.
type Lock struct{ file *os.File }

// A host that looks who holds the folder holds it for an instant; so a lock that is taken is tried again.
const (
	lockTries = 10
	lockPause = 50 * time.Millisecond
)

// TakeLock holds the data folder for this process, or returns a *HeldError. It blocks for half a second at most.
func TakeLock(dir string) (*Lock, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		err = flock(file, unix.LOCK_EX)
		if !errors.Is(err, unix.EWOULDBLOCK) || tries == lockTries {
			break
		}
		time.Sleep(lockPause)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &HeldError{Dir: dir, PID: readPID(file)}
	} else if err == nil {
		err = writePID(file)
	}
	if err != nil {
		// Nothing was written that could be lost.
		_ = file.Close()
		return nil, err
	}
	return &Lock{file: file}, nil
}

// Close lets another process hold the folder.
func (l *Lock) Close() error { return l.file.Close() }

// LockHolder returns a *HeldError if a process holds the data folder.
func LockHolder(dir string) error {
	file, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	err = flock(file, unix.LOCK_SH)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &HeldError{Dir: dir, PID: readPID(file)}
	}
	return err
}

func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %v", file.Name(), err)
		}
		return err
	}
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns 0 if no pid stands there: it is for people to read, and nothing depends on it.
func readPID(file *os.File) int {
	text := make([]byte, 32)
	// A short read is what is expected.
	n, _ := file.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0
	}
	return pid
}
