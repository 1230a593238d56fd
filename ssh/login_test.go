package ssh_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

// generate makes a key pair and returns the file of the private and the text of the public one.
func generate(t *testing.T, keyType, passphrase string) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "id_"+keyType)
	if err := sshd.GenerateKey(t.Context(), file, keyType, passphrase); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(b))
}

func TestLoginWithEveryTypeOfKey(t *testing.T) {
	var files, publics []string
	for _, keyType := range sshd.KeyTypes() {
		file, public := generate(t, keyType, "")
		files, publics = append(files, file), append(publics, public)
	}
	s := sshd.Start(t, sshd.Options{AuthorizedKeys: publics})
	for _, file := range files {
		c := config(s)
		c.KeyFiles = []string{file}
		dial(t, c)

		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c.KeyFiles, c.Keys = nil, []ssh.PrivateKey{pem}
		dial(t, c)
	}
}

func TestLoginWithAgent(t *testing.T) {
	locked, public := generate(t, "ed25519", "secret")
	s := sshd.Start(t, sshd.Options{AuthorizedKeys: []string{public}})
	c := config(s)
	c.KeyFiles = []string{locked}
	dialing(t, c, ssh.ErrPassphrase, locked, "ssh-add "+locked, "SSH_AUTH_SOCK")

	// The agent holds the key among others that nobody knows: sshd takes six attempts, so the named one must come first.
	pem, err := os.ReadFile(locked)
	if err != nil {
		t.Fatal(err)
	}
	key, err := xssh.ParseRawPrivateKeyWithPassphrase(pem, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	for range 8 {
		strange, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: strange}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	c.AgentSocket = serveAgent(t, ring)
	dial(t, c)

	c.KeyFiles = nil
	dialing(t, c, nil, "Too many authentication failures")
}

func serveAgent(t *testing.T, ring agent.Agent) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return socket
}

func TestLoginRefused(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	wrong, public := generate(t, "ecdsa", "")
	key, _, _, _, err := xssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	locked, _ := generate(t, "rsa", "secret")
	c := config(s)
	c.KeyFiles = []string{locked, wrong}
	_, err = ssh.Dial(t.Context(), c)
	var refused *ssh.AuthError
	if !errors.As(err, &refused) {
		t.Fatalf("error %v", err)
	}
	if refused.User != s.User || len(refused.Keys) != 1 || len(refused.Methods) != 1 || refused.Methods[0] != "publickey" {
		t.Errorf("error %+v", refused)
	}
	for _, text := range []string{s.Addr, s.User, xssh.FingerprintSHA256(key), wrong, locked + " (protected by a passphrase)", "authorized_keys"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestConfigKeepsKeysSecret(t *testing.T) {
	c := ssh.Config{Keys: []ssh.PrivateKey{ssh.PrivateKey("SECRET")}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("dial", "config", c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("dial", "config", c, "key", c.Keys[0])
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&log, verb, c)
		fmt.Fprintf(&log, verb, c.Keys[0])
	}
	if strings.Contains(log.String(), "SECRET") || strings.Contains(log.String(), "U0VDUkVU") || strings.Contains(log.String(), "534543") || strings.Contains(log.String(), "83 69") {
		t.Errorf("the key is in %s", log.String())
	}
}
