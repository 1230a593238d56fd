package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
)

// leftPlugin is a plugin that a host has left running.
func leftPlugin(t *testing.T, dir string, o processOptions) (pid int) {
	t.Helper()
	s := supervise(t, dir, o)
	pid = s.wait(PluginRunning).PID
	id, err := boundary.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	s.stop(ErrLeavePlugin)
	t.Cleanup(func() {
		// It may have ended, as it should.
		_ = id.Signal(os.Kill)
	})
	return pid
}

// TestReattachWrongRecord has notes that do not fit the process they name. It is not believed, and not touched.
func TestReattachWrongRecord(t *testing.T) {
	tests := []struct {
		name  string
		wrong func(*pluginRecord)
	}{
		{name: "another start time", wrong: func(r *pluginRecord) { r.Started += "1" }},
		{name: "a process that is no plugin", wrong: func(*pluginRecord) {}},
		{name: "another protocol", wrong: func(r *pluginRecord) { r.Protocol = 2 }},
		{name: "another network", wrong: func(r *pluginRecord) { r.Network = "tcp" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			sleeper := exec.Command("sleep", "1000")
			if err := sleeper.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				// They fail if it has ended, which is an error below.
				_ = sleeper.Process.Kill()
				_ = sleeper.Wait()
			})
			id, err := boundary.FindProcess(sleeper.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			record := pluginRecord{Protocol: 1, Network: "unix", Address: filepath.Join(dir, "sock", "plugin1"), Process: id}
			tt.wrong(&record)
			if err := (&SupervisorConfig{Dir: dir}).writeRecord(record); err != nil {
				t.Fatal(err)
			}
			s := supervise(t, dir, processOptions{})
			if running := s.wait(PluginRunning); running.PID == id.PID {
				t.Error("it was believed")
			}
			s.stop(nil)
			if !alive(t, id.PID) {
				t.Error("it was killed")
			}
		})
	}
}

// TestReattachUnreachable has a plugin that holds the folder and does not answer: no second one is started, and it is not
// ended either; when it answers again it is used.
func TestReattachUnreachable(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	pid := leftPlugin(t, dir, processOptions{})
	record := filepath.Join(dir, recordName)
	quick := func(c *SupervisorConfig) { c.HealthTimeout = 300 * time.Millisecond }

	hidden := record + ".hidden"
	breakAndMend := []struct {
		name string
		do   func() error
		undo func() error
	}{
		{
			name: "no note",
			do:   func() error { return os.Rename(record, hidden) },
			undo: func() error { return os.Rename(hidden, record) },
		},
		{
			name: "broken note",
			do: func() error {
				if err := os.Rename(record, hidden); err != nil {
					return err
				}
				return os.WriteFile(record, []byte("{"), 0o600)
			},
			undo: func() error { return os.Rename(hidden, record) },
		},
		{
			name: "no socket",
			do:   func() error { return os.Rename(filepath.Join(dir, "sock"), hidden) },
			undo: func() error { return os.Rename(hidden, filepath.Join(dir, "sock")) },
		},
		{
			name: "stopped",
			do:   func() error { return syscall.Kill(pid, syscall.SIGSTOP) },
			undo: func() error { return syscall.Kill(pid, syscall.SIGCONT) },
		},
	}
	for _, b := range breakAndMend {
		if err := b.do(); err != nil {
			t.Fatal(err)
		}
		s := supervise(t, dir, processOptions{}, quick)
		for range 2 {
			status := s.wait(PluginUnreachable)
			want := fmt.Sprintf("the running plugin cannot be reached, pid %d", pid)
			if status.PID != pid || status.Err.Error() != want || status.RetryAt.IsZero() {
				t.Errorf("%s: %+v", b.name, status)
			}
		}
		if err := b.undo(); err != nil {
			t.Fatal(err)
		}
		if running := s.wait(PluginRunning); running.PID != pid {
			t.Errorf("%s: running as %+v, want pid %d", b.name, running, pid)
		}
		s.stop(ErrLeavePlugin)
	}
}

