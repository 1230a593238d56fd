package zfs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Send writes the streams to stdout, one after the other, each only if the one before it succeeded. started may be nil;
// see Runner.
func (h *Host) Send(ctx context.Context, sends []Send, stdout io.Writer, started func(pid int, start string) error) error {
	var commands [][]string
	for _, s := range sends {
		args, err := s.args()
		if err != nil {
			return err
		}
		commands = append(commands, append([]string{"send"}, args...))
	}
	_, err := h.stream(ctx, commands, nil, stdout, started)
	return err
}

// Receive takes the streams from stdin, one after the other, each only if the one before it succeeded. started may be
// nil; see Runner. warnings is what zfs complained about although it received everything, such as a property that the
// user may not set.
func (h *Host) Receive(ctx context.Context, receives []Receive, stdin io.Reader, started func(pid int, start string) error) (warnings []string, err error) {
	var commands [][]string
	for _, r := range receives {
		args, err := r.args()
		if err != nil {
			return nil, err
		}
		commands = append(commands, args)
	}
	stderr, err := h.stream(ctx, commands, stdin, nil, started)
	if err != nil {
		return nil, err
	}
	for _, line := range lines(stderr) {
		// sudo has its own worries, such as a host that it cannot resolve.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "sudo: ") {
			warnings = append(warnings, line)
		}
	}
	return warnings, nil
}

func (h *Host) stream(ctx context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(int, string) error) (string, error) {
	if len(commands) == 0 {
		return "", nil
	}
	var argvs [][]string
	var names []string
	for _, args := range commands {
		argvs = append(argvs, h.argv(args))
		names = append(names, args...)
	}
	stderr, err := h.runner.Stream(ctx, argvs, stdin, stdout, started)
	if err != nil {
		return "", h.failure(ctx, names, stderr, err)
	}
	return stderr, nil
}

// args are the arguments of zfs send.
func (s Send) args() ([]string, error) {
	if s.Token != "" {
		return []string{"-t", s.Token}, validToken(s.Token)
	}
	if err := ValidSnapshotName(s.Snapshot); err != nil {
		return nil, err
	}
	var args []string
	for _, f := range []struct {
		flag string
		set  bool
	}{{"-L", s.LargeBlocks}, {"-c", s.Compressed}, {"-w", s.Raw}} {
		if f.set {
			args = append(args, f.flag)
		}
	}
	if s.From == "" {
		if s.Intermediates {
			return nil, fmt.Errorf("%w: a stream of every snapshot to %s needs one to start from", ErrName, s.Snapshot)
		}
		return append(args, s.Snapshot), nil
	}
	dataset, _, _, _ := splitName(s.Snapshot)
	from := s.From
	if strings.HasPrefix(from, "@") || strings.HasPrefix(from, "#") {
		from = dataset + from
	}
	if err := validName(from, "@#"); err != nil {
		return nil, err
	}
	base, _, bookmark, _ := splitName(from)
	if base != dataset {
		return nil, fmt.Errorf("%w %q: not of dataset %s", ErrName, s.From, dataset)
	}
	flag := "-i"
	if s.Intermediates {
		if bookmark {
			return nil, fmt.Errorf("%w %q: a stream of several snapshots cannot start from a bookmark", ErrName, s.From)
		}
		flag = "-I"
	}
	return append(args, flag, from, s.Snapshot), nil
}

// args are the arguments of zfs, in an order that does not change from run to run.
func (r Receive) args() ([]string, error) {
	if err := ValidName(r.Dataset); err != nil {
		return nil, err
	}
	args := []string{"receive", "-s", "-u"}
	if r.Force {
		args = append(args, "-F")
	}
	for _, p := range slices.Sorted(slices.Values(r.Exclude)) {
		if err := validProperty(p); err != nil {
			return nil, err
		}
		args = append(args, "-x", p)
	}
	set, err := assignments(r.Set)
	if err != nil {
		return nil, err
	}
	for _, a := range set {
		args = append(args, "-o", a)
	}
	return append(args, r.Dataset), nil
}

// assignments are properties as zfs takes them, in order.
func assignments(props map[string]string) ([]string, error) {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(props)) {
		if err := validValue(p, props[p]); err != nil {
			return nil, err
		}
		list = append(list, p+"="+props[p])
	}
	return list, nil
}

// Estimate asks how many bytes a stream will have; -1 where zfs does not know.
func (h *Host) Estimate(ctx context.Context, s Send) (int64, error) {
	args, err := s.args()
	if err != nil {
		return -1, err
	}
	out, err := h.run(ctx, append([]string{"send", "-nvP"}, args...)...)
	if err != nil {
		return -1, err
	}
	return parseEstimate(out), nil
}

// parseEstimate reads what a dry run of zfs send prints. Where zfs cannot tell, it may print a number just below 2^64, and
// a total that is the sum of such.
func parseEstimate(out string) int64 {
	const absurd = 1 << 60
	size := int64(-1)
	for _, line := range lines(out) {
		f := strings.Split(line, "\t")
		switch f[0] {
		case "full", "incremental", "size":
			n, err := strconv.ParseUint(f[len(f)-1], 10, 64)
			if err != nil || n >= absurd {
				return -1
			}
			if f[0] == "size" {
				size = int64(n)
			}
		}
	}
	return size
}
