package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	buildPrefix = "build-"
	lockFile    = "lock"
	// A folder without a lock file that is younger than this is only just being made.
	newborn = time.Minute
)

// lockCache gives the right to build something in dir, waiting for others who have it.
func lockCache(ctx context.Context, dir string, progress io.Writer) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for waited := false; ; waited = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !waited {
			fmt.Fprintln(progress, "lab: waiting for another process that builds the image")
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}

// sweepBuilds removes what builds that were killed left behind. The caller holds the lock of the cache.
func sweepBuilds(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), buildPrefix) {
			err = errors.Join(err, removeAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// newRunFolder makes a folder for the files of two running machines. It counts as used for as long as anyone has the
// lock file open.
func newRunFolder(runs string) (dir string, lock *os.File, err error) {
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(runs, "lab-"); err != nil {
		return "", nil, err
	}
	if lock, err = lockFolder(dir); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

func lockFolder(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return lock, nil
}

// sweepRuns removes the folders of machines that no longer run.
func sweepRuns(runs string) error {
	entries, err := os.ReadDir(runs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		dir := filepath.Join(runs, e.Name())
		if !inUse(dir) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}

// inUse reports whether the machines of a run folder are alive.
func inUse(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		info, err := os.Stat(dir)
		return err == nil && time.Since(info.ModTime()) < newborn
	}
	defer lock.Close()
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}
