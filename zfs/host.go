package zfs

import (
	"context"
	"strings"
	"sync"
)

// Options are how zfs is run on one system. The zero value runs zfs from PATH as the user that the Runner is.
type Options struct {
	Sudo bool   // put sudo -n before it
	Path string // the zfs program; default "zfs", looked up in PATH
}

// Host is the zfs of one system. Its methods may be called from several goroutines at once. Names that zfs would not
// take, or would take for an option, are refused with ErrName before anything runs. Every other failure is an *Error,
// or a *ResumableError around one; if ctx ended, its cause.
type Host struct {
	runner  Runner
	options Options

	mu       sync.Mutex // guards features; held while they are asked for, so that it happens once
	features *Features
}

// New returns the zfs that r reaches.
func New(r Runner, o Options) *Host {
	if o.Path == "" {
		o.Path = "zfs"
	}
	return &Host{runner: r, options: o}
}

// argv is the whole command for zfs args.
func (h *Host) argv(args []string) []string {
	argv := make([]string, 0, len(args)+3)
	if h.options.Sudo {
		argv = append(argv, "sudo", "-n")
	}
	argv = append(argv, h.options.Path)
	return append(argv, args...)
}

// run runs zfs args to its end. What it wrote is returned with an error too: a listing of several names shows those that
// exist and then fails.
func (h *Host) run(ctx context.Context, args ...string) (stdout string, err error) {
	out, stderr, err := h.runner.Output(ctx, h.argv(args))
	if err != nil {
		err = h.failure(ctx, args, stderr, err)
	}
	return string(out), err
}

// lines splits the output of a command; no output is no lines.
func lines(s string) []string {
	s = strings.TrimSuffix(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
