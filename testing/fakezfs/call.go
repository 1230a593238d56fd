package fakezfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// call is one command at work.
type call struct {
	*System
	ctx   context.Context //nolint:containedctx // a call lives as long as its context
	in    io.Reader
	out   io.Writer
	err   io.Writer
	sw    Switches
	root  bool // by sudo: rights do not matter
	quiet bool // not recorded
}

// failure is a command's exit code and what it says on standard error.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

// errKilled ends a command that is killed: it says nothing.
var errKilled = errors.New("killed")

func fail(format string, args ...any) error { return exit(1, format, args...) }

func exit(code int, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...)}
}

func notExist(name string) error { return fail("cannot open '%s': dataset does not exist", name) }

// usage is the answer to a command line that makes no sense.
func usage(sub, format string, args ...any) error {
	return exit(2, "%s\nusage:\n\t%s ...\n\nFor the property list, run: zfs set|get\n\n"+
		"For the delegated permission list, run: zfs allow|unallow", fmt.Sprintf(format, args...), sub)
}

func (c *call) run(argv []string) int {
	if !c.quiet && (len(argv) < 2 || !strings.HasPrefix(argv[1], "fake-")) {
		c.record(argv)
	}
	err := c.dispatch(argv)
	var f *failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		if f.text != "" {
			fmt.Fprintln(c.err, f.text)
		}
		return f.code
	case errors.Is(err, errKilled) || c.ctx.Err() != nil:
		return -1
	}
	fmt.Fprintf(c.err, "internal error: %v\n", err)
	return 255
}

// dispatch finds what argv means.
func (c *call) dispatch(argv []string) error {
	if len(argv) == 0 {
		return exit(127, "sh: no command")
	}
	switch name := filepath.Base(argv[0]); name {
	case "sudo":
		return c.sudo(argv[1:])
	case "zfs":
		if c.sw.NoZFS {
			break
		}
		return c.zfs(argv[1:])
	case "zpool":
		return c.zpool(argv[1:])
	}
	return exit(127, "sh: 1: %s: not found", argv[0])
}

func (c *call) sudo(args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	switch c.sw.Sudo {
	case "missing":
		return exit(127, "sh: 1: sudo: not found")
	case "password":
		return fail("sudo: a password is required")
	}
	c.root = true
	return c.dispatch(args)
}

func (c *call) zfs(args []string) error {
	if len(args) == 0 {
		return usage("zfs", "missing command")
	}
	sub, args := args[0], args[1:]
	commands := map[string]func(*call, []string) error{
		"list": (*call).list, "get": (*call).get, "set": (*call).set, "inherit": (*call).inherit,
		"create": (*call).create, "destroy": (*call).destroy, "rename": (*call).rename,
		"snapshot": (*call).snap, "snap": (*call).snap, "rollback": (*call).rollback,
		"bookmark": (*call).bookmark, "clone": (*call).clone, "promote": (*call).promote,
		"hold": (*call).hold, "release": (*call).release, "holds": (*call).holds,
		"mount": (*call).mount, "unmount": (*call).mount, "umount": (*call).mount,
		"load-key": (*call).loadKey, "unload-key": (*call).loadKey,
		"send": (*call).send, "receive": (*call).receive, "recv": (*call).receive,
		"version": (*call).version, "-V": (*call).version, "--version": (*call).version,
		"fake-write": (*call).fakeWrite, "fake-sum": (*call).fakeSum, "fake-capacity": (*call).fakeCapacity,
	}
	run, ok := commands[sub]
	if !ok {
		return usage("zfs", "unrecognized command '%s'", sub)
	}
	if text, ok := c.sw.Refuse[canonical(sub)]; ok {
		return fail("%s", text)
	}
	switch sub {
	case "mount", "unmount", "umount", "load-key", "unload-key":
		args = append([]string{sub}, args...) // one function for a pair
	}
	return run(c, args)
}

// canonical returns the one name of a command that has several.
func canonical(sub string) string {
	switch sub {
	case "recv":
		return "receive"
	case "snap":
		return "snapshot"
	}
	return sub
}

// denied tells whether the user lacks a right.
func (c *call) denied(right string) bool {
	return !c.root && slices.Contains(c.sw.Deny, right)
}

// flags are the options of a command line: single letters, and those that take a value.
type flags struct {
	set    map[byte]int
	values map[byte][]string
	long   []string
}

func (f flags) has(b byte) bool { return f.set[b] > 0 }

// last returns the last value that an option was given, or "".
func (f flags) last(b byte) string {
	if v := f.values[b]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// parse reads options as getopt does: letters in simple take no value, letters in valued do. Options may not follow names.
func parse(sub string, args []string, simple, valued string) (flags, []string, error) {
	f := flags{set: map[byte]int{}, values: map[byte][]string{}}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if strings.HasPrefix(arg, "--") {
			f.long = append(f.long, arg[2:])
			continue
		}
		for i := 1; i < len(arg); i++ {
			b := arg[i]
			switch {
			case strings.IndexByte(simple, b) >= 0:
				f.set[b]++
				continue
			case strings.IndexByte(valued, b) < 0:
				return f, nil, usage(sub, "invalid option '%c'", b)
			}
			value := arg[i+1:]
			if value == "" {
				if len(args) == 0 {
					return f, nil, usage(sub, "missing argument for '%c' option", b)
				}
				value, args = args[0], args[1:]
			}
			f.set[b]++
			f.values[b] = append(f.values[b], value)
			break
		}
	}
	return f, args, nil
}

// pairs reads the values of -o.
func pairs(sub string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, usage(sub, "missing '=' for property=value argument")
		}
		m[name] = value
	}
	return m, nil
}
