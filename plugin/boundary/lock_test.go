package boundary

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if err := LockHolder(dir); err != nil {
		t.Errorf("before there was a lock: %v", err)
	}
	lock, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, second := TakeLock(dir)
	for name, err := range map[string]error{"taken": second, "looked at": LockHolder(dir)} {
		held, ok := errors.AsType[*HeldError](err)
		if !ok || held.PID != os.Getpid() || held.Dir != dir {
			t.Errorf("%s while held: %v", name, err)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := LockHolder(dir); err != nil {
		t.Errorf("after the release: %v", err)
	}
	again, err := TakeLock(dir)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLockOverAGlance shows that a host that looks who holds the folder, and holds it meanwhile, does not keep a plugin
// from starting.
func TestLockOverAGlance(t *testing.T) {
	dir := t.TempDir()
	glance, err := os.Create(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	if err := flock(glance, unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lockPause, func() {
		if err := glance.Close(); err != nil {
			t.Error(err)
		}
	})
	lock, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

func TestLockPIDUnreadable(t *testing.T) {
	dir := t.TempDir()
	lock, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.WriteFile(filepath.Join(dir, lockName), []byte("no pid"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, ok := errors.AsType[*HeldError](LockHolder(dir))
	if !ok || held.PID != 0 || held.Error() != "another plugin works in "+dir {
		t.Errorf("got %v", held)
	}
}
