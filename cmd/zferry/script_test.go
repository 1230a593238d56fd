package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

// TestMain lets this test binary play every command of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"zferry": main,
		"zfs":    fakezfs.Command,
		"zpool":  fakezfs.Command,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sshd": startSSHD},
		Setup: func(e *testscript.Env) error {
			e.Setenv("FAKEZFS", filepath.Join(e.WorkDir, "system"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
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
