package ssh

import (
	"context"
	"errors"
	"sync/atomic"

	xssh "golang.org/x/crypto/ssh"
)

// Peer is a host that commands run on: short ones on a control connection that stays logged in, and is renewed when it was
// lost, streams on connections of their own. Its methods may be called from any goroutine.
type Peer struct {
	dialer *Dialer
	link   *link
	closed atomic.Bool
	stats  counters
}

// Stats counts what a Peer has used. Connections that another Peer has opened and this one shares do not count.
type Stats struct {
	ControlConnections int // logins for commands
	StreamConnections  int // logins for streams
	Channels           int // commands and streams
	Streams            int
}

type counters struct{ control, stream, channels, streams atomic.Int64 }

// Stats returns the counts so far.
func (p *Peer) Stats() Stats {
	return Stats{
		ControlConnections: int(p.stats.control.Load()),
		StreamConnections:  int(p.stats.stream.Load()),
		Channels:           int(p.stats.channels.Load()),
		Streams:            int(p.stats.streams.Load()),
	}
}

// Addr is host:port.
func (p *Peer) Addr() string { return p.link.cfg.addr() }

// Close ends the connections, unless another Peer shares them, and what is still at work on them. It always returns nil.
func (p *Peer) Close() error {
	if !p.closed.Swap(true) {
		p.dialer.leave(p.link)
	}
	return nil
}

// Prepare logs in on a connection for the next stream in the background, unless one is ready. Trouble is not reported: the
// stream will meet it. The login goes on until it is done, ctx ends, or p is closed.
func (p *Peer) Prepare(ctx context.Context) {
	if !p.closed.Load() {
		p.link.host.prepare(ctx, p.link, &p.stats)
	}
}

func (p *Peer) control(ctx context.Context) (*conn, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	return p.link.control(ctx, &p.stats)
}

// Output runs argv to its end, without input, and returns what it wrote; of standard error the last 64 KiB. Errors: an
// *ExitError if the command ran and failed, *LostError if the connection ended meanwhile, those of Dial if it had to be
// made anew, the cause of ctx. When ctx ends, Output returns at once, and the command is ended behind its back.
func (p *Peer) Output(ctx context.Context, argv []string) (stdout []byte, stderr string, err error) {
	line, err := commandScript([][]string{argv})
	if err != nil {
		return nil, "", err
	}
	a, err := p.shell(ctx, line)
	if err != nil && ctx.Err() != nil && a.marker.pid != 0 {
		ctx := context.WithoutCancel(ctx)
		a.conn.spawn(func() { // ends soon, or with the connection
			ctx, cancel := context.WithTimeout(ctx, 2*killLimit)
			defer cancel()
			_, _, _ = a.conn.output(ctx, endScript(a.marker, killGrace), &p.stats)
		})
	}
	return a.stdout, a.stderr, err
}

// answer is what a line of shell gave.
type answer struct {
	conn   *conn
	marker marker
	stdout []byte
	stderr string
}

// shell runs a line that writes a marker first.
func (p *Peer) shell(ctx context.Context, line string) (answer, error) {
	for retried := false; ; retried = true {
		c, err := p.control(ctx)
		if err != nil {
			return answer{}, err
		}
		stdout, stderr, err := c.output(ctx, line, &p.stats)
		if errors.As(err, new(notOpened)) && !retried && ctx.Err() == nil {
			continue // the connection had died unnoticed
		}
		a := answer{conn: c, stderr: stderr}
		after := 0
		a.marker, after = findMarker(stdout)
		switch {
		case after >= 0:
			a.stdout = stdout[after:]
		case err == nil || errors.As(err, new(*ExitError)):
			err = notStarted(c.addr, err, stdout, stderr)
		}
		return a, err
	}
}

// notStarted is the error for a session that ended without a marker.
func notStarted(addr string, exit error, stdout []byte, stderr string) error {
	e := &StartError{Addr: addr, Reason: "the session ended without it", Output: string(stdout[max(0, len(stdout)-maxSample):]) + stderr}
	if exit != nil {
		e.Reason += ", " + exit.Error()
	}
	return e
}

// output runs a line of shell. What it needs from the host it does on a goroutine that can be left behind: x/crypto/ssh
// knows no context.
func (c *conn) output(ctx context.Context, line string, stats *counters) ([]byte, string, error) {
	type result struct {
		err   error
		again bool // when another command has ended
	}
	for {
		if err := c.take(ctx); err != nil {
			return nil, "", err
		}
		var stdout, stderr buffer
		stderr.limit = tailSize
		run := &command{conn: c}
		done := make(chan result, 1)
		started := c.spawn(func() { // ends with the command or the connection
			defer c.give()
			err := run.do(line, &stdout, &stderr, stats)
			done <- result{err, errors.As(err, new(*xssh.OpenChannelError)) && c.tooMany()}
		})
		if !started {
			c.give()
			return nil, "", ErrClosed
		}
		select {
		case r := <-done:
			if r.again {
				continue
			}
			return stdout.Bytes(), stderr.String(), r.err
		case <-ctx.Done():
			run.abandon()
			return stdout.Bytes(), stderr.String(), context.Cause(ctx)
		}
	}
}
