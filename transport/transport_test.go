package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a row of commands for Stream, each run by sh.
func script(lines ...string) [][]string {
	var commands [][]string
	for _, l := range lines {
		commands = append(commands, []string{"sh", "-c", l})
	}
	return commands
}

func sender(lines ...string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		_, err := Local{}.Stream(ctx, script(lines...), nil, w, nil)
		return err
	}
}

func receiver(lines ...string) func(context.Context, io.Reader) error {
	return func(ctx context.Context, r io.Reader) error {
		_, err := Local{}.Stream(ctx, script(lines...), r, nil, nil)
		return err
	}
}

func TestOutput(t *testing.T) {
	out, stderr, err := Local{}.Output(t.Context(), []string{"sh", "-c", "echo out; echo err >&2; exit 3"})
	var exit interface{ ExitCode() int }
	if string(out) != "out\n" || stderr != "err\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %q, %q, %v", out, stderr, err)
	}
	if _, _, err := (Local{}).Output(t.Context(), []string{"no-such-program"}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("missing program: %v", err)
	}
	out, _, err = Local{Env: []string{"PATH=/bin", "LC_ALL=de_DE.UTF-8"}}.Output(t.Context(), []string{"sh", "-c", "echo $PATH $LC_ALL"})
	if err != nil || string(out) != "/bin:"+extraPath+" C\n" {
		t.Errorf("environment: %q, %v", out, err)
	}
}

func TestPipeCarriesEverythingOnce(t *testing.T) {
	var m Meter
	// Two commands at each end share the pipe: what the first does not read, the second does.
	var got bytes.Buffer
	err := Pipe(t.Context(), &m, sender("head -c 7000000 /dev/zero", "echo end"), func(ctx context.Context, r io.Reader) error {
		_, err := Local{}.Stream(ctx, script("dd bs=1000 count=7000 iflag=fullblock 2>/dev/null | wc -c", "cat"), r, &got, nil)
		return err
	})
	if err != nil || got.String() != "7000000\nend\n" {
		t.Errorf("got %q, %v", got.String(), err)
	}
	if m.Bytes() != 7000004 {
		t.Errorf("metered %d bytes", m.Bytes())
	}
}

func TestPipeReportsTheEndThatFailedFirst(t *testing.T) {
	tests := []struct {
		name    string
		send    func(context.Context, io.Writer) error
		receive func(context.Context, io.Reader) error
		first   End
		text    string
	}{
		{"sender exits 1 after half a stream", sender("head -c 3000000 /dev/zero; exit 1"), receiver("cat >/dev/null"), SendEnd, "exit status 1"},
		{"second sender never starts", sender("exit 4", "echo never"), receiver("cat >/dev/null"), SendEnd, "exit status 4"},
		{"receiver exits 1 while the sender never ends", sender("exec cat /dev/zero"), receiver("head -c 100000 >/dev/null; exit 1"), ReceiveEnd, "exit status 1"},
		{"receiver exits 1 while the sender is silent", sender("exec sleep 60"), receiver("exit 5"), ReceiveEnd, "exit status 5"},
		{"receiver succeeds without reading all", sender("exec cat /dev/zero"), receiver("head -c 100000 >/dev/null"), ReceiveEnd, "before the end of"},
		{"receiver not there", sender("exec cat /dev/zero"), func(ctx context.Context, r io.Reader) error {
			_, err := Local{}.Stream(ctx, [][]string{{"no-such-program"}}, r, nil, nil)
			return err
		}, ReceiveEnd, "executable file not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var m Meter
			err := Pipe(t.Context(), &m, tt.send, tt.receive)
			var pe *PipeError
			if !errors.As(err, &pe) || pe.First != tt.first || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v (%+v), want %s end: %s", err, pe, tt.first, tt.text)
			}
		})
	}
}

// TestBrokenStreamIsNoCleanEnd: a receiver that would take the end of its input for a success must not see one.
func TestBrokenStreamIsNoCleanEnd(t *testing.T) {
	marker := t.TempDir() + "/ended"
	err := Pipe(t.Context(), new(Meter), sender("head -c 100000 /dev/zero; exit 1"), receiver("cat >/dev/null; touch "+marker))
	if err == nil {
		t.Error("no error")
	}
	if out, _, _ := (Local{}).Output(t.Context(), []string{"ls", marker}); len(out) != 0 {
		t.Error("the receiver saw a clean end of a broken stream")
	}
}

func TestCancelEndsBothEndsWithTheCause(t *testing.T) {
	cause := errors.New("stopped by the user")
	for name, tt := range map[string]struct{ send, receive string }{
		"flowing":                  {"exec cat /dev/zero", "exec cat >/dev/null"},
		"receiver asleep":          {"exec cat /dev/zero", "exec sleep 60"},
		"both asleep":              {"exec sleep 60", "exec sleep 60"},
		"sender ignores SIGTERM":   {"trap '' TERM; cat /dev/zero", "exec cat >/dev/null"},
		"receiver ignores SIGTERM": {"exec cat /dev/zero", "trap '' TERM; cat >/dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			var pids [2]int
			var starts [2]string
			note := func(i int) func(int, string) error {
				return func(pid int, start string) error {
					pids[i], starts[i] = pid, start
					return nil
				}
			}
			time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
			begin := time.Now()
			err := Pipe(ctx, new(Meter), func(ctx context.Context, w io.Writer) error {
				_, err := Local{}.Stream(ctx, script(tt.send), nil, w, note(0))
				return err
			}, func(ctx context.Context, r io.Reader) error {
				_, err := Local{}.Stream(ctx, script(tt.receive), r, nil, note(1))
				return err
			})
			if !errors.Is(err, cause) {
				t.Errorf("error %v, want the cause", err)
			}
			if d := time.Since(begin); d > 40*time.Second {
				t.Errorf("took %v", d)
			}
			for i := range pids {
				if pids[i] == 0 || (Local{}).Alive(pids[i], starts[i]) {
					t.Errorf("end %d: process %d still runs", i, pids[i])
				}
			}
		})
	}
}

func TestStartedMayRefuse(t *testing.T) {
	refuse := errors.New("journal is full")
	_, err := Local{}.Stream(t.Context(), script("exec sleep 60"), nil, io.Discard, func(int, string) error { return refuse })
	if !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
}

func TestEnd(t *testing.T) {
	cmd, err := Local{}.command([]string{"sh", "-c", "sleep 60 & wait"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(waited) }() // ends when End has ended the process
	_, start, err := stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// Another process that got the same pid is left alone.
	if gone, err := (Local{}).End(t.Context(), cmd.Process.Pid, start+"0"); err != nil || !gone {
		t.Errorf("other start time: gone %v, %v", gone, err)
	}
	if !(Local{}).Alive(cmd.Process.Pid, start) {
		t.Error("a process with another start time was ended")
	}
	if gone, err := (Local{}).End(t.Context(), cmd.Process.Pid, start); err != nil || !gone {
		t.Errorf("gone %v, %v", gone, err)
	}
	<-waited
}
