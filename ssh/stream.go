package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

const (
	chunk      = 256 << 10        // bytes in one read and write of the copies between a stream and its caller
	maxNoise   = 64 << 10         // bytes that a login shell may print before the command
	maxSample  = 512              // bytes of them that an error shows
	startLimit = 60 * time.Second // for the login shell to start the command
	lastInput  = time.Second      // for the end of the input to come after the command has ended well
	killGrace  = time.Second      // for a command to end by itself when its stream was given up
	killLimit  = 2 * time.Second  // for all of that
)

// Stream runs commands one after the other, each only if the one before it succeeded, with stdin as their input (nil: none)
// and stdout for what they write (nil: discarded). started, if not nil, is called before a byte flows, with the pid of what
// runs there and its start time, for End; its error ends the stream.
//
// An error of stdin other than io.EOF is a broken stream: the command is ended with a signal, never with an end of its
// input. Errors: that one or one of stdout, wrapped; *ExitError if the command failed; ErrStoppedReading if it succeeded
// but left input; *LostError, *StartError, *NoExitError, those of Dial; the cause of ctx. stderr is the last 64 KiB of what
// the command said.
//
// Stream returns when the command has ended, or has been given up after two seconds of trying. It does not wait for a Read
// of stdin or, when it fails, a Write to stdout that is still blocked then: the caller ends those by closing what they are
// blocked on.
func (p *Peer) Stream(
	ctx context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(pid int, start string) error,
) (stderr string, err error) {
	line, err := commandScript(commands)
	if err != nil {
		return "", err
	}
	s, err := p.begin(ctx, line)
	if err != nil {
		return "", err
	}
	p.stats.streams.Add(1)
	err = s.run(ctx, stdin, stdout, started)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s.stderr.String(), err
}

// stream is a command on a connection of its own.
type stream struct {
	peer    *Peer
	conn    *streamConn
	session *xssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  buffer
	exit    chan error // gets how the command ended
	marker  marker
	input   bool // the command reads what the caller sends
}

