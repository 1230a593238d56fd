package ssh

import (
	"errors"
	"io"
	"sync"

	xssh "golang.org/x/crypto/ssh"
)

// command is a session that one goroutine sees through and another may abandon.
type command struct {
	conn *conn

	mu        sync.Mutex // guards what follows
	session   *xssh.Session
	abandoned bool
}

var errAbandoned = errors.New("abandoned")

// open opens the session.
func (c *command) open(stats *counters) (*xssh.Session, error) {
	s, err := c.conn.open()
	if err != nil {
		return nil, err
	}
	stats.channels.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned {
		_ = s.Close()
		return nil, errAbandoned
	}
	c.session = s
	return s, nil
}

// do runs a line of shell to its end.
func (c *command) do(line string, stdout, stderr io.Writer, stats *counters) error {
	s, err := c.open(stats)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Stdout, s.Stderr = stdout, stderr
	if err := s.Start(line); err != nil {
		return c.conn.because(err)
	}
	return c.conn.exit(s.Wait())
}

// abandon asks the command to end and lets go of it. Neither waits for the host.
func (c *command) abandon() {
	c.mu.Lock()
	c.abandoned = true
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return // open sees to it
	}
	c.conn.spawn(func() { // ends with the writes or the connection
		_ = s.Signal(xssh.SIGTERM)
		_ = s.Close()
	})
}

// exit says how a command ended, from what Session.Wait said.
func (c *conn) exit(err error) error {
	var failed *xssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return &ExitError{Code: failed.ExitStatus(), Signal: failed.Signal(), Message: failed.Msg()}
	case errors.As(err, new(*xssh.ExitMissingError)):
		return c.because(&NoExitError{Addr: c.addr})
	}
	return c.because(err)
}

// tailSize is how much of the end of a command's standard error is kept.
const tailSize = 64 << 10

// tail keeps the last part of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
