package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

// The tree of the tests about restarts.
const (
	largeSize    = 16 << 20
	largeRate    = 3 << 20 // bytes per second, so that there is time in the middle
	largeCut     = 3 << 20 // where the middle begins
	noise        = 60_000  // bytes of what the far zfs complains at each dataset
	noisyTrees   = 20      // small datasets for that
	noticedNoise = 1_000_000
)

// replicated is a served system with a second one behind SSH, and a task that pushes a tree there.
type replicated struct {
	*served
	far  *fakezfs.System
	task int64
}

// newReplicated has so many small datasets beside the large one.
func newReplicated(t testing.TB, small int) *replicated {
	t.Helper()
	r := &replicated{served: newServed(t)}
	var err error
	if r.far, err = fakezfs.Open(r.path("far")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.far.Do("zpool create backup"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.path("farbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	noisy := "#!/bin/sh\n"
	if small >= noisyTrees {
		noisy += "[ \"$1\" != receive ] || head -c " + strconv.Itoa(noise) + " /dev/zero | tr '\\0' x >&2\n"
	}
	noisy += "exec " + r.bin + "/zfs \"$@\"\n"
	if err := os.WriteFile(r.path("farbin", "zfs"), []byte(noisy), 0o755); err != nil {
		t.Fatal(err)
	}
	server := sshd.Start(t, sshd.Options{Env: map[string]string{
		"PATH": r.path("farbin") + ":" + os.Getenv("PATH"), "FAKEZFS": r.path("far"), "GORACE": "atexit_sleep_ms=0",
	}})
	r.do("zfs create tank/a")
	if err := r.nas.Write("tank/a", largeSize); err != nil {
		t.Fatal(err)
	}
	for i := range small {
		r.do("zfs create tank/a/d" + strconv.Itoa(i))
	}
	r.do("zfs snapshot -r tank/a@one")
	r.start()
	r.task = r.served.task("nightly", r.connect(server), "tank/a", "backup/a")
	r.rate(largeRate)
	return r
}

// connect keeps the key of a server and a connection to it, and gives the id of that.
func (s *served) connect(server *sshd.Server) int64 {
	s.t.Helper()
	key, err := os.ReadFile(server.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	var made struct {
		ID int64 `json:"id"`
	}
	s.call(&made, "keychaincredential.create", map[string]any{
		"name": "key", "type": "SSH_KEY_PAIR", "attributes": map[string]any{"private_key": string(key)},
	})
	var hostKeys string
	s.call(&hostKeys, "keychaincredential.remote_ssh_host_key_scan", map[string]any{"host": "127.0.0.1", "port": server.Port})
	s.call(&made, "keychain.setup_ssh", map[string]any{
		"connection_name": "far", "setup_type": "MANUAL", "private_key": map[string]any{"generate_key": false, "existing_key_id": made.ID},
		"manual_setup": map[string]any{"host": "127.0.0.1", "port": server.Port, "username": server.User, "remote_host_key": hostKeys},
	})
	return made.ID
}

// begin starts the run and waits until it is in the middle.
func (r *replicated) begin() (job int64) {
	r.t.Helper()
	job = r.run(r.task)
	r.moved(job, largeCut)
	return job
}

// arrived wants the job to have succeeded, and the far tree to be equal.
func (r *replicated) arrived(job int64) apiJob {
	r.t.Helper()
	j := r.succeeds(job)
	equal(r.t, r.nas, "tank/a", r.far, "backup/a")
	return j
}

// resumes wants a run that was cut to have FAILED for that reason and its task to have started once more by itself, with a
// stream that goes on where the first was cut. last is the newest job before.
func (r *replicated) resumes(job, last int64) {
	r.t.Helper()
	r.rate(0)
	cut := r.end(job)
	if cut.State != "FAILED" || cut.Error == nil || !strings.Contains(*cut.Error, "ended before") && !strings.Contains(*cut.Error, "about to end") {
		r.t.Errorf("job %d is %s: %v", job, cut.State, cut.failure())
	}
	again := r.arrived(r.next(last))
	if x := again.Progress.Extra; x == nil || x.BytesSent >= largeSize || x.BytesSent == 0 {
		r.t.Errorf("job %d did not resume: %+v", again.ID, x)
	}
	if newest := r.jobs()[len(r.jobs())-1]; newest.ID != again.ID {
		r.t.Errorf("there are more jobs: %+v", newest)
	}
	var log []byte
	for _, argv := range r.far.Commands() {
		log = append(log, strings.Join(argv, " ")+"\n"...)
	}
	resumed := false
	for _, argv := range r.nas.Commands() {
		resumed = resumed || len(argv) > 2 && argv[1] == "send" && argv[2] == "-t"
	}
	if !resumed {
		r.t.Errorf("no stream was resumed; the far side ran:\n%s", log)
	}
}

// watching is a command that follows a job.
type watching struct {
	r    *replicated
	job  int64
	done chan error
	out  recorder
}

func (r *replicated) watch(job int64) *watching {
	r.t.Helper()
	w := &watching{r: r, job: job, done: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 2*patience)
	cmd := exec.CommandContext(ctx, "zferry", "watch", "--url", r.url(), strconv.FormatInt(job, 10))
	cmd.Stdout, cmd.Stderr = &w.out, &w.out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { // ends with the command
		defer cancel()
		w.done <- cmd.Wait()
	}()
	return w
}

// begun waits until the command has shown something.
func (w *watching) begun() *watching {
	w.r.t.Helper()
	for limit := time.Now().Add(patience); w.out.String() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			w.r.t.Fatal("zferry watch shows nothing")
		}
	}
	return w
}

// succeeds wants the command to see the job succeed.
func (w *watching) succeeds() {
	w.r.t.Helper()
	err := <-w.done
	want := `"id":` + strconv.FormatInt(w.job, 10) + `,"method":"replication.run","state":"SUCCESS"`
	if out := w.out.String(); err != nil || !strings.Contains(out, want) {
		w.r.t.Errorf("zferry watch: %v\n%s", err, out)
	}
}

func TestPluginKilled(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, 2)
	job := r.begin()
	// A second run of the task, which is refused, must not hide that the first was cut.
	refused := r.end(r.run(r.task))
	if refused.State != "FAILED" || refused.Error == nil || !strings.Contains(*refused.Error, "Task is already running") {
		t.Errorf("a second run: %+v", refused)
	}
	before := r.plugin()
	if !r.killPlugin() {
		t.Fatal("there was no plugin")
	}
	// Asked at once: it says what is the matter, or the plugin is back.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.client.Call(ctx, "replication.query", nil, nil)
	if err != nil && !strings.Contains(err.Error(), "the plugin zferry is not running") && !strings.Contains(err.Error(), "outcome unknown") &&
		!strings.Contains(err.Error(), "has not connected yet") {
		t.Errorf("a call while the plugin is away: %v", err)
	}
	r.resumes(job, refused.ID)
	if now := r.plugin(); now == before || now == 0 {
		t.Errorf("the plugin was pid %d, is pid %d", before, now)
	}
	r.call(nil, "replication.query")
}

// TestHostKilled has the host die in the middle of a run, while the plugin has much to say: the job goes on under its number.
func TestHostKilled(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, noisyTrees)
	job, plugin := r.begin(), r.plugin()
	watch := r.watch(job).begun()
	size := len(r.log("data/plugin/plugin.log"))
	r.signal(syscall.SIGKILL)
	r.rate(0)
	for limit := time.Now().Add(patience); len(r.log("data/plugin/plugin.log"))-size < noticedNoise; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the plugin has written %d bytes without a host", len(r.log("data/plugin/plugin.log"))-size)
		}
	}
	r.start()
	r.watch(job).succeeds()
	watch.succeeds()
	r.arrived(job)
	if now := r.plugin(); now != plugin {
		t.Errorf("the plugin was pid %d, is pid %d", plugin, now)
	}
	if all := r.jobs(); len(all) != 1 {
		t.Errorf("there are %d jobs: %+v", len(all), all)
	}
}

