package ssh_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is what reaches s.
func config(t *testing.T, s *sshd.Server) ssh.Config {
	t.Helper()
	return ssh.Config{User: s.User, Host: "127.0.0.1", Port: s.Port, KeyFiles: []string{s.PrivateKey}, KnownHosts: []string{s.KnownHosts}}
}

// dial logs in on s until the test ends.
func dial(t *testing.T, c ssh.Config) *ssh.Peer {
	t.Helper()
	p, err := ssh.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
