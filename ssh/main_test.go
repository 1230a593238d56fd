package ssh_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is what reaches s.
func config(s *sshd.Server) ssh.Config {
	return ssh.Config{User: s.User, Host: "127.0.0.1", Port: s.Port, KeyFiles: []string{s.PrivateKey}, KnownHosts: []string{s.KnownHosts}}
}

// dial logs in on s until the test ends.
func dial(tb testing.TB, c ssh.Config) *ssh.Peer {
	tb.Helper()
	p, err := ssh.Dial(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}
