package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is asked of the kernel for the pipes to and from zfs: the default of 64 KiB costs a switch each.
	pipeSize = 1 << 20
	copySize = 256 << 10

	// grace is how long a process may take to end after SIGTERM before it is killed.
	grace = 5 * time.Second
)

// stream is a row of commands on this system that share one input and one output.
type stream struct {
	local   Local
	stdin   io.Reader
	stdout  io.Writer
	started func(pid int, start string) error
	stderr  tail

	inR, inW   *os.File // input of the commands
	outR, outW *os.File // output of the commands

	copies  sync.WaitGroup
	inErr   error // how the copying of stdin ended; read after copies.Wait
	outErr  error // likewise of stdout
	broken  chan struct{}
	onBreak sync.Once
	feeding bool
}

// open makes the pipes. Copying from stdin begins with the first command.
func (s *stream) open() (err error) {
	s.broken = make(chan struct{})
	if s.stdin != nil {
		if s.inR, s.inW, err = bigPipe(); err != nil {
			return err
		}
	}
	if s.stdout != nil {
		if s.outR, s.outW, err = bigPipe(); err != nil {
			s.closeInput()
			return err
		}
		s.copies.Go(s.drain)
	}
	return nil
}

// bigPipe is a pipe of pipeSize. The size is a wish: an unprivileged user may be at the limit.
func bigPipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	if raw, err := w.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return r, w, nil
}

// feed copies stdin to the commands. A broken stdin ends them before they can see an end of input.
func (s *stream) feed() {
	buf := make([]byte, copySize)
	for {
		n, err := s.stdin.Read(buf)
		if n > 0 {
			if _, werr := s.inW.Write(buf[:n]); werr != nil {
				s.inErr = errStoppedReading
				return
			}
		}
		if err == io.EOF { // a wrapped EOF is no clean end
			_ = s.inW.Close()
			return
		}
		if err != nil {
			s.inErr = err
			s.breakOff()
			return
		}
	}
}

// errStoppedReading is a command that succeeded without taking all of its input.
var errStoppedReading = errors.New("command ended before the end of its input")

// drain copies what the commands write to stdout. If nobody takes it any more the commands are ended.
func (s *stream) drain() {
	buf := make([]byte, copySize)
	for {
		n, err := s.outR.Read(buf)
		if n > 0 {
			if _, werr := s.stdout.Write(buf[:n]); werr != nil {
				s.outErr = werr
				s.breakOff()
				return
			}
		}
		if err != nil {
			if err != io.EOF && !errors.Is(err, os.ErrClosed) { // read(2) has no other
				s.outErr = err
			}
			return
		}
	}
}

func (s *stream) breakOff() { s.onBreak.Do(func() { close(s.broken) }) }

// run starts one command and waits for it.
func (s *stream) run(ctx context.Context, argv []string) error {
	cmd, err := s.local.command(argv)
	if err != nil {
		return err
	}
	cmd.Stderr = &s.stderr
	if s.inR != nil {
		cmd.Stdin = s.inR
	}
	if s.outW != nil {
		cmd.Stdout = s.outW
	}
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	pid := cmd.Process.Pid
	if s.started != nil {
		_, start, err := stat(pid)
		if err == nil {
			err = s.started(pid, start)
		}
		if err != nil {
			signalGroup(pid, syscall.SIGKILL)
			_ = cmd.Wait()
			return err
		}
	}
	if s.inR != nil && !s.feeding {
		s.feeding = true
		s.copies.Go(s.feed)
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { s.watch(ctx, pid, ended) })
	err = cmd.Wait()
	close(ended)
	watch.Wait()
	return err
}

// watch ends the command when ctx ends or the stream breaks. The reading end goes first: a zfs send that is blocked on a
// full pipe inside the kernel ignores signals until its reader is gone.
func (s *stream) watch(ctx context.Context, pid int, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	case <-s.broken:
	}
	if s.outR != nil {
		_ = s.outR.Close()
	}
	signalGroup(pid, syscall.SIGTERM)
	// A command under sudo cannot be signalled by an ordinary user; it ends when its input does.
	for _, step := range []func(){s.closeInput, func() { signalGroup(pid, syscall.SIGKILL) }} {
		select {
		case <-ended:
			return
		case <-time.After(grace / 5):
			step()
		}
	}
	<-ended
}

func (s *stream) closeInput() {
	if s.inR != nil {
		_ = s.inR.Close()
		_ = s.inW.Close()
	}
}

// finish closes the pipes, waits for the copies and says how the stream went: the error of the commands, or that of the
// side that fed or drained them if that came first.
func (s *stream) finish(err error) error {
	brokenFirst := false
	select {
	case <-s.broken:
		brokenFirst = true // the command's own error is the echo
	default:
	}
	if s.outW != nil {
		_ = s.outW.Close() // now drain sees the end
	}
	if err != nil {
		s.closeInput()
		if c, ok := s.stdin.(io.Closer); ok && s.feeding {
			_ = c.Close()
		}
		if s.outR != nil {
			defer s.outR.Close()
		}
	} else if s.inR != nil {
		_ = s.inR.Close() // what is still fed finds no reader
	}
	s.copies.Wait()
	s.closeInput()
	if s.outR != nil {
		_ = s.outR.Close()
	}
	switch {
	case err != nil && !brokenFirst:
		return err
	case s.inErr != nil:
		return s.inErr
	case s.outErr != nil:
		return s.outErr
	}
	return err
}
