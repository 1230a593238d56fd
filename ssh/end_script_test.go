package ssh_test

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/ssh"
)

// Systems without /proc, such as FreeBSD, are asked through ps.
func TestEndScript(t *testing.T) {
	for name, change := range map[string]*strings.Replacer{
		"proc": strings.NewReplacer(), "ps": strings.NewReplacer("/proc/", "/noproc/"),
	} {
		t.Run(name, func(t *testing.T) {
			run := func(line string) string {
				out, err := exec.CommandContext(t.Context(), "sh", "-c", change.Replace(line)).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v", out, err)
				}
				return string(out)
			}
			line, err := ssh.CommandScript([]string{"true"}, shell("trap '' TERM; sleep 1000 & while :; do sleep 1; done"))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", "exec "+change.Replace(line))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			told := make([]byte, 256)
			n, err := stdout.Read(told)
			if err != nil {
				t.Fatal(err)
			}
			pid, start := ssh.FindMarker(told[:n])
			if pid != cmd.Process.Pid || start == "" {
				t.Fatalf("pid %d, started %q, in %q", pid, start, told[:n])
			}
			if out := run(ssh.EndScript(pid, start+"0", time.Second)); !strings.HasSuffix(out, "\ngone\n") {
				t.Errorf("another process: %q", out)
			}
			if !runs(pid) {
				t.Error("another process was ended")
			}
			if out := run(ssh.EndScript(pid, start, time.Second)); !strings.HasSuffix(out, "\ngone\n") {
				t.Errorf("answer %q", out)
			}
			_ = cmd.Wait()
			if left := group(pid); left != nil {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
