package ssh_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

func shell(script string) []string { return []string{"sh", "-c", script} }

func TestStream(t *testing.T) {
	data := make([]byte, 7<<20)
	_, _ = rand.Read(data)
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	tests := []struct {
		name     string
		commands [][]string
		stdin    io.Reader
		stdout   string
		stderr   string
		exit     int
		want     error
	}{
		{name: "there and back", commands: [][]string{{"cat"}}, stdin: bytes.NewReader(data), stdout: string(data)},
		{name: "two in a row", commands: [][]string{shell("dd bs=1 count=10 2>/dev/null"), {"cat"}}, stdin: bytes.NewReader(data), stdout: string(data)},
		{name: "first fails", commands: [][]string{shell("exit 4"), shell("echo never")}, exit: 4},
		{name: "second fails", commands: [][]string{shell("echo a"), shell("echo b; echo no >&2; exit 5")}, stdout: "a\nb\n", stderr: "no\n", exit: 5},
		{name: "no input", commands: [][]string{{"cat"}}},
		{name: "empty input", commands: [][]string{{"cat"}}, stdin: strings.NewReader("")},
		{name: "nothing found", commands: [][]string{{"nosuchprogram"}}, stderr: "nosuchprogram: not found\n", exit: 127},
		{name: "leaves input", commands: [][]string{{"true"}}, stdin: rand.Reader, want: ssh.ErrStoppedReading},
		{name: "fails and leaves input", commands: [][]string{shell("echo full >&2; exit 1")}, stdin: rand.Reader, stderr: "full\n", exit: 1},
		{name: "stream like a marker", commands: [][]string{{"cat"}}, stdin: strings.NewReader("zferry-pid 1 2\nx"), stdout: "zferry-pid 1 2\nx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout bytes.Buffer
			stderr, err := p.Stream(t.Context(), tt.commands, tt.stdin, &stdout, nil)
			exit := (*ssh.ExitError)(nil)
			switch {
			case tt.exit != 0 && (!errors.As(err, &exit) || exit.ExitCode() != tt.exit):
				t.Errorf("error %v, want exit status %d", err, tt.exit)
			case tt.exit == 0 && !errors.Is(err, tt.want):
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if stdout.String() != tt.stdout {
				t.Errorf("%d bytes came out, want %d", stdout.Len(), len(tt.stdout))
			}
			if !strings.HasSuffix(stderr, tt.stderr) || (tt.stderr == "" && stderr != "") {
				t.Errorf("stderr %q, want %q", stderr, tt.stderr)
			}
		})
	}
	want := ssh.Stats{ControlConnections: 1, StreamConnections: 1, Channels: len(tests), Streams: len(tests)}
	if got := p.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestStreamTellsPidBeforeBytesFlow(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	read := false
	stdin := readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF })
	var stdout bytes.Buffer
	_, err := p.Stream(t.Context(), [][]string{{"true"}, shell("echo $$")}, stdin, &stdout, func(pid int, start string) error {
		if pid < 2 || start == "" {
			t.Errorf("pid %d, started %q", pid, start)
		}
		if read || stdout.Len() > 0 {
			t.Error("bytes flowed before")
		}
		stdout.WriteString(itoa(pid) + "=")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The last command takes the place of the shell whose pid was told.
	if told, is, _ := strings.Cut(strings.TrimSpace(stdout.String()), "="); told != is {
		t.Errorf("told %s, is %s", told, is)
	}
}

func TestStreamStopsWhenStartedFails(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	full := errors.New("disk full")
	pid := 0
	_, err := p.Stream(t.Context(), [][]string{shell("trap '' HUP; exec sleep 1000")}, nil, nil, func(n int, _ string) error { pid = n; return full })
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if runs(pid) {
		t.Errorf("process %d still runs", pid)
	}
}

func TestStreamSkipsNoiseOfTheLoginShell(t *testing.T) {
	tests := []struct {
		name  string
		force string // runs instead of the login shell
		texts []string
	}{
		{name: "line", force: `echo Welcome; eval "$SSH_ORIGINAL_COMMAND"`},
		{name: "no newline", force: `printf zferry-pid; eval "$SSH_ORIGINAL_COMMAND"`},
		{name: "commands printed", force: `set -v -x; exec 2>&1; eval "$SSH_ORIGINAL_COMMAND"`},
		{name: "much", force: `head -c 60000 /dev/zero; eval "$SSH_ORIGINAL_COMMAND"`},
		{name: "too much", force: `cat /dev/zero`, texts: []string{"more than 64 KiB"}},
		{name: "no login", force: `echo This account is not available.; exit 1`, texts: []string{"not start", "exit status 1", "This account is not available"}},
		{name: "other command", force: `echo backup only`, texts: []string{"not start", "backup only"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sshd.Start(t, sshd.Options{Config: []string{"ForceCommand " + tt.force}})
			p := dial(t, config(s))
			var stdout bytes.Buffer
			stderr, streamErr := p.Stream(t.Context(), [][]string{{"cat"}}, strings.NewReader("data"), &stdout, nil)
			if tt.texts == nil {
				if streamErr != nil || stdout.String() != "data" {
					t.Errorf("stream: %q, %v, %q", stdout.String(), streamErr, stderr)
				}
				if out, _, err := p.Output(t.Context(), []string{"echo", "data"}); err != nil || string(out) != "data\n" {
					t.Errorf("output: %q, %v", out, err)
				}
				return
			}
			if !errors.As(streamErr, new(*ssh.StartError)) {
				t.Fatalf("stream: %v", streamErr)
			}
			for _, text := range tt.texts {
				if !strings.Contains(streamErr.Error(), text) {
					t.Errorf("error %q does not say %q", streamErr, text)
				}
			}
		})
	}
}

// An input that breaks must not look like one that ends: half a stream is not a whole one.
func TestStreamGivesBrokenInputNoEnd(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	file := t.TempDir() + "/end"
	broken := errors.New("send died")
	stdin := io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), readerFunc(func([]byte) (int, error) { return 0, broken }))
	pid := 0
	within(t, 2*time.Second, func() {
		_, err := p.Stream(t.Context(), [][]string{shell("cat >/dev/null; echo end >" + file)}, stdin, nil, func(n int, _ string) error { pid = n; return nil })
		if !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	})
	if runs(pid) {
		t.Errorf("process %d still runs", pid)
	}
	if exists(file) {
		t.Error("the command saw an end of its input")
	}
}

