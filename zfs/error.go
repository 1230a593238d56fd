package zfs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// Error is a zfs command that failed.
type Error struct {
	Args   []string // without the program's name
	Stderr string   // trimmed, as the command wrote it
	Kind   error    // one of the kinds of this package, or nil where the wording is not known
	Hint   string   // what the user can do, or ""
	Err    error    // from the Runner, or the cause of the context's end
}

// Error says what zfs said, on one line, without its usage text.
func (e *Error) Error() string {
	msg := e.said()
	if msg == "" {
		msg = e.Err.Error()
	}
	if e.Hint != "" {
		msg += " (" + e.Hint + ")"
	}
	return fmt.Sprintf("zfs %s: %s", e.Args[0], msg)
}

// said is the part of the command's own words that says what was wrong.
func (e *Error) said() string {
	var said []string
	for _, line := range lines(e.Stderr) {
		line = strings.TrimSpace(line)
		if line == "usage:" || strings.HasPrefix(line, "A resuming stream can be generated") {
			break
		}
		if line != "" {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// Unwrap lets errors.Is see both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// ResumableError is a receive that stopped part-way and kept what it had.
type ResumableError struct {
	Token string // for Send.Token on the sending side
	Err   *Error
}

func (e *ResumableError) Error() string { return e.Err.Error() }

// Unwrap returns the failure of the receive.
func (e *ResumableError) Unwrap() error { return e.Err }

var resumeToken = regexp.MustCompile(`zfs send -t ([0-9A-Za-z-]+)`)

// failure turns what a failed command left behind into a typed error.
func (h *Host) failure(ctx context.Context, args []string, stderr string, err error) error {
	e := &Error{Args: args, Stderr: strings.TrimSpace(stderr), Err: err}
	if ctx.Err() != nil {
		// Whatever the command said while it was being ended is the symptom.
		return &Error{Args: args, Err: context.Cause(ctx)}
	}
	e.Kind = kindOf(masked(e.Stderr, args))
	if e.Kind == nil && notFound(err) {
		e.Kind = ErrNoZFS
		if h.options.Sudo && (errors.Is(err, exec.ErrNotFound) || strings.Contains(e.Stderr, "sudo")) {
			e.Kind = ErrSudo
		}
	}
	switch e.Kind {
	case ErrSudo:
		e.Hint = "it takes a line in sudoers like: USER ALL=(root) NOPASSWD: " + h.program()
	case ErrNoZFS:
		e.Hint = h.options.Path + " was not found on that system, in the PATH of its user or in " + searched
	}
	if m := resumeToken.FindStringSubmatch(e.Stderr); m != nil {
		return &ResumableError{Token: m[1], Err: e}
	}
	return e
}

// searched are the folders that Runners add to PATH.
const searched = "/usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin"

// program is the full path of zfs as sudoers wants it, as far as it is known.
func (h *Host) program() string {
	if strings.HasPrefix(h.options.Path, "/") {
		return h.options.Path
	}
	return "/usr/sbin/zfs"
}

// notFound tells whether a program did not run because it is not there. A shell says so with status 127.
func notFound(err error) bool {
	if errors.Is(err, exec.ErrNotFound) {
		return true
	}
	var exit interface{ ExitCode() int }
	return errors.As(err, &exit) && exit.ExitCode() == 127
}

// masked takes the names out of a message: they may hold spaces, and then a dataset could be called like an error.
func masked(stderr string, args []string) string {
	for _, arg := range args {
		dataset, _, _ := strings.Cut(arg, "@")
		for _, name := range []string{arg, dataset} {
			if strings.Contains(name, " ") {
				stderr = strings.ReplaceAll(stderr, name, "")
			}
		}
	}
	return stderr
}
