package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zferry/zferry/plugin"
	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

// TestMain lets this test binary play every command of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){
		"zferry":        main,
		"zferry-plugin": func() { os.Exit(plugin.Main(version, os.Args[1:])) },
		"zfs":           fakezfs.Command,
		"zpool":         fakezfs.Command,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sshd": startSSHD, "serve": startServe},
		Setup: func(e *testscript.Env) error {
			e.Setenv("FAKEZFS", filepath.Join(e.WorkDir, "system"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			zferry, err := exec.LookPath("zferry")
			if err != nil {
				return err
			}
			e.Setenv("ZFERRY", zferry)
			e.Setenv("SSH_AUTH_SOCK", "")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or each command costs a second under -race
			return nil
		},
	})
}

// exits runs a command and wants its exit code: exits 2 zferry --nonsense.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [argument]...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// startSSHD starts a server behind which another system with ZFS stands, in the folder remote. The user of the script
// knows the host and has a key that may log in. It sets LOGIN and PORT.
func startSSHD(ts *testscript.TestScript, _ bool, _ []string) {
	server, err := sshd.Run(context.Background(), sshd.Options{Env: map[string]string{
		"PATH": ts.Getenv("PATH"), "FAKEZFS": ts.MkAbs("remote"), "FAKEZFS_RATE": ts.Getenv("REMOTE_RATE"), "GORACE": ts.Getenv("GORACE"),
	}})
	ts.Check(err)
	ts.Defer(func() { ts.Check(server.Close()) })
	dir := filepath.Join(ts.Getenv("HOME"), ".ssh")
	ts.Check(os.MkdirAll(dir, 0o700))
	for name, from := range map[string]string{"known_hosts": server.KnownHosts, "id_ed25519": server.PrivateKey} {
		content, err := os.ReadFile(from)
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	ts.Setenv("LOGIN", server.User+"@127.0.0.1")
	ts.Setenv("PORT", strconv.Itoa(server.Port))
}

// startServe starts zferry serve on the script's system, with its socket at $SOCKET, and waits until it is ready. It ends with
// the script.
func startServe(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs("data")
	// The plugin gets nothing of the host's environment, so that the system it works on comes by its zfs.
	wrapper := "#!/bin/sh\nFAKEZFS=" + ts.Getenv("FAKEZFS") + " GORACE=atexit_sleep_ms=0 FAKEZFS_RATE=" + ts.Getenv("LOCAL_RATE") + " exec zfs \"$@\"\n"
	ts.Check(os.WriteFile(ts.MkAbs("wrapped-zfs"), []byte(wrapper), 0o700))
	socket := ts.MkAbs("s.sock")
	ts.Setenv("SOCKET", "unix://"+socket)
	ctx, cancel := context.WithCancel(context.Background())
	zferry := filepath.Join(filepath.Dir(ts.Getenv("ZFERRY")), "zferry")
	cmd := exec.CommandContext(ctx, zferry, append([]string{
		"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--socket", socket, "--zfs", ts.MkAbs("wrapped-zfs"), "--debug",
	}, args...)...)
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "GORACE=atexit_sleep_ms=0"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cancel()
		_ = cmd.Wait() // by the signal
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil {
			ts.Logf("serve.log:\n%s", text)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		ts.Fatalf("not ready: %v\n%s", err, text)
	}
	ts.Logf("%s", line)
}
