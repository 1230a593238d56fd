package fakezfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program returns the path of a zfs command, which is this test binary.
func program(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "zfs")
	if err := os.Symlink(exe, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// kept returns a system in a folder with tank/a@1 of 8 MiB and the pool backup, and a function that makes a command on it.
func kept(t *testing.T) (*System, func(env string, args ...string) *exec.Cmd) {
	t.Helper()
	dir, zfs := t.TempDir(), program(t)
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"zpool create tank", "zpool create backup", "zfs create tank/a", "zfs fake-write tank/a 8M", "zfs snapshot tank/a@1",
	} {
		do(t, s, line)
	}
	return s, func(env string, args ...string) *exec.Cmd {
		c := exec.Command(zfs, args...)
		c.Env = append(os.Environ(), "FAKEZFS="+dir, "GORACE=atexit_sleep_ms=0", env)
		c.Stderr = os.Stderr
		return c
	}
}

func token(t *testing.T, s *System, dataset string) string {
	t.Helper()
	return do(t, s, "zfs get -Hpo value receive_resume_token "+dataset)
}

func TestProcesses(t *testing.T) {
	s, command := kept(t)
	send, receive := command("", "send", "tank/a@1"), command("", "receive", "-s", "backup/a")
	pipe, err := send.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	receive.Stdin = pipe
	if err := errors.Join(send.Start(), receive.Run(), send.Wait()); err != nil {
		t.Fatal(err)
	}
	if do(t, s, "zfs fake-sum backup/a@1") != do(t, s, "zfs fake-sum tank/a@1") {
		t.Error("the copy differs")
	}
	if got := fmt.Sprint(s.Commands()); !strings.Contains(got, "send tank/a@1]") || !strings.Contains(got, "receive -s backup/a]") {
		t.Errorf("commands: %s", got)
	}
	s.ForgetCommands()
	if got := s.Commands(); got != nil {
		t.Errorf("commands after ForgetCommands: %v", got)
	}
}

// A receive that is killed outright has saved what came in, and gives the dataset free.
func TestKilledReceive(t *testing.T) {
	s, command := kept(t)
	stream, err := command("", "send", "tank/a@1").Output()
	if err != nil {
		t.Fatal(err)
	}
	receive := command("", "receive", "-s", "backup/a")
	in, err := receive.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := receive.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(stream[:5<<20]); err != nil {
		t.Fatal(err)
	}
	for token(t, s, "backup/a") == "-" {
		time.Sleep(5 * time.Millisecond)
	}
	if got := refused(t, s, "zfs receive -A backup/a"); got != "cannot destroy 'backup/a': dataset is busy\n" {
		t.Errorf("abort while it is at work: %q", got)
	}
	if err := receive.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = receive.Wait()
	res := move(s, s, "zfs send -t "+token(t, s, "backup/a"), -1, "zfs receive -s backup/a")
	if res.send != nil || res.receive != nil {
		t.Fatalf("%+v", res)
	}
	if do(t, s, "zfs fake-sum backup/a@1") != do(t, s, "zfs fake-sum tank/a@1") {
		t.Error("the copy differs")
	}
}

// A receive that is asked to end saves all that it has; one that has nothing leaves nothing.
func TestTerminatedReceive(t *testing.T) {
	s, command := kept(t)
	stream, err := command("", "send", "tank/a@1").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dataset string
		bytes   int
		saved   bool
	}{{"backup/some", 500000, true}, {"backup/none", 5000, false}} {
		receive := command("", "receive", "-s", tt.dataset)
		in, err := receive.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := receive.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(stream[:tt.bytes]); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := s.Do("zfs list " + tt.dataset); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // so that it has read all
		_ = receive.Process.Signal(syscall.SIGTERM)
		_ = receive.Wait()
		_, err = s.Do("zfs list " + tt.dataset)
		if saved := err == nil && token(t, s, tt.dataset) != "-"; saved != tt.saved {
			t.Errorf("%s: saved %t, want %t", tt.dataset, saved, tt.saved)
		}
	}
}

func TestSwitchesOfProcesses(t *testing.T) {
	s, command := kept(t)
	send := command("FAKEZFS_DIE=send:3000000", "send", "tank/a@1")
	out, err := send.Output()
	var e *exec.ExitError
	if !errors.As(err, &e) || e.ExitCode() != -1 {
		t.Errorf("send that dies: %v", err)
	}
	if len(out) != 3000000 {
		t.Errorf("send died after %d bytes", len(out))
	}
	if _, err := command("FAKEZFS_DIE=send:3000000", "send", "tank/a@1").Output(); err != nil {
		t.Errorf("the second send: %v", err)
	}
	if err := s.SetSwitches(Switches{Refuse: map[string]string{"snapshot": "cannot snapshot: today"}}); err != nil {
		t.Fatal(err)
	}
	c := command("", "snapshot", "tank/a@2")
	c.Stderr = nil
	if _, err := c.Output(); !errors.As(err, &e) || string(e.Stderr) != "cannot snapshot: today\n" {
		t.Errorf("refused snapshot: %v", err)
	}
}

// Commands of several processes change one state and lose nothing.
func TestConcurrentProcesses(t *testing.T) {
	s, command := kept(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := command("", "snapshot", fmt.Sprintf("tank/a@p%d", i)).Run(); err != nil {
				t.Error(err)
			}
			if _, err := s.Do(fmt.Sprintf("zfs create tank/d%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(strings.Fields(do(t, s, "zfs list -H -t snapshot -o name tank/a"))); n != 9 {
		t.Errorf("%d snapshots, want 9", n)
	}
	if n := len(strings.Fields(do(t, s, "zfs list -H -o name -r tank"))); n != 10 {
		t.Errorf("%d datasets, want 10", n)
	}
}

func TestMainWithoutFolder(t *testing.T) {
	var text buffer
	if code := Main([]string{"zfs", "list"}, nil, strings.NewReader(""), io.Discard, &text); code != 255 {
		t.Errorf("exit code %d: %s", code, text.String())
	}
	if code := Main([]string{"zfs", "version"}, []string{"FAKEZFS=" + t.TempDir()}, strings.NewReader(""), &text, &text); code != 0 {
		t.Errorf("exit code %d: %s", code, text.String())
	}
}
