package ssh_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

// dialing tries to log in, which must fail with an error that is want and says all of the texts.
func dialing(t *testing.T, c ssh.Config, want error, texts ...string) {
	t.Helper()
	p, err := ssh.Dial(t.Context(), c)
	if err == nil {
		_ = p.Close()
		t.Fatal("logged in")
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error %v is not %q", err, want)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestDialRefusesHostKeys(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	fingerprint := func(keyType string) string {
		key, _, _, _, err := xssh.ParseAuthorizedKey([]byte(s.HostKeyLine(keyType)))
		if err != nil {
			t.Fatal(err)
		}
		return xssh.FingerprintSHA256(key)
	}
	host := "[127.0.0.1]:" + strconv.Itoa(s.Port) + " "
	_, other := newKey(t)
	otherLine := string(xssh.MarshalAuthorizedKey(other.PublicKey()))
	otherPrint := xssh.FingerprintSHA256(other.PublicKey())
	otherType := filepath.Join(t.TempDir(), "key")
	if err := sshd.GenerateKey(t.Context(), otherType, "ecdsa", ""); err != nil {
		t.Fatal(err)
	}
	ecdsaLine, err := os.ReadFile(otherType + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		known string // known_hosts
		fixed []string
		want  error // nil: the login succeeds
		texts []string
	}{
		{name: "known ed25519", known: host + s.HostKeyLine("ed25519")},
		{name: "known ecdsa", known: host + s.HostKeyLine("ecdsa")},
		{name: "known rsa", known: host + s.HostKeyLine("rsa")},
		{name: "fixed", fixed: []string{s.HostKeyLine("rsa")}},
		{name: "fixed, several with names", fixed: []string{"# scanned\nnas " + s.HostKeyLine("ecdsa") + "\nnas " + s.HostKeyLine("rsa") + "\n"}},
		{name: "fixed beside a wrong known one", known: host + otherLine, fixed: []string{s.HostKeyLine("ecdsa")}},
		{name: "unknown", want: ssh.ErrUnknownHost, texts: []string{s.Addr, "is unknown", fingerprint("ed25519"), "known_hosts: " + host, "ssh-keygen -lf"}},
		{name: "another host is known", known: "nas1 " + s.HostKeyLine("ed25519"), want: ssh.ErrUnknownHost},
		{
			name: "changed", known: "\n" + host + otherLine, want: ssh.ErrHostKeyChanged,
			texts: []string{s.Addr, "has changed", fingerprint("ed25519"), otherPrint, "known_hosts:2"},
		},
		{
			name: "fixed and changed", fixed: []string{otherLine}, want: ssh.ErrHostKeyChanged,
			texts: []string{fingerprint("ed25519"), otherPrint + " (configured)"},
		},
		{
			name: "changed ecdsa", known: host + strings.TrimSuffix(string(ecdsaLine), " zferry test\n"), want: ssh.ErrHostKeyChanged,
			texts: []string{fingerprint("ecdsa")},
		},
		{name: "revoked", known: "@revoked * " + s.HostKeyLine("ed25519") + "\n" + host + s.HostKeyLine("ed25519"), want: ssh.ErrHostKeyRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(s)
			c.KnownHosts = []string{filepath.Join(t.TempDir(), "known_hosts"), "/nonexistent/known_hosts"}
			c.HostKeys = tt.fixed
			if err := os.WriteFile(c.KnownHosts[0], []byte(tt.known+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				dial(t, c)
				return
			}
			dialing(t, c, tt.want, tt.texts...)
		})
	}
}