// TestReattachLockFreed has a process hold the folder that no host can reach, as one that attaches by itself does.
func TestReattachLockFreed(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	lock, err := boundary.TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := supervise(t, dir, processOptions{})
	if status := s.wait(PluginUnreachable); status.PID != os.Getpid() {
		t.Errorf("unreachable: %+v", status)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	s.wait(PluginRunning)
}

// TestReattachOtherVersion finds a plugin of another version: it works until it has no job, and is then replaced.
func TestReattachOtherVersion(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy")
	if err := os.WriteFile(busy, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := leftPlugin(t, dir, processOptions{Version: "1"})
	newer := func(c *SupervisorConfig) { c.Version = "2" }
	s := supervise(t, dir, processOptions{Version: "2"}, newer)
	if running := s.wait(PluginRunning); running.PID != old || running.Version != "1" {
		t.Errorf("first %+v, want pid %d", running, old)
	}
	if err := os.Remove(busy); err != nil {
		t.Fatal(err)
	}
	running := s.wait(PluginRunning)
	if running.PID == old || running.Version != "2" || alive(t, old) {
		t.Errorf("then %+v", running)
	}
	if got := read(t, dir, "drained"); got != "10s" {
		t.Errorf("drained within %q", got)
	}
}

// TestReattachDrained finds a plugin that was drained and would refuse every job: it is replaced though its version is
// right. The one that is launched is not, however often it says so.
func TestReattachDrained(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	old := leftPlugin(t, dir, processOptions{Version: "1"})
	if err := os.WriteFile(filepath.Join(dir, "drained"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := supervise(t, dir, processOptions{Version: "1"}, func(c *SupervisorConfig) { c.Version = "1" })
	running := s.wait(PluginRunning)
	if running.PID == old || alive(t, old) {
		t.Errorf("running as %+v", running)
	}
}

// TestLaunchManyTimes shows that a host that launches and ends its plugin, or leaves and finds it, holds on to nothing.
func TestLaunchManyTimes(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	round := func(cause error) {
		s := supervise(t, dir, processOptions{})
		s.wait(PluginRunning)
		s.stop(cause)
	}
	round(nil) // what is opened once for all
	before := descriptors()
	for range 10 {
		round(ErrLeavePlugin)
		round(nil)
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors before and %d after", before, after)
	}
	for _, name := range []string{"sock", recordName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// TestLaunchLongPath has a data folder whose path is too long for a socket in it.
func TestLaunchLongPath(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	s := supervise(t, dir, processOptions{})
	pid := s.wait(PluginRunning).PID
	record, err := s.config.readRecord()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(record.Address)
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 || strings.HasPrefix(folder, dir) || record.PID != pid {
		t.Errorf("socket in %s: %v, %v", folder, info, err)
	}
	s.stop(nil)
	if _, err := os.Stat(folder); err == nil {
		t.Errorf("%s is left", folder)
	}
}

func TestEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.MkdirAll(path("used/plugin-dir1"), 0o755),
		os.WriteFile(path("used/plugin1"), nil, 0o600),
		os.WriteFile(path("file"), nil, 0o600),
		os.Symlink(path("used"), path("link")),
		os.Mkdir(path("other"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]bool{"new": true, "used": true, "file": false, "link": false}
	if os.Geteuid() == 0 {
		// Only root can give a folder to somebody else.
		if err := os.Chown(path("other"), 12345, 12345); err != nil {
			t.Fatal(err)
		}
		tests["other"] = false
	}
	for name, good := range tests {
		err := emptyFolder(path(name))
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
		if !good {
			continue
		}
		entries, err := os.ReadDir(path(name))
		info, statErr := os.Stat(path(name))
		if err != nil || len(entries) > 0 || statErr != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, %v", name, entries, info, err)
		}
	}
}

func TestSupervisorBackoff(t *testing.T) {
	c, err := SupervisorConfig{
		Command: []string{"x"}, Dir: "y", Credentials: func() (string, string, string) { return "", "", "" },
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for failures, want := range []time.Duration{1, 1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if got := c.backoff(failures); got != want*time.Second {
			t.Errorf("after %d failures: %v, want %ds", failures, got, want)
		}
	}
	if got := c.backoff(1 << 30); got != time.Minute {
		t.Errorf("after very many failures: %v", got)
	}
}
