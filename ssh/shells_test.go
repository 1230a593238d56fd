package ssh_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/zferry/zferry/testing/sshd"
)

// Whatever the login shell is, the same command runs, with the same words. Those that this machine has are tried.
func TestLoginShells(t *testing.T) {
	words := []string{"printf", "%s|", "a b", "it's", "$HOME", "`id`", `back\slash\\`, "wow!", "!!", "", "~", "*", "a=b", "größe", "{a,b}", "[x]", "if", "%1", "#"}
	want := strings.Join(words[2:], "|") + "|"
	for _, name := range []string{"sh", "bash", "zsh", "tcsh", "csh", "fish", "ksh"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshd.Start(t, sshd.Options{Config: []string{"ForceCommand " + path + ` -c "$SSH_ORIGINAL_COMMAND"`}})
			p := dial(t, config(s))
			if out, stderr, err := p.Output(t.Context(), words); err != nil || string(out) != want {
				t.Errorf("output %q, %q, %v", out, stderr, err)
			}
			var back bytes.Buffer
			gone := false
			stderr, err := p.Stream(t.Context(), [][]string{{"true"}, {"cat"}}, strings.NewReader("data"), &back, func(pid int, start string) error {
				var err error
				if start == "" || !runs(pid) {
					t.Errorf("told pid %d, started %q", pid, start)
				}
				gone, err = p.End(t.Context(), pid, start+"0")
				return err
			})
			if err != nil || back.String() != "data" || !gone {
				t.Errorf("stream %q, %q, %v, another process gone %v", back.String(), stderr, err, gone)
			}
			pid, start := leave(t, s, shell("trap '' TERM HUP; while :; do sleep 1; done"), []string{"true"})
			if gone, err := p.End(t.Context(), pid, start); !gone || err != nil || group(pid) != nil {
				t.Errorf("gone %v, %v, left %q", gone, err, group(pid))
			}
		})
	}
}
