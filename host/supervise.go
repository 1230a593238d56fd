package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
)

// ErrLeavePlugin is the cause with which the context of Supervisor.Run ends when the plugin is to live on, for the next
// host to find.
var ErrLeavePlugin = errors.New("leave the plugin running")

// SupervisorConfig says which plugin to run and how to watch it. Times that are zero have defaults.
type SupervisorConfig struct {
	Command []string // the program and its arguments; --data-dir and Dir come after them
	Dir     string   // the plugin's data folder; made if it is missing
	// Version is what the program says of itself. A plugin of another version that was found running is replaced as
	// soon as it has no job. Empty: any version will do.
	Version  string
	LogLevel string // of the plugin: DEBUG, INFO, WARN, ERROR; empty is INFO
	// Credentials gives the plugin a WebSocket to dial: its URL, a fresh token, good for one registration, and the
	// certificates of a wss host. It is called for each launch and each plugin that was found. Required.
	Credentials func() (url, token, caPEM string)
	// Changed is told each new status, from the goroutine of Run, which waits for it. May be nil.
	Changed func(PluginStatus)
	Log     *slog.Logger // nil is none

	HealthEvery   time.Duration // between two questions for health; 5 s
	HealthTimeout time.Duration // for an answer; 10 s
	HealthMisses  int           // in a row after which the plugin is killed; 3
	StartTimeout  time.Duration // from the launch to the handshake; 60 s
	DrainTimeout  time.Duration // for running jobs to end, when the plugin is to end; 10 s
	EndTimeout    time.Duration // from SIGTERM to SIGKILL; 5 s
	RetryEvery    time.Duration // between two tries to reach a plugin that cannot be reached, at the most; 10 s
	BackoffFirst  time.Duration // before the first restart, doubled for each one after; 1 s
	BackoffMost   time.Duration // 60 s
	HealthyAfter  time.Duration // of running, the next restart is a first one again; 1 min
}

// withDefaults checks what is given and fills in the rest.
func (c SupervisorConfig) withDefaults() (SupervisorConfig, error) {
	if len(c.Command) == 0 || c.Dir == "" || c.Credentials == nil {
		return c, errors.New("supervise a plugin: command, folder and credentials are needed")
	}
	var err error
	// The plugin runs in another folder.
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, err
	}
	if strings.Contains(c.Command[0], "/") {
		program, err := filepath.Abs(c.Command[0])
		if err != nil {
			return c, err
		}
		c.Command = append([]string{program}, c.Command[1:]...)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func(PluginStatus) {}
	}
	if c.HealthMisses == 0 {
		c.HealthMisses = 3
	}
	for _, t := range []struct {
		at    *time.Duration
		usual time.Duration
	}{
		{&c.HealthEvery, 5 * time.Second},
		{&c.HealthTimeout, 10 * time.Second},
		{&c.StartTimeout, time.Minute},
		{&c.DrainTimeout, 10 * time.Second},
		{&c.EndTimeout, 5 * time.Second},
		{&c.RetryEvery, 10 * time.Second},
		{&c.BackoffFirst, time.Second},
		{&c.BackoffMost, time.Minute},
		{&c.HealthyAfter, time.Minute},
	} {
		if *t.at == 0 {
			*t.at = t.usual
		}
	}
	return c, nil
}

// backoff is how long to wait before the restart after so many failures in a row.
func (c *SupervisorConfig) backoff(failures int) time.Duration {
	wait := c.BackoffFirst
	for ; failures > 1 && wait < c.BackoffMost; failures-- {
		wait *= 2
	}
	return min(wait, c.BackoffMost)
}

// PluginState is what a plugin is doing, as its supervisor sees it.
type PluginState string

// The states of a plugin.
const (
	PluginStopped     PluginState = "STOPPED"     // not supervised: before Run and after it
	PluginStarting    PluginState = "STARTING"    // being looked for, or launched
	PluginRunning     PluginState = "RUNNING"     // configured; it registers over the WebSocket by itself
	PluginUnreachable PluginState = "UNREACHABLE" // runs, but does not answer this host; no other one is started
	PluginDown        PluginState = "DOWN"        // has ended or could not be launched; is launched again
)

// PluginStatus is a state with what belongs to it.
type PluginStatus struct {
	State   PluginState
	PID     int       // RUNNING, UNREACHABLE (0 if it is not known)
	Version string    // RUNNING
	Err     error     // UNREACHABLE, DOWN: why, in words for a user
	RetryAt time.Time // UNREACHABLE, DOWN
}

// Supervisor keeps one plugin running: it finds the one that an earlier host has left or launches it, watches its health,
// and launches it again when it has ended.
type Supervisor struct {
	config SupervisorConfig

	mu     sync.Mutex // guards status
	status PluginStatus
}

// NewSupervisor makes a supervisor that does nothing before Run.
func NewSupervisor(c SupervisorConfig) (*Supervisor, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Supervisor{config: c, status: PluginStatus{State: PluginStopped}}, nil
}

// Status is the newest status.
func (s *Supervisor) Status() PluginStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Supervisor) change(status PluginStatus) {
	s.mu.Lock()
	before := s.status
	s.status = status
	s.mu.Unlock()
	switch {
	case status.State == before.State && status.PID == before.PID: // still unreachable
	case status.Err != nil:
		s.config.Log.Warn("plugin", "state", status.State, "error", status.Err, "retry", time.Until(status.RetryAt))
	default:
		s.config.Log.Info("plugin", "state", status.State, "pid", status.PID, "version", status.Version)
	}
	s.config.Changed(status)
}

// Run supervises the plugin until the context ends. With the cause ErrLeavePlugin it then leaves the plugin running; with
// any other it drains and ends it, for which the WebSocket must still be served, and returns an error if that goes wrong.
// It can be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := os.MkdirAll(s.config.Dir, 0o700); err != nil {
		return fmt.Errorf("supervise a plugin: %v", err)
	}
	defer s.change(PluginStatus{State: PluginStopped})
	failures, missed := 0, 0
	s.change(PluginStatus{State: PluginStarting})
	for {
		instance, err := s.obtain(ctx)
		if err == nil {
			began := time.Now()
			err = s.watch(ctx, instance)
			if time.Since(began) >= s.config.HealthyAfter {
				failures = 0
			}
		}
		if ctx.Err() != nil {
			if errors.Is(err, context.Cause(ctx)) {
				return nil
			}
			return err
		}
		next := PluginStatus{State: PluginStarting}
		if held, ok := errors.AsType[*boundary.HeldError](err); ok {
			// One whose host has died in the middle of its launch ends within moments.
			missed++
			next = unreachable(held.PID, time.Now().Add(min(s.config.backoff(missed), s.config.RetryEvery)))
		} else if missed = 0; err != nil {
			failures++
			next = PluginStatus{State: PluginDown, Err: err, RetryAt: time.Now().Add(s.config.backoff(failures))}
		}
		s.change(next)
		sleepUntil(ctx, next.RetryAt)
		if next.State == PluginDown && ctx.Err() == nil {
			s.change(PluginStatus{State: PluginStarting})
		}
	}
}

func unreachable(pid int, retry time.Time) PluginStatus {
	err := errors.New("the running plugin cannot be reached, pid unknown")
	if pid != 0 {
		err = fmt.Errorf("the running plugin cannot be reached, pid %d", pid)
	}
	return PluginStatus{State: PluginUnreachable, PID: pid, Err: err, RetryAt: retry}
}

// sleepUntil returns early if the context ends.
func sleepUntil(ctx context.Context, when time.Time) {
	timer := time.NewTimer(time.Until(when))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
