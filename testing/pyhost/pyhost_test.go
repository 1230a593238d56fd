package pyhost

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// onetime runs a replication on one machine: of tank/a, which world makes, to backup/a.
const onetime = `{"direction":"PUSH","transport":"LOCAL","source_datasets":["tank/a"],"target_dataset":"backup/a","recursive":true,` +
	`"name_regex":".*","retention_policy":"NONE","properties":false,"readonly":"IGNORE","mount":false}`

// TestPlugin lets the Python host work with the real plugin on a system of its own.
func TestPlugin(t *testing.T) {
	bin := build(t)

	t.Run("job", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "")
		out, text := w.host(t, 0, "replication.run_onetime", onetime)
		wantLines(t, out, text, `plugin zferry registered with its token`, `job 1: WAITING`,
			`job 1: RUNNING \d+% Sending . of 2: tank/a@`,
			`job 1: SUCCESS 100%`, `log of job 1:`, `\[job_1\] \[replication\] ran datasets=1 snapshots=2`, `result: null`,
			`plugin drained, interrupted jobs: none`)
		w.wantSnapshots(t, "backup/a@one\nbackup/a@two\n")
	})

	t.Run("wrong fields of a call", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "")
		out, text := w.host(t, 1, "replication.create", `{"name":"nightly","source_datasets":[]}`)
		wantLines(t, out, text, `error: Invalid params`,
			`  replication_create\.direction: Field required`, `  replication_create\.source_datasets: List should`)
	})

	t.Run("wrong fields of a job", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "")
		out, text := w.host(t, 1, "replication.run_onetime", `{"name":"nightly"}`)
		wantLines(t, out, text, `error: job 1: FAILED: \[EINVAL\] replication_run_onetime\.direction: Field required`,
			`\[EINVAL\] replication_run_onetime.name: Extra inputs are not permitted`)
	})

	t.Run("connection lost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "1500000")
		out, text := w.host(t, 0, "--drop-once", "replication.run_onetime", onetime)
		wantLines(t, out, text, `registered with its token`, `job 1: RUNNING \d+% .*B / `, `cutting the connection`, `connection was lost`,
			`registered with its secret`, `job 1: SUCCESS 100%`, `ran datasets=1 snapshots=2`, `result: null`)
		wantOneJob(t, out)
		w.wantSnapshots(t, "backup/a@one\nbackup/a@two\n")
	})

	t.Run("host restarted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "1500000")
		out, text := w.host(t, 0, "--restart-once", "replication.run_onetime", onetime)
		wantLines(t, out, text, `registered with its token`, `job 1: RUNNING \d+% .*B / `, `starting anew`, `refused: \[EACCES\]`,
			`registered with its token`, `job 1: SUCCESS 100%`, `ran datasets=1 snapshots=2`, `result: null`)
		wantOneJob(t, out)
		w.wantSnapshots(t, "backup/a@one\nbackup/a@two\n")
	})

	t.Run("job ids go on", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, bin, "")
		w.host(t, 0, "replication.run_onetime", onetime)
		out, text := w.host(t, 0, "replication.run_onetime", onetime)
		wantLines(t, out, text, `job 2: SUCCESS`, `result: null`)
	})
}

// world is a system with ZFS and a data folder of the plugin.
type world struct {
	bin, system, data, zfs string
}

// newWorld makes pools tank, with two snapshots of tank/a, and backup. Streams go at rate bytes per second, or as they can.
func newWorld(t *testing.T, bin, rate string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{bin: bin, system: filepath.Join(dir, "system"), data: filepath.Join(dir, "data"), zfs: filepath.Join(dir, "wrapped-zfs")}
	// The plugin gets nothing of the host's environment, so that the system it works on comes by its zfs.
	wrapper := "#!/bin/sh\nFAKEZFS='" + w.system + "' FAKEZFS_RATE=" + rate + " exec '" + filepath.Join(bin, "zfs") + "' \"$@\"\n"
	if err := os.WriteFile(w.zfs, []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"zpool create tank", "zpool create backup", "zfs create tank/a", "zfs fake-write tank/a 3M", "zfs snapshot tank/a@one",
		"zfs fake-write tank/a 1M", "zfs snapshot tank/a@two",
	} {
		w.run(t, strings.Fields(command)...)
	}
	return w
}

func (w *world) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.bin, args[0]), args[1:]...)
	cmd.Env = []string{"FAKEZFS=" + w.system}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (w *world) wantSnapshots(t *testing.T, want string) {
	t.Helper()
	if diff := cmp.Diff(want, w.run(t, "zfs", "list", "-H", "-t", "snapshot", "-o", "name", "backup/a")); diff != "" {
		t.Errorf("snapshots of the target (-want +got):\n%s", diff)
	}
}

// host runs the Python host with the real plugin to its end and wants the exit code. It returns what the host printed, and
// that with all there is to know about a fault.
func (w *world) host(t *testing.T, code int, args ...string) (out, text string) {
	t.Helper()
	cmd := python(t, append([]string{"--plugin", filepath.Join(w.bin, "zferry-plugin"), "--data-dir", w.data, "--zfs", w.zfs}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out = stdout.String()
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "time=") { // the plugin's own log
			out += line
		}
	}
	text = stdout.String() + stderr.String()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%v, want exit code %d\n%s", err, code, text)
	}
	return out, text
}

// python is the host with these arguments, to be started. What takes too long is told to end.
func python(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	python3, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("these tests need python3, version 3.9 or later: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	// -B leaves no compiled files in the source tree; warnings are errors of the host.
	cmd := exec.CommandContext(ctx, python3, append([]string{"-B", "-W", "error", "pyhost.py"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// build makes the folder of the programs.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../../cmd/zferry-plugin", "../fakezfs/cmd/zfs")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.Symlink("zfs", filepath.Join(bin, "zpool")); err != nil {
		t.Fatal(err)
	}
	return bin
}

// wantLines wants lines that match, in this order, with any others between them.
func wantLines(t *testing.T, out, text string, patterns ...string) {
	t.Helper()
	left := out
	for _, pattern := range patterns {
		found := regexp.MustCompile(pattern + `.*\n`).FindStringIndex(left)
		if found == nil {
			t.Errorf("no line %q where it is due, in:\n%s", pattern, text)
			return
		}
		left = left[found[1]:]
	}
}

// wantOneJob wants that the host has heard of job 1 and no other.
func wantOneJob(t *testing.T, out string) {
	t.Helper()
	for _, job := range regexp.MustCompile(`job \d+`).FindAllString(out, -1) {
		if job != "job 1" {
			t.Errorf("%s beside job 1", job)
		}
	}
}
