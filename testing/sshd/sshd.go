// Package sshd runs a real OpenSSH server on a free port of 127.0.0.1 for tests and measurements, with host keys, a client
// key and a configuration of its own, as root or as an ordinary user.
package sshd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Options says how a server differs from the plain one.
type Options struct {
	Env            map[string]string // set for every session; HOME is an empty folder unless it is here
	AuthorizedKeys []string          // may log in beside the server's own client key
	MaxStartups    string            // of sshd_config; "" lets 100 logins run at once
	MaxSessions    int               // channels on one connection; 0 is sshd's own 10
	Config         []string          // further lines of sshd_config; the first of two equal settings wins, and these come first
}

// Server is a running sshd. Its methods may be called from any goroutine.
type Server struct {
	Addr       string // host:port
	Port       int
	User       string // who may log in: the user who runs the test
	PrivateKey string // file of an Ed25519 key that may log in
	KnownHosts string // file with all host keys

	dir  string
	mark string // value of markVariable in the environment of its sessions
	cmd  *exec.Cmd
	done chan struct{} // closed when sshd has been waited for
}

// markVariable is set in every session, so that its processes can be found after their parent is gone.
const markVariable = "ZFERRY_TEST_SSHD"

// KeyTypes are the types of a server's host keys.
func KeyTypes() []string { return []string{"ed25519", "ecdsa", "rsa"} }

// Start runs a server until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(tb.Context(), o)
	if err != nil {
		tb.Fatalf("start sshd: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close sshd: %v", err)
		}
	})
	return s
}

// Run starts a server and returns when it answers. The caller closes it.
func Run(ctx context.Context, o Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "zferry-sshd-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, mark: rand.Text(), KnownHosts: filepath.Join(dir, "known_hosts"), PrivateKey: filepath.Join(dir, "id_ed25519")}
	if err := s.start(ctx, o); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, o Options) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	s.User = me.Username
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd wants it for its separation of privileges
			return err
		}
	}
	if err := s.generateKeys(ctx, o); err != nil {
		return err
	}
	// Another process may take the free port before sshd does, so try more than once.
	for range 5 {
		if err = s.listen(ctx, o); err == nil {
			return s.writeKnownHosts()
		}
	}
	return err
}

func (s *Server) generateKeys(ctx context.Context, o Options) error {
	files := map[string]string{"id_ed25519": "ed25519"}
	for _, t := range KeyTypes() {
		files["host_"+t] = t
	}
	for name, keyType := range files {
		if err := GenerateKey(ctx, filepath.Join(s.dir, name), keyType, ""); err != nil {
			return err
		}
	}
	pub, err := os.ReadFile(s.PrivateKey + ".pub")
	if err != nil {
		return err
	}
	keys := strings.Join(append([]string{strings.TrimSpace(string(pub))}, o.AuthorizedKeys...), "\n") + "\n"
	return os.WriteFile(filepath.Join(s.dir, "authorized_keys"), []byte(keys), 0o600)
}

// GenerateKey makes a key pair with ssh-keygen: file and file.pub.
func GenerateKey(ctx context.Context, file, keyType, passphrase string) error {
	args := []string{"-q", "-t", keyType, "-N", passphrase, "-C", "zferry test", "-f", file}
	if keyType == "rsa" {
		args = append(args, "-b", "2048")
	}
	if out, err := exec.CommandContext(ctx, "ssh-keygen", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// Close ends sshd, its sessions and what runs in them, and removes its files.
func (s *Server) Close() error {
	sessions := s.sessions() // before their parent is gone
	_ = s.cmd.Process.Kill()
	<-s.done
	killAll(sessions)
	s.killMarked()
	return os.RemoveAll(s.dir)
}

// HostKeyLine returns the server's public host key of a type of KeyTypes: "ssh-ed25519 AAAA...".
func (s *Server) HostKeyLine(keyType string) string {
	b, err := os.ReadFile(filepath.Join(s.dir, "host_"+keyType+".pub"))
	if err != nil {
		panic(err) // generated at the start
	}
	fields := strings.Fields(string(b))
	return fields[0] + " " + fields[1]
}

func (s *Server) writeKnownHosts() error {
	var lines strings.Builder
	for _, t := range KeyTypes() {
		fmt.Fprintf(&lines, "[127.0.0.1]:%d %s\n", s.Port, s.HostKeyLine(t))
	}
	return os.WriteFile(s.KnownHosts, []byte(lines.String()), 0o600)
}

// listen starts sshd on a port that was free a moment ago and waits for its greeting.
func (s *Server) listen(ctx context.Context, o Options) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Addr = l.Addr().String()
	s.Port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()

	config := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(config, []byte(s.config(o)), 0o600); err != nil {
		return err
	}
	sshd, err := lookSSHD()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: Close ends it, after its sessions have been looked for.
	s.cmd = exec.Command(sshd, "-D", "-e", "-f", config)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() { // ends when sshd does, and Close sees to that
		defer close(s.done)
		_ = s.cmd.Wait()
	}()
	if err := s.awaitGreeting(ctx); err != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("%w: %s", err, s.Log())
	}
	return nil
}

func (s *Server) awaitGreeting(ctx context.Context) error {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.done:
			return errors.New("sshd ended")
		case <-time.After(20 * time.Millisecond):
		}
		if greeted(s.Addr) {
			return nil
		}
	}
	return errors.New("sshd does not answer")
}

func greeted(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	greeting := make([]byte, 4)
	_, err = c.Read(greeting)
	return err == nil && string(greeting) == "SSH-"
}

// Log returns what sshd has logged so far.
func (s *Server) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(b)
}

func (s *Server) config(o Options) string {
	lines := append([]string{}, o.Config...)
	env := []string{markVariable + "=" + s.mark}
	if _, ok := o.Env["HOME"]; !ok { // whose startup files of the shell would slow every command down
		env = append(env, "HOME="+s.dir)
	}
	for k, v := range o.Env {
		env = append(env, fmt.Sprintf("\"%s=%s\"", k, v))
	}
	lines = append(lines, "SetEnv "+strings.Join(env, " ")) // one line: the first SetEnv wins
	for _, t := range KeyTypes() {
		lines = append(lines, "HostKey "+filepath.Join(s.dir, "host_"+t))
	}
	if o.MaxStartups == "" {
		o.MaxStartups = "100"
	}
	if o.MaxSessions != 0 {
		lines = append(lines, "MaxSessions "+strconv.Itoa(o.MaxSessions))
	}
	lines = append(lines,
		"ListenAddress 127.0.0.1:"+strconv.Itoa(s.Port),
		"AuthorizedKeysFile "+filepath.Join(s.dir, "authorized_keys"),
		"PidFile none",
		"MaxStartups "+o.MaxStartups,
		"UsePAM no",
		"StrictModes no",
		"UseDNS no",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin yes",
		"PrintMotd no",
		"LogLevel VERBOSE",
		"Subsystem sftp internal-sftp",
	)
	return strings.Join(lines, "\n") + "\n"
}

// lookSSHD finds the server, which the PATH of an ordinary user does not hold. sshd wants to be called by its full path.
func lookSSHD() (string, error) {
	if p, err := exec.LookPath("sshd"); err == nil {
		return filepath.Abs(p)
	}
	for _, p := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", errors.New("no sshd here: install openssh-server")
}
