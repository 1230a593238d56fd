package ssh_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

func TestScanHostKeys(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	lines, err := ssh.ScanHostKeys(t.Context(), ssh.Config{Host: "127.0.0.1", Port: s.Port})
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile(s.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(known)) {
		_, key, _ := strings.Cut(strings.TrimSpace(line), " ")
		want = append(want, key)
	}
	slices.Sort(want)
	slices.Sort(lines)
	if !slices.Equal(lines, want) {
		t.Errorf("scanned\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestScanNobody(t *testing.T) {
	if _, err := ssh.ScanHostKeys(t.Context(), ssh.Config{Host: "127.0.0.1", Port: 1, ConnectTimeout: time.Second}); !errors.Is(err, ssh.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if _, err := ssh.ScanHostKeys(t.Context(), ssh.Config{Host: "http://nas"}); !errors.As(err, new(*ssh.ConfigError)) {
		t.Errorf("got %v", err)
	}
}

func TestGenerateKeyPair(t *testing.T) {
	for kind, prefix := range map[ssh.KeyType]string{ssh.RSA: "ssh-rsa ", ssh.Ed25519: "ssh-ed25519 "} {
		private, public, err := ssh.GenerateKeyPair(kind)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(public, prefix) || !strings.HasSuffix(public, "\n") {
			t.Errorf("%s: public key %q", kind, public)
		}
		again, err := ssh.PublicKeyOf(private)
		if err != nil || again != public {
			t.Errorf("%s: derived %q, %v", kind, again, err)
		}
		if err := ssh.CheckPublicKey(public); err != nil {
			t.Error(err)
		}
	}
	if _, err := ssh.PublicKeyOf([]byte("nonsense")); !errors.As(err, new(*ssh.KeyError)) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "ssh-rsa", "ssh-rsa AAAA", "hello world"} {
		if ssh.CheckPublicKey(bad) == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
