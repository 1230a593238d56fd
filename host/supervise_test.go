package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zferry/zferry/plugin/boundary"
)

// supervised is a supervisor that runs.
type supervised struct {
	*Supervisor
	t       testing.TB
	changes chan PluginStatus
	cancel  context.CancelCauseFunc
	done    chan error
}

// supervise runs a supervisor, with times that suit a test, until stop or the end of the test.
func supervise(t testing.TB, dir string, o processOptions, adjust ...func(*SupervisorConfig)) *supervised {
	t.Helper()
	s := &supervised{t: t, changes: make(chan PluginStatus, 1000), done: make(chan error, 1)}
	var tokens atomic.Int32
	config := SupervisorConfig{
		Command: o.command(t),
		Dir:     dir,
		Credentials: func() (string, string, string) {
			return "wss://host", fmt.Sprintf("token-%d", tokens.Add(1)), "certificate"
		},
		LogLevel:      "DEBUG",
		Changed:       func(s2 PluginStatus) { s.changes <- s2 },
		HealthEvery:   50 * time.Millisecond,
		HealthTimeout: 5 * time.Second,
		StartTimeout:  20 * time.Second,
		RetryEvery:    100 * time.Millisecond,
		BackoffFirst:  20 * time.Millisecond,
		BackoffMost:   100 * time.Millisecond,
	}
	for _, a := range adjust {
		a(&config)
	}
	var err error
	if s.Supervisor, err = NewSupervisor(config); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(t.Context()))
	go func() { s.done <- s.Run(ctx) }()
	t.Cleanup(func() { s.stop(nil) })
	return s
}

// stop ends Run with the cause. A second call does nothing.
func (s *supervised) stop(cause error) {
	s.t.Helper()
	s.cancel(cause)
	if s.done == nil {
		return
	}
	if err := <-s.done; err != nil {
		s.t.Errorf("run: %v", err)
	}
	s.done = nil
	if state := s.Status().State; state != PluginStopped {
		s.t.Errorf("state after the end: %s", state)
	}
	log, err := os.ReadFile(filepath.Join(s.config.Dir, boundary.LogName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
	if bytes.Contains(log, []byte("DATA RACE")) {
		s.t.Errorf("the plugin has a race: %s", log)
	}
}

// wait returns the next status with the state.
func (s *supervised) wait(state PluginState) PluginStatus {
	s.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case status := <-s.changes:
			if status.State == state {
				return status
			}
		case <-limit:
			s.t.Fatalf("no status %s; it is %+v", state, s.Status())
		}
	}
}

