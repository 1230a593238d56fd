package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/testing/fakezfs"
)

// patience is how long tests wait for what must come.
const patience = time.Minute

// served is zferry serve with its plugin, as processes, on a system of fakezfs. All it has lies in one folder, by which
// its processes are found.
type served struct {
	t      testing.TB
	dir    string
	bin    string // where zfs is
	nas    *fakezfs.System
	client *rpc.Client
	events func(rpc.Event) // set before the first call

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	ready chan struct{} // closed when cmd has said that it is ready, or has ended
}

// newServed prepares a system with the pools tank and backup. Nothing is started.
func newServed(t testing.TB) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "zs") //nolint:usetesting // its path would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, dir: dir, events: func(rpc.Event) {}}
	if s.bin, err = buildZFS(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(s.cleanUp)
	if s.nas, err = fakezfs.Open(s.path("system")); err != nil {
		t.Fatal(err)
	}
	s.do("zpool create tank")
	s.do("zpool create backup")
	s.wrap("zfs", "")
	s.client = rpc.NewClient(rpc.ClientOptions{URL: s.url(), OnEvent: func(e rpc.Event) { s.events(e) }})
	t.Cleanup(s.client.Close)
	return s
}

func (s *served) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

func (s *served) url() string { return "unix://" + s.path("s.sock") }

// wrap makes a zfs for the plugin, which gets nothing of the host's environment. The shell runs first before it.
func (s *served) wrap(name, first string) {
	s.t.Helper()
	text := "#!/bin/sh\n" + first + "\nPATH=" + s.bin + ":$PATH FAKEZFS=" + s.path("system") + " GORACE=atexit_sleep_ms=0 exec zfs \"$@\"\n"
	if err := os.WriteFile(s.path(name), []byte(text), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// buildZFS makes a zfs that starts faster than this program when it plays zfs; it is made once, where TestMain says.
var buildZFS = sync.OnceValues(func() (dir string, err error) {
	dir = os.Getenv(builtDir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "zfs"), "../../testing/fakezfs/cmd/zfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

const builtDir = "ZFERRY_TEST_BUILT"

// cleaning runs tests with a folder for buildZFS.
type cleaning struct{ *testing.M }

// Run implements testscript.TestingM.
func (c cleaning) Run() int {
	dir, err := os.MkdirTemp("", "zferry-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv(builtDir, dir); err != nil {
		panic(err)
	}
	return c.M.Run()
}

func (s *served) do(line string) string {
	s.t.Helper()
	out, err := s.nas.Do(line)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// rate limits streams that start from now on, in bytes per second; 0 is no limit.
func (s *served) rate(n int64) {
	s.t.Helper()
	if err := s.nas.SetSwitches(fakezfs.Switches{Rate: n}); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts zferry serve and does not wait until it is ready.
func (s *served) launch(flags ...string) {
	s.t.Helper()
	log, err := os.OpenFile(s.path("serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	s.cmd = exec.Command("zferry", append([]string{
		"serve", "--data-dir", s.path("data"), "--listen", "127.0.0.1:0", "--socket", s.path("s.sock"), "--zfs", s.path("zfs"), "--debug",
	}, flags...)...)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.path("home"), "GORACE=atexit_sleep_ms=0"}
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, ended, ready := s.cmd, make(chan struct{}), make(chan struct{})
	s.ended, s.ready = ended, ready
	go func() { // ends with the process, which the cleanup sees to
		defer close(ended)
		one := make([]byte, 1)
		_, _ = out.Read(one) // the line comes whole
		close(ready)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
}

// start starts zferry serve and waits until it is ready.
func (s *served) start(flags ...string) {
	s.t.Helper()
	s.launch(flags...)
	s.waitFor(s.ready, "zferry serve is not ready")
	select {
	case <-s.ended:
		s.t.Fatalf("zferry serve has ended:\n%s", s.log("serve.log"))
	default:
	}
}

func (s *served) waitFor(done <-chan struct{}, what string) {
	s.t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Fatalf("%s:\n%s", what, s.log("serve.log"))
	}
}

// signal signals the host and waits for its end.
func (s *served) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	s.waitFor(s.ended, "zferry serve does not end")
}

// plugin is the pid of the plugin, 0 if there is none.
func (s *served) plugin() int {
	text, err := os.ReadFile(s.path("data", "plugin", "lock"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !strings.Contains(processText(pid), s.dir) {
		return 0
	}
	return pid
}

// killPlugin kills the plugin without a word and tells whether there was one.
func (s *served) killPlugin() bool {
	pid := s.plugin()
	return pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// processText is the words and the environment of a process, "" when it has ended.
func processText(pid int) string {
	words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return string(bytes.ReplaceAll(append(words, environment...), []byte{0}, []byte{' '}))
}

// processes lists the processes that work in the folder, by pid.
func (s *served) processes() map[int]string {
	return processesOf(s.dir)
}

func processesOf(dir string) map[int]string {
	found := make(map[int]string)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if text := processText(pid); strings.Contains(text, dir) {
			found[pid] = text
		}
	}
	return found
}

// alone waits until no process works in the folder.
func (s *served) alone(within time.Duration) {
	s.t.Helper()
	for limit := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		left := s.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("left behind: %v", left)
		}
	}
}

// cleanUp ends what still runs, and looks for races.
func (s *served) cleanUp() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	for pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, name := range []string{"serve.log", "data/plugin/plugin.log"} {
		log := s.log(name)
		for _, bad := range []string{"DATA RACE", "panic:", "goroutine 1 ["} {
			if i := strings.Index(log, bad); i >= 0 {
				s.t.Errorf("%s: %s", name, cut(log[i:], 4000))
			}
		}
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", name, lastLines(log))
		}
	}
}

// lastLines is the end of a log, for a person.
func lastLines(log string) string {
	lines := strings.Split(log, "\n")
	lines = lines[max(0, len(lines)-100):]
	for i, line := range lines {
		lines[i] = cut(line, 400)
	}
	return strings.Join(lines, "\n")
}

func (s *served) log(name string) string {
	text, _ := os.ReadFile(s.path(name))
	return string(text)
}

func (s *served) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
}

