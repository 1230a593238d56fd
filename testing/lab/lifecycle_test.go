//go:build lab

package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// markVariable marks a process of a test and all its children, so that survivors can be found.
const markVariable = "ZFERRY_LAB_TEST"

// survivors counts the processes with the mark in their environment, this one apart.
func survivors(mark string) (found []string) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if bytes.Contains(env, []byte(markVariable+"="+mark+"\x00")) {
			name, _ := os.ReadFile(filepath.Join(p, "comm"))
			found = append(found, filepath.Base(p)+" "+strings.TrimSpace(string(name)))
		}
	}
	return found
}

func waitForNone(t *testing.T, what string, list func() []string) {
	t.Helper()
	var left []string
	for range 100 {
		if left = list(); len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s left: %v", what, left)
}

func runFolders(t *testing.T) map[string]bool {
	t.Helper()
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob(filepath.Join(o.Dir, "run", "*"))
	builds, _ := filepath.Glob(filepath.Join(o.Dir, buildPrefix+"*"))
	set := map[string]bool{}
	for _, d := range append(dirs, builds...) {
		set[d] = true
	}
	return set
}

// TestLabHelper is the process that the tests below end from outside.
func TestLabHelper(t *testing.T) {
	mode, dir, _ := strings.Cut(os.Getenv("ZFERRY_LAB_HELPER"), ":")
	switch mode {
	case "start":
		if _, err := Start(t.Context(), Options{}); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("running\n")
		select {}
	case "build":
		_, err := Start(t.Context(), Options{Dir: dir, Progress: os.Stdout})
		t.Fatal(err)
	}
}

// startHelper runs this test program as another process until it prints want.
func startHelper(t *testing.T, mode, mark, want string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLabHelper$")
	cmd.Env = append(os.Environ(), "ZFERRY_LAB_HELPER="+mode, markVariable+"="+mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		t.Log(lines.Text())
		if strings.Contains(lines.Text(), want) {
			return cmd
		}
	}
	t.Fatal("it ended too soon: ", cmd.Wait())
	return nil
}

func TestLabEndsWithItsProcess(t *testing.T) {
	_ = startLab(t).Close() // so that the image is there
	before := runFolders(t)
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "interrupted": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			mark := name + time.Now().Format(".150405.000000000")
			helper := startHelper(t, "start", mark, "running")
			if n := len(survivors(mark)); n < 3 {
				t.Errorf("only %d processes run", n)
			}
			if err := helper.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			helper.Wait() //nolint:errcheck // it was killed
			waitForNone(t, "processes", func() []string { return survivors(mark) })
		})
	}
	waitForNone(t, "folders", func() (left []string) {
		for d := range runFolders(t) {
			if !before[d] && !inUse(d) {
				left = append(left, d)
			}
		}
		return left
	})
}

func TestLabCloseAndCancel(t *testing.T) {
	mark := time.Now().Format("close.150405.000000000")
	t.Setenv(markVariable, mark)
	emulatorsLeft := func() (left []string) {
		for _, p := range survivors(mark) {
			if strings.Contains(p, "qemu") {
				left = append(left, p)
			}
		}
		return left
	}
	l := startLab(t)
	if len(emulatorsLeft()) != 2 {
		t.Errorf("running: %v", emulatorsLeft())
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if left := emulatorsLeft(); len(left) > 0 {
		t.Errorf("after Close: %v", left)
	}
	if _, err := l.Machine("nas1").Run(t.Context(), "true"); err == nil {
		t.Error("a closed machine answers")
	}
	// From before the first step until after the machines run.
	for wait := 10 * time.Millisecond; wait < 3*time.Second; wait = wait*3/2 + 50*time.Millisecond {
		stop := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(wait, func() { cancel(stop) })
		l, err := Start(ctx, Options{})
		timer.Stop()
		cancel(nil)
		switch {
		case err == nil:
			_ = l.Close()
		case !errors.Is(err, stop):
			t.Errorf("cancelled after %v: %v", wait, err)
		}
		if left := emulatorsLeft(); len(left) > 0 {
			t.Errorf("cancelled after %v: %v", wait, left)
		}
	}
}

func TestLabUpAndDown(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	// The user's own machines must not be touched, so the cache is seen through another folder.
	dir := t.TempDir()
	entries, _ := filepath.Glob(filepath.Join(o.Dir, "image-*"))
	for _, e := range entries {
		if err := os.Symlink(e, filepath.Join(dir, filepath.Base(e))); err != nil {
			t.Fatal(err)
		}
	}
	o = Options{Dir: dir, Progress: os.Stderr}
	r, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer Down(context.WithoutCancel(t.Context()), o) //nolint:errcheck // it is down already when the test passes
	if _, err := Up(t.Context(), o); !errors.Is(err, ErrRunning) {
		t.Errorf("up twice: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), "ssh", "-F", r.SSHConfig, "nas2", "zpool list -Ho name").CombinedOutput()
	if err != nil || string(out) != "backup\n" {
		t.Errorf("ssh: %v: %s", err, out)
	}
	if got, err := Status(o); err != nil || len(got.Machines) != 2 || !got.Machines[0].Alive || !got.Machines[1].Alive {
		t.Errorf("status: %+v, %v", got, err)
	}
	if err := Down(t.Context(), o); err != nil {
		t.Error(err)
	}
	if left := emulators(upFolder(o)); len(left) > 0 {
		t.Errorf("after down: %v", left)
	}
	if _, err := Status(o); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status after down: %v", err)
	}
}

// untilLine cancels when a line with want is written.
type untilLine struct {
	want   string
	cancel func()
	once   sync.Once
}

func (u *untilLine) Write(p []byte) (int, error) {
	if strings.Contains(string(p), u.want) {
		u.once.Do(u.cancel)
	}
	return len(p), nil
}

func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLabBuildCancelled(t *testing.T) {
	before := mounts(t)
	checkGone := func(t *testing.T, dir, mark string) {
		waitForNone(t, "processes", func() (left []string) {
			for _, p := range survivors(mark) {
				if !strings.HasSuffix(p, " lab.test") {
					left = append(left, p)
				}
			}
			return left
		})
		if mounts(t) != before {
			t.Error("a mount is left behind")
		}
	}
	t.Run("cancel", func(t *testing.T) {
		mark, dir := time.Now().Format("cancel.150405.000000000"), t.TempDir()
		t.Setenv(markVariable, mark)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := Start(ctx, Options{Dir: dir, Progress: &untilLine{want: "downloading", cancel: cancel}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		checkGone(t, dir, mark)
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
			t.Errorf("files left: %v", left)
		}
	})
	t.Run("killed", func(t *testing.T) {
		mark, dir := time.Now().Format("kill.150405.000000000"), t.TempDir()
		helper := startHelper(t, "build:"+dir, mark, "downloading")
		if err := helper.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		helper.Wait() //nolint:errcheck // it was killed
		checkGone(t, dir, mark)
		// The files stay until the next build.
		if err := sweepBuilds(dir); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
			t.Errorf("files left: %v", left)
		}
	})
}
