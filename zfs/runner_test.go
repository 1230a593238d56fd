package zfs

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
)

// call is one command line that a test expects, and what the command does.
type call struct {
	argv   string // joined by spaces, several commands by " && "
	stdout string
	stderr string
	err    error
}

// exitStatus is the error of a command that ran and failed.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitStatus) ExitCode() int { return int(e) }

// script is a Runner that plays calls in order and remembers what it read.
type script struct {
	t     *testing.T
	calls []call
	stdin string
}

func play(t *testing.T, calls ...call) *script {
	s := &script{t: t, calls: calls}
	t.Cleanup(func() {
		for _, c := range s.calls {
			t.Errorf("not run: %s", c.argv)
		}
	})
	return s
}

func (s *script) next(argv string) call {
	s.t.Helper()
	if len(s.calls) == 0 {
		s.t.Fatalf("unexpected command: %s", argv)
	}
	c := s.calls[0]
	s.calls = s.calls[1:]
	if c.argv != argv {
		s.t.Fatalf("command\n %s\nwant\n %s", argv, c.argv)
	}
	return c
}

func (s *script) Output(_ context.Context, argv []string) ([]byte, string, error) {
	c := s.next(strings.Join(argv, " "))
	return []byte(c.stdout), c.stderr, c.err
}

func (s *script) Stream(_ context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(int, string) error) (string, error) {
	var all []string
	for _, argv := range commands {
		all = append(all, strings.Join(argv, " "))
	}
	c := s.next(strings.Join(all, " && "))
	if started != nil {
		if err := started(4711, "99"); err != nil {
			return "", err
		}
	}
	if stdin != nil {
		in, err := io.ReadAll(stdin)
		if err != nil {
			return "", err
		}
		s.stdin = string(in)
	}
	if stdout != nil {
		if _, err := io.WriteString(stdout, c.stdout); err != nil {
			return "", err
		}
	}
	return c.stderr, c.err
}

// answer is a Runner that gives the same answer to everything.
type answer struct {
	stdout, stderr string
	err            error
}

func (a answer) Output(context.Context, []string) ([]byte, string, error) {
	return []byte(a.stdout), a.stderr, a.err
}

func (a answer) Stream(context.Context, [][]string, io.Reader, io.Writer, func(int, string) error) (string, error) {
	return a.stderr, a.err
}