// TestHostLeaves ends the host alone, in the middle of a run, in both ways.
func TestHostLeaves(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		flag   string
		signal syscall.Signal
	}{{"SIGHUP", "--debug", syscall.SIGHUP}, {"leave-plugin", "--leave-plugin", syscall.SIGTERM}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newReplicated(t, 2)
			r.signal(syscall.SIGHUP)
			r.start(test.flag) // finds the plugin with nothing to do
			job, plugin := r.begin(), r.plugin()
			watch := r.watch(job).begun()
			r.signal(test.signal)
			r.rate(0)
			if code := r.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if now := r.plugin(); now != plugin {
				t.Fatalf("the plugin was pid %d, is pid %d", plugin, now)
			}
			r.start()
			r.watch(job).succeeds()
			watch.succeeds()
			r.arrived(job)
			if now := r.plugin(); now != plugin {
				t.Errorf("the plugin was pid %d, is pid %d", plugin, now)
			}
		})
	}
}

// TestServeEnds ends both in the middle of a run: nothing is left, and the next start resumes.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, 2)
	job := r.begin()
	began := time.Now()
	r.signal(syscall.SIGTERM)
	r.alone(10*time.Second - time.Since(began))
	t.Logf("ended within %v", time.Since(began))
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.rate(0)
	r.start()
	r.resumes(job, job)
}

// TestHostKilledInLaunch has the host die before it has made a note of the plugin that it launches: the next one must not have to wait for
// that plugin for long.
func TestHostKilledInLaunch(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	// The plugin is stopped before it can say anything, so that it never gets further.
	stopped := s.path("stopping-plugin")
	program, err := exec.LookPath("zferry-plugin")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ -e " + s.path("go") + " ] || { touch " + s.path("launched") + "; while [ ! -e " + s.path("go") + " ]; do sleep 0.05; done; }\nexec " + program + " \"$@\"\n"
	if err := os.WriteFile(stopped, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.launch("--plugin", stopped)
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(s.path("launched")); err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("no plugin was launched")
		}
	}
	s.signal(syscall.SIGKILL)
	if err := os.WriteFile(s.path("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start("--plugin", stopped)
	began := time.Now()
	for limit := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := s.ctx()
		err := s.client.Call(ctx, "replication.query", nil, nil)
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the plugin could not be had for %v", took)
	}
}