// noLeaks checks at the end of the test for goroutines that are left. It is to be called before all else.
func noLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func alive(t *testing.T, pid int) bool {
	t.Helper()
	_, err := boundary.FindProcess(pid)
	if err != nil && !errors.Is(err, boundary.ErrGone) {
		t.Fatal(err)
	}
	return err == nil
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSuperviseLaunchAndStop(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "data")
	s := supervise(t, dir, processOptions{Version: "1.2.3"})
	s.wait(PluginStarting)
	running := s.wait(PluginRunning)
	if running.Version != "1.2.3" || running.Err != nil || s.Status() != running || !alive(t, running.PID) {
		t.Errorf("running as %+v", running)
	}
	if got := read(t, dir, "configured"); got != "wss://host token-1 certificate DEBUG" {
		t.Errorf("configured with %q", got)
	}
	// It is no part of our session: what ends that does not end it.
	if sid, err := syscall.Getpgid(running.PID); err != nil || sid != running.PID {
		t.Errorf("its process group is %d, %v", sid, err)
	}
	for name, want := range map[string]os.FileMode{
		"": 0o700, "sock": 0o700, "tls": 0o700, recordName: 0o600, boundary.LogName: 0o600, "lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	for _, entry := range strings.Split(strings.TrimRight(read(t, "/proc", fmt.Sprint(running.PID), "environ"), "\x00"), "\x00") {
		name, _, _ := strings.Cut(entry, "=")
		if name != "PATH" && name != "LANG" && name != "TZ" && name != "HOME" && name != "ZFERRY_PLUGIN" && !strings.HasPrefix(name, "PLUGIN_") {
			t.Errorf("it has %s in its environment", name)
		}
	}

	s.stop(nil)
	if alive(t, running.PID) {
		t.Error("it lives on")
	}
	if got := read(t, dir, "drained"); got != "10s" {
		t.Errorf("drained within %q", got)
	}
	for _, name := range []string{recordName, "sock"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestSuperviseLeaveAndFind(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	first := supervise(t, dir, processOptions{Version: "1"})
	pid := first.wait(PluginRunning).PID
	first.stop(ErrLeavePlugin)
	if !alive(t, pid) {
		t.Fatal("it was not left alone")
	}
	second := supervise(t, dir, processOptions{Version: "1"}, func(c *SupervisorConfig) {
		c.Version = "1"
		c.Credentials = func() (string, string, string) { return "unix:///second", "second-token", "" }
	})
	if found := second.wait(PluginRunning); found.PID != pid || found.Version != "1" {
		t.Errorf("found %+v, want pid %d", found, pid)
	}
	if got := read(t, dir, "configured"); got != "unix:///second second-token  DEBUG" {
		t.Errorf("configured with %q", got)
	}

	// Its end is seen, and no exit code: it is nobody's child.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if down, want := second.wait(PluginDown), "the plugin has ended; its log is "+filepath.Join(dir, "plugin.log"); down.Err.Error() != want {
		t.Errorf("down: %v", down.Err)
	}
	pid = second.wait(PluginRunning).PID
	second.stop(ErrLeavePlugin)

	third := supervise(t, dir, processOptions{Version: "1"})
	third.wait(PluginRunning)
	third.stop(nil)
	if alive(t, pid) {
		t.Error("it was not ended by the host that found it")
	}
}

// TestSuperviseHostKilled has the host die without a word: the plugin, which then writes more than a pipe holds to all it
// has, lives on and works for the next host (decisions 3).
func TestSuperviseHostKilled(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for _, name := range []string{"go", "done"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := processOptions{Host: true, Behave: "chatty"}.command(t)
	host := exec.Command(command[0], append(command[1:], "--data-dir", dir)...)
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(stdout), &pid); err != nil {
		t.Fatal(err)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// That it was killed is what was asked for.
	_ = host.Wait()

	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("go"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "done"); got != "done" {
		t.Errorf("the plugin says %q", got)
	}
	if info, err := os.Stat(filepath.Join(dir, boundary.LogName)); err != nil || info.Size() < 4<<20 {
		t.Errorf("its log: %v, %v", info, err)
	}
	s := supervise(t, dir, processOptions{})
	if found := s.wait(PluginRunning); found.PID != pid {
		t.Errorf("found %+v, want pid %d", found, pid)
	}
	if got := read(t, dir, "configured"); !strings.Contains(got, "token-1") {
		t.Errorf("configured with %q", got)
	}
}

// TestSuperviseStuck stops the plugin as a bug might: it is killed and launched again.
func TestSuperviseStuck(t *testing.T) {
	noLeaks(t)
	s := supervise(t, t.TempDir(), processOptions{}, func(c *SupervisorConfig) {
		c.EndTimeout = 200 * time.Millisecond
		c.HealthTimeout = 700 * time.Millisecond
	})
	stuck := s.wait(PluginRunning).PID
	if err := syscall.Kill(stuck, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	down := s.wait(PluginDown)
	if want := fmt.Sprintf("did not answer 3 times in a row and was ended, pid %d", stuck); !strings.Contains(down.Err.Error(), want) {
		t.Errorf("down: %v", down.Err)
	}
	if alive(t, stuck) {
		t.Error("the stuck process lives on")
	}
	if again := s.wait(PluginRunning); again.PID == stuck {
		t.Errorf("running as %+v", again)
	}
}

func TestSuperviseCrash(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	s := supervise(t, dir, processOptions{})
	first := s.wait(PluginRunning).PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	down := s.wait(PluginDown)
	if want := "the plugin has ended, signal: killed; its log is " + filepath.Join(dir, "plugin.log"); down.Err.Error() != want {
		t.Errorf("down: %v", down.Err)
	}
	if second := s.wait(PluginRunning); second.PID == first {
		t.Errorf("running as %+v", second)
	}
	if got := read(t, dir, "configured"); !strings.Contains(got, "token-2") {
		t.Errorf("configured with %q", got)
	}
}

// TestSuperviseBadStarts launches what is no good plugin: each time it is said why, and it is tried again later.
func TestSuperviseBadStarts(t *testing.T) {
	tests := []struct {
		behave string
		want   []string // in the error
	}{
		{behave: "crash", want: []string{"launch the plugin: exit status 7; its last lines:\nline 12\nline 13\n", "\nno database path=/x\n", `{"@message":5}`}},
		{behave: "quit", want: []string{"launch the plugin: it ended too early, with exit code 0"}},
		{behave: "garbage", want: []string{"launch the plugin: Unrecognized remote plugin message: hello, world"}},
		{behave: "mute", want: []string{"launch the plugin: timeout while waiting for plugin to start"}},
		{behave: "child", want: []string{"launch the plugin: exit status 9"}},
		{behave: "other plugin", want: []string{"launch the plugin: connect to the plugin: tls: ", "signed by unknown authority"}},
		{behave: "other host", want: []string{"launch the plugin: connect to the plugin: remote error: tls: unknown certificate authority"}},
		{behave: "refuse", want: []string{"configure the plugin: this URL will not do"}},
	}
	for _, tt := range tests {
		t.Run(tt.behave, func(t *testing.T) {
			noLeaks(t)
			dir := t.TempDir()
			s := supervise(t, dir, processOptions{Behave: tt.behave}, func(c *SupervisorConfig) {
				if tt.behave == "mute" {
					c.StartTimeout = 200 * time.Millisecond
				}
			})
			for range 2 {
				s.wait(PluginStarting)
				down := s.wait(PluginDown)
				if down.RetryAt.IsZero() {
					t.Errorf("down: %+v", down)
				}
				for _, want := range tt.want {
					if !strings.Contains(down.Err.Error(), want) {
						t.Errorf("down: %v\nwant in it: %s", down.Err, want)
					}
				}
			}
			s.stop(nil)
			if err := boundary.LockHolder(dir); err != nil {
				t.Errorf("a process is left: %v", err)
			}
			if tt.behave == "child" {
				endChild(t, dir)
			}
		})
	}
}

// TestSuperviseBackoff has each restart wait longer than the last, unless the plugin has run for a while in between.
func TestSuperviseBackoff(t *testing.T) {
	noLeaks(t)
	const first = 100 * time.Millisecond
	waits := make(chan time.Duration, 100)
	measure := func(c *SupervisorConfig) {
		c.BackoffFirst, c.BackoffMost, c.HealthyAfter = first, time.Hour, 1
		c.Changed = func(s PluginStatus) {
			switch s.State {
			case PluginDown:
				waits <- time.Until(s.RetryAt)
			case PluginRunning:
				// That it ends is seen by what is measured.
				_ = syscall.Kill(s.PID, syscall.SIGKILL)
			}
		}
	}
	bad := supervise(t, t.TempDir(), processOptions{Behave: "crash"}, measure)
	for _, least := range []time.Duration{0, first, 2 * first} {
		if wait := <-waits; wait <= least {
			t.Errorf("waits %v, want more than %v", wait, least)
		}
	}
	bad.stop(nil)
	supervise(t, t.TempDir(), processOptions{}, measure)
	for range 3 {
		if wait := <-waits; wait > first {
			t.Errorf("waits %v after it was healthy, want %v", wait, first)
		}
	}
}

// endChild ends what the plugin has left behind last.
func endChild(t *testing.T, dir string) {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(read(t, dir, "child"), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestSuperviseNoProgram(t *testing.T) {
	noLeaks(t)
	s := supervise(t, t.TempDir(), processOptions{}, func(c *SupervisorConfig) {
		c.Command = []string{"/nonexistent/zferry-plugin"}
	})
	if down := s.wait(PluginDown); !strings.Contains(down.Err.Error(), "launch the plugin: fork/exec /nonexistent/zferry-plugin: no such file") {
		t.Errorf("down: %v", down.Err)
	}
}

// TestSuperviseStopWhileStarting ends Run at a moment when there is a process but no plugin.
func TestSuperviseStopWhileStarting(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "started"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := supervise(t, dir, processOptions{Behave: "mute"})
	read(t, dir, "started")
	began := time.Now()
	s.stop(nil)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestSuperviseDeaf has a plugin that heeds no SIGTERM.
func TestSuperviseDeaf(t *testing.T) {
	noLeaks(t)
	s := supervise(t, t.TempDir(), processOptions{Behave: "deaf"}, func(c *SupervisorConfig) {
		c.EndTimeout = 300 * time.Millisecond
	})
	pid := s.wait(PluginRunning).PID
	s.stop(nil)
	if alive(t, pid) {
		t.Error("it lives on")
	}
}
