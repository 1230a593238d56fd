package ssh_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

func TestOutput(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{Env: map[string]string{"PATH": "/usr/bin:/bin"}})))
	tests := []struct {
		name           string
		argv           []string
		stdout, stderr string
		code           int
	}{
		{name: "words", argv: []string{"printf", "%s|", "a b", "it's", "$HOME", `\`, ""}, stdout: `a b|it's|$HOME|\||`},
		{name: "failure", argv: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}, stdout: "out\n", stderr: "err\n", code: 3},
		{name: "signal", argv: []string{"sh", "-c", "kill -TERM $$"}, code: 143},
		{name: "no such program", argv: []string{"nosuchprogram"}, stderr: "nosuchprogram: not found\n", code: 127},
		{name: "no input", argv: []string{"cat"}},
		{name: "english", argv: []string{"sh", "-c", "echo $LC_ALL"}, stdout: "C\n"},
		{name: "administrator's programs", argv: []string{"sh", "-c", "echo $PATH"}, stdout: "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, err := p.Output(t.Context(), tt.argv)
			if string(stdout) != tt.stdout || !strings.HasSuffix(stderr, tt.stderr) {
				t.Errorf("stdout %q, stderr %q; want %q, %q", stdout, stderr, tt.stdout, tt.stderr)
			}
			code := 0
			if exit := (*ssh.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Errorf("error %v", err)
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
		})
	}
	if got := p.Stats(); got != (ssh.Stats{ControlConnections: 1, Channels: len(tests)}) {
		t.Errorf("stats %+v", got)
	}
}
