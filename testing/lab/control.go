package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	loginTimeout   = 20 * time.Second
	loginPatience  = 90 * time.Second
	dialPause      = 200 * time.Millisecond
	hangupPatience = 5 * time.Second
)

// control is the warm SSH connection over which scripts run on a virtual machine. It logs in when it is first needed.
type control struct {
	addr    string
	signer  ssh.Signer
	hostKey ssh.PublicKey
	// ended is closed when the machine ends.
	ended <-chan struct{}

	mu     sync.Mutex // guards client; held during a login
	client *ssh.Client
}

func (c *control) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(c.signer)},
		HostKeyCallback:   ssh.FixedHostKey(c.hostKey),
		HostKeyAlgorithms: []string{c.hostKey.Type()},
		Config:            ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}, Ciphers: []string{ssh.CipherAES128GCM}},
	}
}

// connect returns the connection, logging in again and again until the machine lets it in or ends, or ctx does. A
// machine that is up and does not let it in within loginPatience never will.
func (c *control) connect(ctx context.Context) (*ssh.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, loginPatience, fmt.Errorf("no success within %v", loginPatience))
	defer cancel()
	for c.client == nil {
		client, err := c.login(ctx)
		if err == nil {
			c.client = client
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("log in: %w; last attempt: %v", context.Cause(ctx), err)
		case <-c.ended:
			return nil, errors.New("log in: the machine has ended")
		case <-time.After(dialPause):
		}
	}
	return c.client, nil
}

func (c *control) login(ctx context.Context) (*ssh.Client, error) {
	conn, err := (&net.Dialer{Timeout: loginTimeout}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, c.addr, c.config())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = sc.Close()
		return nil, err
	}
	return ssh.NewClient(sc, chans, reqs), nil
}

// drop closes the connection and waits until its goroutines are gone.
func (c *control) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return
	}
	_ = c.client.Close()
	c.client.Wait() //nolint:errcheck // it was closed on purpose
	c.client = nil
}

func (c *control) dropIf(client *ssh.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == client {
		_ = c.client.Close()
		c.client = nil
	}
}

func (c *control) run(ctx context.Context, script string, stdin io.Reader, stdout, stderr io.Writer) error {
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	session, err := client.NewSession()
	if err != nil {
		// The connection was lost since the last script; nothing has run yet, so a new one is safe.
		c.dropIf(client)
		if client, err = c.connect(ctx); err != nil {
			return err
		}
		if session, err = client.NewSession(); err != nil {
			return err
		}
	}
	defer session.Close()
	session.Stdout, session.Stderr = stdout, stderr
	input, err := session.StdinPipe()
	if err != nil {
		return err
	}
	mark := strings.ToLower(rand.Text())
	if err := session.Start("export LAB_RUN=" + mark + "\n" + script); err != nil {
		return err
	}
	var feeding sync.WaitGroup
	feeding.Go(func() {
		defer input.Close()
		if stdin != nil {
			io.Copy(input, stdin) //nolint:errcheck // a script may end before it has read everything
		}
	})
	ended := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { c.hangUp(ctx, client, mark, ended) })
	err = session.Wait()
	close(ended)
	waiting.Wait()
	_ = session.Close()
	feeding.Wait()
	return err
}

// hangUp kills the script when ctx ends, and gives up the connection if that does not help. sshd itself does not pass
// on signals to what root runs.
func (c *control) hangUp(ctx context.Context, client *ssh.Client, mark string, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	killed := time.AfterFunc(hangupPatience, func() { c.dropIf(client) })
	defer killed.Stop()
	if session, err := client.NewSession(); err == nil {
		session.Run(killMarked(mark)) //nolint:errcheck // the script may have ended by itself
		_ = session.Close()
	}
	<-ended
}

// killMarked is a script that kills the shell with the mark in its text and everything with it in its environment. The
// brackets keep the search from finding itself.
func killMarked(mark string) string {
	return "grep -ls 'LAB_RUN=[" + mark[:1] + "]" + mark[1:] + "' /proc/[0-9]*/environ /proc/[0-9]*/cmdline" +
		" | cut -d/ -f3 | sort -u | xargs -r kill -KILL"
}

// exitCode finds the exit status in the error of a script that ran.
func exitCode(err error) (int, bool) {
	if remote, ok := errors.AsType[*ssh.ExitError](err); ok {
		if remote.Signal() != "" {
			return -1, true
		}
		return remote.ExitStatus(), true
	}
	if local, ok := errors.AsType[*exec.ExitError](err); ok {
		return local.ExitCode(), true
	}
	return 0, false
}

func knownHostsLine(addr string, key ssh.PublicKey) string {
	return knownhosts.Line([]string{knownhosts.Normalize(addr)}, key) + "\n"
}
