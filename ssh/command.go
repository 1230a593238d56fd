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

// buffer keeps what is written to it. It may be read while it is written to, by somebody who does not wait any longer.
type buffer struct {
	limit int // 0, or how many bytes of the end it keeps

	mu  sync.Mutex
	buf []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if n := len(b.buf) - b.limit; b.limit > 0 && n > 0 {
		b.buf = append(b.buf[:0], b.buf[n:]...)
	}
	return len(p), nil
}

// Bytes returns what has been written so far. Without a limit it stays as it is.
func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}
