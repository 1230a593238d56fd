package ssh_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

// leave starts a command as an earlier run of this program would have left it behind, and returns its pid and start.
func leave(t *testing.T, s *sshd.Server, commands ...[]string) (pid int, start string) {
	t.Helper()
	other, err := ssh.Dial(t.Context(), config(s))
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := other.Stream(context.WithoutCancel(t.Context()), commands, nil, nil, func(n int, s string) error {
			pid, start = n, s
			close(told)
			return nil
		})
		if err == nil {
			t.Error("what was left behind ended by itself")
		}
	}()
	<-told
	t.Cleanup(func() { _ = other.Close(); <-done })
	return pid, start
}

func TestEnd(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	p := dial(t, config(s))
	tests := []struct {
		name     string
		commands [][]string
		limit    time.Duration
	}{
		{"willing", [][]string{{"sleep", "1000"}}, time.Second},
		{"first of two", [][]string{{"sleep", "1000"}, {"true"}}, time.Second},
		{"children", [][]string{shell("sleep 1000 & sleep 1000 & wait")}, time.Second},
		{"deaf", [][]string{shell("trap '' TERM; while :; do sleep 1; done")}, 4 * time.Second},
		{"deaf first of two", [][]string{shell("trap '' TERM; while :; do sleep 1; done"), {"true"}}, 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pid, start := leave(t, s, tt.commands...)
			eventually(t, "it runs", func() bool { return runs(pid) })
			if gone, err := p.End(t.Context(), pid, start+"1"); err != nil || !gone || !runs(pid) {
				t.Errorf("another start: gone %v, %v, runs %v", gone, err, runs(pid))
			}
			within(t, tt.limit, func() {
				if gone, err := p.End(t.Context(), pid, start); err != nil || !gone {
					t.Errorf("gone %v, %v", gone, err)
				}
			})
			if left := group(pid); left != nil {
				t.Errorf("left behind: %q", left)
			}
			if gone, err := p.End(t.Context(), pid, start); err != nil || !gone {
				t.Errorf("once more: gone %v, %v", gone, err)
			}
		})
	}
	if got := p.Stats(); got.ControlConnections != 1 || got.StreamConnections != 0 {
		t.Errorf("stats %+v", got)
	}
}

// group lists what runs in a process group.
func group(pgid int) []string {
	entries, _ := os.ReadDir("/proc")
	var found []string
	for _, e := range entries {
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[0] != "Z" && f[2] == itoa(pgid) {
			found = append(found, string(b))
		}
	}
	return found
}

func TestEndRefusesWhatCannotBeTold(t *testing.T) {
	p := dial(t, (&server{}).start(t))
	for _, tt := range []struct {
		pid   int
		start string
	}{{0, "1"}, {1, "1"}, {-5, "1"}, {5, ""}, {5, "1\n2"}} {
		if _, err := p.End(t.Context(), tt.pid, tt.start); err == nil {
			t.Errorf("no error for %d %q", tt.pid, tt.start)
		}
	}
}

func TestEndSaysWhenItMayNot(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may end everything; what an ordinary user sees is what the script answers then.
		c := (&server{session: answering("denied\n")}).start(t)
		if _, err := dial(t, c).End(t.Context(), 77, "1"); !errors.Is(err, os.ErrPermission) {
			t.Errorf("error %v", err)
		}
		return
	}
	s := sshd.Start(t, sshd.Options{})
	stat, err := os.ReadFile("/proc/2/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if _, err := dial(t, config(s)).End(t.Context(), 2, strings.Fields(rest)[19]); !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v", err)
	}
}
