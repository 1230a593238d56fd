package fakezfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
)

// ExitError is the error of a command that ran and failed.
type ExitError struct {
	Argv   []string
	Code   int // -1: it was killed
	Stderr string
}

func (e *ExitError) Error() string {
	if e.Code < 0 {
		return "signal: killed"
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// ExitCode returns the code, or -1 for a command that was killed.
func (e *ExitError) ExitCode() int { return e.Code }

// running is a stream of Stream, so that End finds it.
type running struct {
	start  string
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// Output runs argv to its end; see zfs.Runner.
func (s *System) Output(ctx context.Context, argv []string) (stdout []byte, stderr string, err error) {
	var out bytes.Buffer
	var text buffer
	code := s.Run(ctx, argv, nil, &out, &text)
	if err := context.Cause(ctx); err != nil {
		return nil, text.String(), err
	}
	if code != 0 {
		err = &ExitError{Argv: argv, Code: code, Stderr: text.String()}
	}
	return out.Bytes(), text.String(), err
}

// Stream runs commands with the same stdin and stdout; see zfs.Runner. Each stream has a pid, of no process, that End
// knows. When ctx ends, a read of stdin or write to stdout that blocks is abandoned and ends with its other side.
func (s *System) Stream(ctx context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(pid int, start string) error) (stderr string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pid, r := s.begin(cancel)
	defer s.finish(pid, r)
	if started != nil {
		if err := started(pid, r.start); err != nil {
			return "", err
		}
	}
	var text buffer
	in := &sourceReader{r: &contextReader{ctx: ctx, r: orEmpty(stdin)}}
	out := &contextWriter{ctx: ctx, w: orDiscard(stdout)}
	for _, argv := range commands {
		code := s.Run(ctx, argv, in, out, &text)
		switch {
		case code == 0:
			continue
		case ctx.Err() != nil:
			return text.String(), context.Cause(ctx)
		case code < 0 && in.err != nil:
			return text.String(), fmt.Errorf("%w: %w", &ExitError{Argv: argv, Code: code}, in.err)
		}
		return text.String(), &ExitError{Argv: argv, Code: code, Stderr: text.String()}
	}
	return text.String(), nil
}

// sourceReader remembers the error that broke a stream.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

var errEnded = fmt.Errorf("signal: terminated")

func (s *System) begin(cancel context.CancelCauseFunc) (int, *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPID++
	r := &running{start: strconv.Itoa(s.lastPID * 7), cancel: cancel, done: make(chan struct{})}
	s.streams[s.lastPID] = r
	return s.lastPID, r
}

func (s *System) finish(pid int, r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, pid)
	close(r.done)
}

// End ends the stream that was told this pid and start, and tells whether it is gone.
func (s *System) End(ctx context.Context, pid int, start string) (gone bool, err error) {
	s.mu.Lock()
	r := s.streams[pid]
	s.mu.Unlock()
	if r == nil || r.start != start {
		return true, nil
	}
	r.cancel(errEnded)
	grace := time.NewTimer(2 * time.Second)
	defer grace.Stop()
	select {
	case <-r.done:
		return true, nil
	case <-grace.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