func TestStreamEndsWithItsOutput(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	full := errors.New("disk full")
	pid := 0
	within(t, 2*time.Second, func() {
		_, err := p.Stream(t.Context(), [][]string{{"cat", "/dev/zero"}}, nil, writerFunc(func([]byte) (int, error) { return 0, full }), func(n int, _ string) error { pid = n; return nil })
		if !errors.Is(err, full) {
			t.Errorf("error %v", err)
		}
	})
	if runs(pid) {
		t.Errorf("process %d still runs", pid)
	}
}

// The command ends while nothing comes from the caller and nothing says that nothing more will.
func TestStreamReturnsWhenTheCommandEndsFirst(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	for _, command := range []string{"echo no >&2; exit 1", "exit 0"} {
		r, w := io.Pipe()
		within(t, 3*time.Second, func() {
			stderr, err := p.Stream(t.Context(), [][]string{shell(command)}, r, nil, nil)
			if (err != nil) != (stderr != "") {
				t.Errorf("%s: %v, %q", command, err, stderr)
			}
		})
		_ = w.Close() // lets the copy go
	}
}

func TestStreamRefusesBadCommands(t *testing.T) {
	p := dial(t, (&server{}).start(t))
	for name, commands := range map[string][][]string{
		"none": nil, "empty": {{}}, "no name": {{""}}, "dash": {{"true"}, {"-x"}}, "NUL": {{"echo", "a\x00b"}},
	} {
		if _, err := p.Stream(t.Context(), commands, nil, nil, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := p.Output(t.Context(), nil); err == nil {
		t.Error("no error from Output")
	}
	if got := p.Stats().Channels; got != 0 {
		t.Errorf("%d channels", got)
	}
}
