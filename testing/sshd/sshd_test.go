package sshd_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/testing/sshd"
)

// client returns OpenSSH's own client, aimed at s.
func client(t *testing.T, s *sshd.Server, command string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "ssh", "-F", "none", "-i", s.PrivateKey, "-p", strconv.Itoa(s.Port),
		"-o", "UserKnownHostsFile="+s.KnownHosts, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", s.User+"@127.0.0.1", command)
}

func TestServerTakesLogins(t *testing.T) {
	s := sshd.Start(t, sshd.Options{Env: map[string]string{"GREETING": "hello, you", "OTHER": "1"}})
	out, err := client(t, s, `echo "$GREETING $OTHER"`).Output()
	if err != nil {
		t.Fatalf("ssh: %v\n%s", err, s.Log())
	}
	if got := string(out); got != "hello, you 1\n" {
		t.Errorf("got %q", got)
	}
}

func TestKillSessionsCutsTheConnectionOnly(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	cmd := client(t, s, "echo $$; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(line[:n]))
	if s.KillSessions() == 0 {
		t.Error("no session was killed")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the client saw a clean end")
	}
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Errorf("the command went with its session: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// It was killed, and a busy machine takes its time to end it.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the command outlived Close: %s", b)
		}
	}
}
