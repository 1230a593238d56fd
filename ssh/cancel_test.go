package ssh_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/proxy"
	"github.com/zferry/zferry/testing/sshd"
)

func TestCancelLeavesNoProcess(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	cause := errors.New("user pressed ctrl-c")
	zeros := readerFunc(func(b []byte) (int, error) { return len(b), nil })
	blockedIn, endIn := io.Pipe()
	blockedOut, endOut := io.Pipe()
	defer endIn.Close()
	defer blockedOut.Close()
	tests := []struct {
		name   string
		script string // says "ready" on stderr by making a file
		stdin  io.Reader
		stdout io.Writer
	}{
		{"idle", "exec sleep 1000", nil, nil},
		{"sends", "exec cat /dev/zero", nil, io.Discard},
		{"sends to nobody", "exec cat /dev/zero", nil, endOut},
		{"receives", "exec cat >/dev/null", zeros, nil},
		{"receives nothing", "exec cat >/dev/null", blockedIn, nil},
		{"deaf to signals", "trap '' TERM HUP INT; sleep 1000 & while :; do sleep 1; done", zeros, nil},
		{"first of two commands", "sleep 1000", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ready := t.TempDir() + "/ready"
			ctx, cancel := context.WithCancelCause(t.Context())
			pid := 0
			var cancelled time.Time
			time.AfterFunc(10*time.Second, func() { cancel(errors.New("never ready")) })
			go func() { // ends with the wait for the file
				for !exists(ready) && ctx.Err() == nil {
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(50 * time.Millisecond)
				cancelled = time.Now()
				cancel(cause)
			}()
			commands := [][]string{shell("echo $$ $PPID >" + ready + "; " + tt.script), shell("exit 0")}
			_, err := p.Stream(ctx, commands, tt.stdin, tt.stdout, func(n int, _ string) error { pid = n; return nil })
			if !errors.Is(err, cause) {
				t.Errorf("error %v", err)
			}
			// Two seconds, of which a busy machine may make more.
			if took := time.Since(cancelled); took > 50*time.Second {
				t.Errorf("took %v", took)
			}
			b, err := os.ReadFile(ready)
			if err != nil {
				t.Fatal(err)
			}
			child, parent, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
			if parent != itoa(pid) {
				t.Errorf("parent of the command is %s, not the process %d that was told", parent, pid)
			}
			for _, p := range []string{child, parent} {
				eventually(t, p+" is gone", func() bool {
					b, err := os.ReadFile("/proc/" + p + "/stat")
					return err != nil || strings.Contains(string(b), ") Z ")
				})
			}
		})
	}
}

func TestCancelledOutputReturnsAtOnce(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	file := t.TempDir() + "/pid"
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("too slow"))
	defer cancel()
	within(t, time.Second, func() {
		if _, _, err := p.Output(ctx, shell("echo $$ >"+file+"; exec sleep 1000")); err == nil || err.Error() != "too slow" {
			t.Errorf("error %v", err)
		}
	})
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command ended", func() bool { return !exists("/proc/" + strings.TrimSpace(string(b))) })
	if _, _, err := p.Output(t.Context(), []string{"true"}); err != nil {
		t.Errorf("the connection is of no more use: %v", err)
	}
	if got := p.Stats(); got.ControlConnections != 1 {
		t.Errorf("stats %+v", got)
	}
}

func TestKilledSessionIsReportedAsLost(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	p := dial(t, config(s))
	zeros := readerFunc(func(b []byte) (int, error) { time.Sleep(time.Millisecond); return len(b), nil })
	var pid int
	within(t, 5*time.Second, func() {
		_, err := p.Stream(t.Context(), [][]string{shell("exec cat >/dev/null")}, zeros, nil, func(n int, _ string) error {
			pid = n
			if s.KillSessions() < 2 {
				t.Error("too few sessions")
			}
			return nil
		})
		if !errors.Is(err, ssh.ErrLost) || !strings.Contains(err.Error(), s.Addr) {
			t.Errorf("error %v", err)
		}
	})
	eventually(t, "the command ended", func() bool { return !runs(pid) })
	// The control connection went as well, and is made anew.
	if out, _, err := p.Output(t.Context(), []string{"echo", "back"}); err != nil || string(out) != "back\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
		t.Errorf("stream: %v", err)
	}
	if got := p.Stats(); got.ControlConnections != 2 || got.StreamConnections != 2 {
		t.Errorf("stats %+v", got)
	}
}

// Connections that died while nobody used them are replaced without anybody noticing.
func TestDeadIdleConnectionsAreReplaced(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	px := proxy.Start(t, s.Addr)
	c := config(s)
	c.Port, c.KnownHosts, c.HostKeys = px.Port(), nil, []string{s.HostKeyLine("ed25519")}
	p := dial(t, c)
	for range 3 {
		if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		px.Cut()
		if _, _, err := p.Output(t.Context(), []string{"true"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCutConnectionEndsTheStream(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	px := proxy.Start(t, s.Addr)
	c := config(s)
	c.Port, c.KnownHosts, c.HostKeys = px.Port(), nil, []string{s.HostKeyLine("ed25519")}
	p := dial(t, c)
	pid := 0
	_, err := p.Stream(t.Context(), [][]string{{"cat"}}, readerFunc(func(b []byte) (int, error) { return len(b), nil }), nil, func(n int, _ string) error {
		pid = n
		time.AfterFunc(100*time.Millisecond, px.Cut)
		return nil
	})
	if !errors.Is(err, ssh.ErrLost) {
		t.Errorf("error %v", err)
	}
	eventually(t, "the command ended", func() bool { return !runs(pid) })
}
