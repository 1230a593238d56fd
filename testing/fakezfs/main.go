package fakezfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Main is the command: zfs or zpool by args[0], on the system in the folder that FAKEZFS in env names, under switches from
// FAKEZFS_DENY, FAKEZFS_REFUSE (command=text), FAKEZFS_SUDO, FAKEZFS_DIE and FAKEZFS_HANG (send:n,receive:n),
// FAKEZFS_DIE_ALWAYS, FAKEZFS_RATE and FAKEZFS_VERSION, or else those that SetSwitches left. It returns the exit code, or
// kills the process if that is what is to become of it.
func Main(args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	dir := ""
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "FAKEZFS="); ok {
			dir = value
		}
	}
	if dir == "" {
		_, _ = fmt.Fprintln(stderr, "fakezfs: FAKEZFS names no folder")
		return 255
	}
	s, err := Open(dir)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "fakezfs:", err)
		return 255
	}
	s.overlay, s.overlaid = switchesOf(env)
	// A receive that is told to end saves what it has, as the kernel does for a process that dies.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	code := s.Run(ctx, args, &contextReader{ctx: ctx, r: stdin}, stdout, stderr)
	if code >= 0 {
		return code
	}
	if ctx.Err() == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return 128 + int(syscall.SIGTERM)
}

// Command is Main for a process of its own, such as a test binary that plays zfs.
func Command() {
	os.Exit(Main(os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
