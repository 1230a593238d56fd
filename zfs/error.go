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
	var exit exitCoder
	switch {
	case msg == "":
		msg = e.Err.Error()
	case !errors.As(e.Err, &exit):
		msg = e.Err.Error() + ": " + msg // it did not end by itself, so its words are not all
	}
	if e.Hint != "" {
		msg += " (" + e.Hint + ")"
	}
	return fmt.Sprintf("zfs %s: %s", e.Args[0], msg)
}

// exitCoder is the error of a command that ran and failed.
type exitCoder interface {
	error
	ExitCode() int
}

// said is the part of the command's own words that says what was wrong.
func (e *Error) said() string {
	return strings.Join(complaints(e.Stderr), " ")
}

// complaints are the lines of what a command wrote up to those that only explain how to use it.
func complaints(stderr string) []string {
	var list []string
	for _, line := range lines(stderr) {
		line = strings.TrimSpace(line)
		if line == "usage:" || strings.HasPrefix(line, "A resuming stream can be generated") {
			break
		}
		if line != "" {
			list = append(list, line)
		}
	}
	return list
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
	if ctx.Err() != nil {
		// What the command said while it was being ended is only the symptom.
		return &Error{Args: args, Err: context.Cause(ctx)}
	}
	e := &Error{Args: args, Stderr: strings.TrimSpace(stderr), Err: err}
	e.Kind = kindOf(masked(e.Stderr, args))
	if e.Kind == nil && notFound(err) {
		e.Kind = ErrNoZFS
		if h.options.Sudo && errors.Is(err, exec.ErrNotFound) {
			e.Kind = ErrSudo // the program that was looked up here
		}
	}
	e.Hint = h.hint(e.Kind, e.Error())
	if m := resumeToken.FindStringSubmatch(e.Stderr); m != nil {
		return &ResumableError{Token: m[1], Err: e}
	}
	return e
}

// hint tells what can be done about the failures that come from how zfs is run.
func (h *Host) hint(kind error, msg string) string {
	sudo, missing := errors.Is(kind, ErrSudo), errors.Is(kind, ErrNoZFS)
	switch {
	case sudo && strings.Contains(msg, "not found"):
		return "sudo was not found on that system, in the PATH of its user or in " + searched
	case sudo:
		program := h.options.Path
		if !strings.HasPrefix(program, "/") {
			program = "/usr/sbin/zfs"
		}
		return "it takes a line in sudoers there: USER ALL=(root) NOPASSWD: " + program
	case missing && h.options.Sudo:
		return h.options.Path + " was not found on that system in the secure_path of sudo"
	case missing:
		return h.options.Path + " was not found on that system, in the PATH of its user or in " + searched
	}
	return ""
}

// searched are the folders that Runners add to PATH.
const searched = "/usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin"

// notFound tells whether a program did not run because it is not there. A shell says so with status 127.
func notFound(err error) bool {
	if errors.Is(err, exec.ErrNotFound) {
		return true
	}
	var exit exitCoder
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