// A host whose only keys are of types that are not the known one cannot even begin to talk, but must be named all the same.
func TestDialNamesBothKeysOfDifferentTypes(t *testing.T) {
	srv := &server{}
	c := srv.start(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := sshd.GenerateKey(t.Context(), file, "ecdsa", ""); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := xssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	both := []string{xssh.FingerprintSHA256(key), xssh.FingerprintSHA256(srv.hostKey.PublicKey())}
	c.HostKeys = []string{string(line)}
	dialing(t, c, ssh.ErrHostKeyChanged, both...)

	c.HostKeys = nil
	c.KnownHosts = []string{filepath.Join(t.TempDir(), "known_hosts")}
	if err := os.WriteFile(c.KnownHosts[0], []byte("[127.0.0.1]:"+strconv.Itoa(c.Port)+" "+string(line)), 0o600); err != nil {
		t.Fatal(err)
	}
	dialing(t, c, ssh.ErrHostKeyChanged, both...)
}

func TestDialErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	port := closed.Addr().(*net.TCPAddr).Port
	base := func(greet func(net.Conn) bool) ssh.Config { return (&server{greet: greet}).start(t) }
	change := func(c ssh.Config, f func(*ssh.Config)) ssh.Config { f(&c); return c }
	silent := func(c net.Conn) bool { _, _ = c.Read(make([]byte, 1)); time.Sleep(time.Second); return false }
	tests := []struct {
		name  string
		c     ssh.Config
		want  error
		texts []string
	}{
		{"refused", change(base(nil), func(c *ssh.Config) { c.Port = port }), ssh.ErrRefused, []string{"127.0.0.1:" + strconv.Itoa(port), "refused"}},
		{"no such host", change(base(nil), func(c *ssh.Config) { c.Host = "nosuchhost.invalid" }), ssh.ErrNoSuchHost, []string{`"nosuchhost.invalid"`}},
		{"no time to connect", change(base(nil), func(c *ssh.Config) { c.ConnectTimeout = 1 }), ssh.ErrTimeout, []string{"no answer within"}},
		{"silent", change(base(silent), func(c *ssh.Config) { c.ConnectTimeout, c.LoginTimeout = 1e8, 1e8 }), ssh.ErrTimeout, []string{"100ms"}},
		{"no SSH server", base(func(c net.Conn) bool {
			_, _ = c.Write([]byte("220 mail\r\n500 what\r\n" + strings.Repeat("x", 70000)))
			return false
		}), nil, []string{"not answer like an SSH server"}},
		{"hangs up", base(func(net.Conn) bool { return false }), nil, []string{"MaxStartups"}},
		{"no host", ssh.Config{User: "a"}, nil, []string{"host is empty"}},
		{"URL", ssh.Config{User: "a", Host: "ssh://nas"}, nil, []string{"is a URL"}},
		{"option", ssh.Config{User: "a", Host: "-oProxyCommand=x"}, nil, []string{"not the name"}},
		{"port", ssh.Config{User: "a", Host: "nas", Port: 70000}, nil, []string{"65535"}},
		{"no user", ssh.Config{Host: "nas"}, nil, []string{"user is empty"}},
		{"no key", change(base(nil), func(c *ssh.Config) { c.Keys = nil }), nil, []string{"no key to log in to 127.0.0.1:", "none is given"}},
		{"key file missing", change(base(nil), func(c *ssh.Config) { c.KeyFiles = []string{"/nonexistent/id"} }), os.ErrNotExist, []string{"/nonexistent/id"}},
		{"not a key", change(base(nil), func(c *ssh.Config) { c.Keys = []ssh.PrivateKey{[]byte("SECRET")} }), nil, []string{"key 1: is not a private key"}},
		{"no agent", change(base(nil), func(c *ssh.Config) { c.Keys, c.AgentSocket = nil, "/nonexistent/agent" }), nil, []string{"the SSH agent at /nonexistent/agent does not answer"}},
		{"bad host key", change(base(nil), func(c *ssh.Config) { c.HostKeys = []string{"nonsense"} }), nil, []string{"host key", "nonsense"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialing(t, tt.c, tt.want, tt.texts...)
		})
	}
}

func TestDialEndsWithContext(t *testing.T) {
	cause := errors.New("enough")
	c := (&server{greet: func(c net.Conn) bool { _, _ = c.Read(make([]byte, 100)); time.Sleep(time.Second); return false }}).start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	within(t, 900*time.Millisecond, func() {
		if _, err := ssh.Dial(ctx, c); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	})
}

// A server with too many logins under way hangs up on some at random.
func TestDialTriesAgainWhenDropped(t *testing.T) {
	var n atomic.Int32
	c := (&server{greet: func(net.Conn) bool { return n.Add(1) > 2 }}).start(t)
	dial(t, c)
	if n.Load() != 3 {
		t.Errorf("%d connections", n.Load())
	}
}
