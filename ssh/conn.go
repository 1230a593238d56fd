package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// conn is a connection that is logged in. It asks the host for a sign of life when none has come for a while, and counts
// as lost when none comes. What is at work on a connection ends when it does.
type conn struct {
	addr   string
	client *xssh.Client
	wire   *wire
	ended  chan struct{} // closed when nothing comes any more; cause is set before

	mu    sync.Mutex // guards what follows
	cause error      // why it ended, or why it was closed
	shut  bool       // Close was called: no more goroutines
	limit int        // commands that may run at once
	used  int        // commands that do
	freed chan struct{}

	work sync.WaitGroup // goroutines that use the connection, added under mu
}

// maxCommands is how many commands run at once on one connection: fewer than the 10 that sshd allows by itself.
const maxCommands = 8

func newConn(cfg *Config, client *xssh.Client, w *wire) *conn {
	c := &conn{addr: cfg.addr(), client: client, wire: w, ended: make(chan struct{}), limit: maxCommands, freed: make(chan struct{})}
	c.spawn(c.await)
	c.spawn(func() { c.keepAlive(cfg.Keepalive, cfg.KeepaliveCount) })
	return c
}

// spawn runs f on a goroutine that Close waits for, and reports whether it did: a connection that is closed does not.
func (c *conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	c.work.Go(f)
	return true
}

// await notes the end of the connection.
func (c *conn) await() {
	err := c.client.Wait()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	c.end(&LostError{Addr: c.addr, Err: err})
	close(c.ended)
}

// end closes the connection; the first cause stays.
func (c *conn) end(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	_ = c.client.Close()
}

// Close ends the connection and everything on it, and waits for that.
func (c *conn) Close() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	c.end(ErrClosed)
	c.work.Wait()
}

// lost returns why the connection ended, or nil if it has not.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// because returns why the connection ended if that can be what err, an error of something on it, echoes; else err.
func (c *conn) because(err error) error {
	if err == nil {
		return nil
	}
	// The end reaches what is on the connection a moment before it reaches await.
	select {
	case <-c.ended:
	case <-time.After(100 * time.Millisecond):
	}
	if cause := c.lost(); cause != nil {
		return cause
	}
	return err
}

// keepAlive watches for bytes from the host. Ticks are counted and not time, so that a machine that slept does not take
// its own silence for the host's.
func (c *conn) keepAlive(interval time.Duration, count int) {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	asking := make(chan struct{}, 1)
	silent, before := 0, int64(-1)
	for {
		select {
		case <-c.ended:
			return
		case <-ticks.C:
		}
		if now := c.wire.heard.Load(); now != before {
			silent, before = 0, now
			continue
		}
		if silent++; silent >= count {
			c.end(&LostError{Addr: c.addr, Silent: time.Duration(silent) * interval})
			return
		}
		select {
		case asking <- struct{}{}:
			c.spawn(func() { // ends with the answer or the connection
				defer func() { <-asking }()
				_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
			})
		default: // the host has not answered the last one yet
		}
	}
}

// take waits for its turn to run a command.
func (c *conn) take(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.used < c.limit {
			c.used++
			c.mu.Unlock()
			return nil
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ended:
			return c.lost()
		case <-freed:
		}
	}
}

func (c *conn) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used--
	close(c.freed)
	c.freed = make(chan struct{})
}

// tooMany notes that the host refused a command, and reports whether it may take it when another one has ended.
func (c *conn) tooMany() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used <= 1 {
		return false
	}
	c.limit = c.used - 1
	return true
}

// notOpened is why no session was opened, on a connection that was already at its end: the command certainly has not
// started, so another connection may try it.
type notOpened struct{ error }

func (e notOpened) Unwrap() error { return e.error }

// open opens a session. It knows no context: it ends with the connection.
func (c *conn) open() (*xssh.Session, error) {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		s, err := c.client.NewSession()
		if err == nil {
			return s, nil
		}
		refused := (*xssh.OpenChannelError)(nil)
		if !errors.As(err, &refused) {
			return nil, notOpened{c.because(err)}
		}
		// Where few are allowed (MaxSessions), sshd counts one that has just ended for a moment longer.
		if wait > 200*time.Millisecond || c.shared() {
			return nil, fmt.Errorf("%s opens no session (MaxSessions): %w", c.addr, refused)
		}
		select {
		case <-c.ended:
		case <-time.After(wait):
		}
	}
}

// shared tells whether another command runs.
func (c *conn) shared() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used > 1
}