// call calls a method of the API, which must succeed.
func (s *served) call(result any, method string, params ...any) {
	s.t.Helper()
	ctx, cancel := s.ctx()
	defer cancel()
	if err := s.client.Call(ctx, method, params, result); err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
}

// task makes a task that replicates a tree, on this system if connection is 0.
func (s *served) task(name string, connection int64, source, target string) (id int64) {
	s.t.Helper()
	args := map[string]any{
		"name": name, "direction": "PUSH", "transport": "LOCAL", "source_datasets": []string{source}, "target_dataset": target, "recursive": true,
		"auto": false, "name_regex": ".*", "retention_policy": "NONE", "properties": false, "readonly": "IGNORE",
	}
	if connection != 0 {
		args["transport"], args["ssh_credentials"] = "SSH", connection
	}
	var made struct {
		ID int64 `json:"id"`
	}
	s.call(&made, "replication.create", args)
	return made.ID
}

// run starts a task and gives the job.
func (s *served) run(task int64) (job int64) {
	s.t.Helper()
	s.call(&job, "replication.run", task)
	return job
}

// jobs lists all jobs, oldest first.
func (s *served) jobs() (all []apiJob) {
	s.t.Helper()
	s.call(&all, "core.get_jobs")
	return all
}

// until waits for a job to be as wanted. wanted is also asked for those that have ended.
func (s *served) until(id int64, what string, wanted func(apiJob) bool) apiJob {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(30 * time.Millisecond) {
		all := s.jobs()
		i := slices.IndexFunc(all, func(j apiJob) bool { return j.ID == id })
		if i >= 0 && wanted(all[i]) {
			return all[i]
		}
		if i >= 0 && all[i].final() {
			s.t.Fatalf("job %d ended before it %s: %v", id, what, all[i].failure())
		}
		if time.Now().After(limit) {
			s.t.Fatalf("job %d: it never %s: %+v", id, what, all)
		}
	}
}

// moved waits until a job has sent so much.
func (s *served) moved(id, bytes int64) {
	s.t.Helper()
	s.until(id, "had sent enough", func(j apiJob) bool { return j.Progress.Extra != nil && j.Progress.Extra.BytesSent >= bytes })
}

func (s *served) end(id int64) apiJob {
	s.t.Helper()
	return s.until(id, "had ended", func(j apiJob) bool { return j.final() })
}

// succeeds waits for the end of a job, which must be a good one.
func (s *served) succeeds(id int64) apiJob {
	s.t.Helper()
	j := s.end(id)
	if err := j.failure(); err != nil {
		s.t.Fatal(err)
	}
	return j
}

// next waits for a job with a higher id.
func (s *served) next(after int64) (id int64) {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		for _, j := range s.jobs() {
			if j.ID > after {
				return j.ID
			}
		}
		if time.Now().After(limit) {
			s.t.Fatalf("no job came after %d", after)
		}
	}
}

// equal wants the snapshots of two trees to be the same, on this system and on that.
func equal(t testing.TB, here *fakezfs.System, source string, there *fakezfs.System, target string) {
	t.Helper()
	list := func(s *fakezfs.System, tree string) []string {
		out, err := s.Do("zfs list -Hp -t snapshot -o name,guid -r " + tree)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.ReplaceAll(out, tree, "TREE"), "\n")
	}
	want, got := list(here, source), list(there, target)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) || len(want) == 0 {
		t.Errorf("snapshots differ\n%s:\n%s\n%s:\n%s", source, strings.Join(want, "\n"), target, strings.Join(got, "\n"))
	}
}

// recorder keeps what has come.
type recorder struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