// begin starts a line of shell on a connection for streams.
func (p *Peer) begin(ctx context.Context, line string) (*stream, error) {
	h := p.link.host
	for {
		if p.closed.Load() {
			return nil, ErrClosed
		}
		c, err := h.acquire(ctx, p.link, &p.stats)
		if err != nil {
			return nil, err
		}
		s := &stream{peer: p, conn: c, exit: make(chan error, 1), stderr: buffer{limit: tailSize}}
		err = s.start(ctx, line)
		if err == nil {
			return s, nil
		}
		h.drop(c)
		if !c.used || !errors.As(err, new(notOpened)) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// start opens the session and starts the line, on a goroutine of the connection: neither knows a context.
func (s *stream) start(ctx context.Context, line string) error {
	done := make(chan error, 1)
	spawned := s.conn.spawn(func() { // ends with the command or the connection, which the caller drops on an error
		err := s.open(line)
		done <- err
		if err == nil {
			s.exit <- s.conn.exit(s.session.Wait())
		}
	})
	if !spawned {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stream) open(line string) error {
	session, err := (&command{conn: s.conn.conn}).open(&s.peer.stats)
	if err != nil {
		return err
	}
	s.session = session
	session.Stderr = &s.stderr
	// Not Session.Stdin: nobody could wait for its copier, and an error of reading would pass for the end of the input.
	if s.stdin, err = session.StdinPipe(); err != nil {
		return err
	}
	if s.stdout, err = session.StdoutPipe(); err != nil {
		return err
	}
	if err := session.Start(line); err != nil {
		return fmt.Errorf("start a command on %s: %w", s.conn.addr, s.conn.because(err))
	}
	return nil
}

// run sees the stream through. Afterwards its connection is idle or closed.
func (s *stream) run(ctx context.Context, stdin io.Reader, stdout io.Writer, started func(int, string) error) error {
	s.input = stdin != nil
	head, err := s.awaitMarker(ctx)
	if err == nil && started != nil {
		err = started(s.marker.pid, s.marker.start)
	}
	if err != nil {
		s.kill(ctx)
		return err
	}
	err = s.flow(ctx, s.copyIn(stdin), s.copyOut(head, stdout))
	var exit *ExitError
	if err == nil || errors.As(err, &exit) || errors.Is(err, ErrStoppedReading) {
		s.peer.link.host.put(s.conn)
		return err
	}
	s.kill(ctx)
	return err
}

// flow waits for the end of both copies and of the command.
func (s *stream) flow(ctx context.Context, in <-chan copied, out <-chan error) error {
	exit := s.exit
	var late <-chan time.Time
	stopped := false
	for exit != nil || in != nil || out != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-in:
			in = nil
			if c.read != nil {
				return s.broken(exit, c.read)
			}
			stopped = c.write != nil // why, the end of the command tells
		case err := <-out:
			out = nil
			if err != nil {
				return fmt.Errorf("output of the command: %w", err)
			}
		case err := <-exit:
			exit = nil
			if err != nil {
				return s.drain(ctx, out, err)
			}
			// It may have known by itself that its input is complete, a moment before the sender closes it.
			late = time.After(lastInput)
		case <-late:
			in = nil
		}
	}
	if stopped {
		return ErrStoppedReading
	}
	return nil
}

// broken is the error of an input that broke, unless the command had failed before.
func (s *stream) broken(exit <-chan error, read error) error {
	select {
	case err := <-exit:
		if err != nil {
			return err
		}
	default:
	}
	return fmt.Errorf("input of the command: %w", read)
}

// drain waits until what a failed command wrote has been passed on.
func (s *stream) drain(ctx context.Context, out <-chan error, exit error) error {
	if out != nil {
		select {
		case err := <-out:
			_ = err // of a stdout that nobody reads any more, because the command failed
		case <-ctx.Done():
		}
	}
	return exit
}

// awaitMarker waits for the first line of the script and returns what came after it.
func (s *stream) awaitMarker(ctx context.Context) (head []byte, err error) {
	type result struct {
		head []byte
		err  error
	}
	done := make(chan result, 1)
	if !s.conn.spawn(func() { // ends with the marker, too much noise, or the connection
		head, err := s.readMarker()
		done <- result{head, err}
	}) {
		return nil, ErrClosed
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case r := <-done:
		return r.head, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-limit.C:
		return nil, &StartError{Addr: s.conn.addr, Reason: fmt.Sprintf("nothing was seen of it within %v", startLimit)}
	}
}

func (s *stream) readMarker() ([]byte, error) {
	var seen []byte
	part := make([]byte, chunk)
	for {
		n, err := s.stdout.Read(part)
		seen = append(seen, part[:n]...)
		m, after := findMarker(seen)
		switch {
		case after >= 0:
			s.marker = m
			return seen[after:], nil
		case err != nil:
			return nil, s.ended(seen)
		case len(seen) > maxNoise+maxMarker:
			return nil, &StartError{
				Addr: s.conn.addr, Output: string(seen[:maxSample]),
				Reason: fmt.Sprintf("the login shell printed more than %d KiB before it", maxNoise>>10),
			}
		}
	}
}

// ended is the error of a session that ended without a marker.
func (s *stream) ended(seen []byte) error {
	err := <-s.exit
	s.exit <- err
	if err == nil || errors.As(err, new(*ExitError)) {
		return notStarted(s.conn.addr, err, seen, s.stderr.String())
	}
	return err
}

// kill ends the command and closes the connection. A command that sends may be blocked in the kernel until nobody reads
// from it any more; one that receives must be dead before its input ends, or it would take that for the end of the stream.
func (s *stream) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	known := s.marker.pid != 0
	s.conn.spawn(func() { // ends with the writes or the connection
		if !known {
			_ = s.session.Signal(xssh.SIGTERM)
		}
		if !s.input {
			_ = s.session.Close()
		}
	})
	switch {
	case known:
		// Not by a signal to the session: it would end the shell, by which a command deaf to it is found.
		_, _ = s.peer.end(ctx, s.marker, killGrace) // what is left then, the next start ends
	case s.conn.lost() == nil:
		select {
		case err := <-s.exit:
			s.exit <- err
		case <-ctx.Done():
		}
	}
	s.peer.link.host.drop(s.conn)
}
