package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
	"github.com/zferry/zferry/testing/fakezfs"
)

// commands is a folder with zfs and zpool.
var commands string

// TestMain builds zfs: this test binary could play it, but takes six times as long to start under the race detector.
func TestMain(m *testing.M) {
	var err error
	if commands, err = buildZFS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(commands)
		os.Exit(code)
	}))
}

func buildZFS() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "zferry-tasks-"); err != nil {
		return "", err
	}
	zfs := filepath.Join(dir, "zfs")
	if out, err := exec.Command("go", "build", "-o", zfs, "../testing/fakezfs/cmd/zfs").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build zfs: %w\n%s", err, out)
	}
	return dir, os.Symlink(zfs, filepath.Join(dir, "zpool"))
}

// patience is how long a test waits for what should come soon.
const patience = time.Minute

// world is the tasks of one system, with all that they work with. The system itself outlives the program.
type world struct {
	t     *testing.T
	dir   string // of the program's state
	here  system // with the pools tank and vault
	store *store.Store
	keys  *keychain.Service
	jobs  *jobs.Manager
	*tasks.Service
	interrupted []jobs.Job // by the end of the program before

	told   *changes
	shown  *shown
	closed bool
}

// system is a system that is kept in a folder.
type system struct {
	*fakezfs.System
	dir string
}

// newWorld starts a program on a new system.
func newWorld(t *testing.T) *world {
	t.Helper()
	here := newSystem(t, filepath.Join(t.TempDir(), "here"), "tank", "vault")
	return start(t, here, t.TempDir())
}

func newSystem(t *testing.T, dir string, pools ...string) system {
	t.Helper()
	s, err := fakezfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, pool := range pools {
		do(t, system{s, dir}, "zpool create "+pool)
	}
	return system{s, dir}
}

func do(t *testing.T, s system, line string) string {
	t.Helper()
	out, err := s.Do(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// zfsOf is a program that is the zfs of a system. before is a line of shell that it runs first.
func zfsOf(t *testing.T, systemDir, before string) string {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\n%s\nFAKEZFS='%s' exec '%s' \"$@\"\n", before, systemDir, filepath.Join(commands, "zfs"))
	file := filepath.Join(t.TempDir(), "wrapped-zfs")
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// start starts the program with the state in dir, as package plugin does.
func start(t *testing.T, here system, dir string) *world {
	t.Helper()
	return startWith(t, here, dir, "")
}

func startWith(t *testing.T, here system, dir, before string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, here: here, told: newChanges(), shown: newShown()}
	var err error
	if w.store, err = store.Open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.jobs, _, err = jobs.Open(t.Context(), jobs.Config{Store: kept{w.store}, LogDir: filepath.Join(dir, "logs"), Publish: w.shown.add})
	if err != nil {
		t.Fatal(err)
	}
	w.interrupted = w.jobs.Interrupted()
	if err := w.jobs.SetSeries(0, 1); err != nil {
		t.Fatal(err)
	}
	w.keys = keychain.New(w.store)
	w.Service, err = tasks.New(tasks.Config{
		Store: w.store, Keychain: w.keys, Dir: dir, ZFS: zfsOf(t, here.dir, before),
		Notify: w.told.add, Log: newLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// close ends the program.
func (w *world) close() {
	if w.closed {
		return
	}
	w.closed = true
	if w.jobs != nil {
		w.jobs.Close()
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// make keeps a task.
func (w *world) make(d tasks.Definition) tasks.Entry {
	w.t.Helper()
	e, err := w.Create(w.t.Context(), d)
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return e
}

func (w *world) get(id int64) tasks.Entry {
	w.t.Helper()
	e, err := w.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// run starts the job of a task.
func (w *world) run(id int64) jobs.Job { return w.runAgain(id, false) }

func (w *world) runAgain(id int64, restart bool) jobs.Job {
	w.t.Helper()
	j, err := w.jobs.Start(w.t.Context(), jobs.Spec{
		Method: "replication.run", Key: tasks.Key(id), Logs: true, Restart: restart,
		Run: func(ctx context.Context, h *jobs.Handle) (any, error) { return nil, w.Run(ctx, h, id, restart) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// once starts the job of a one-time run.
func (w *world) once(d tasks.Definition) jobs.Job {
	w.t.Helper()
	j, err := w.jobs.Start(w.t.Context(), jobs.Spec{
		Method: "replication.run_onetime", Logs: true,
		Run: func(ctx context.Context, h *jobs.Handle) (any, error) { return nil, w.RunOnce(ctx, h, d) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// wait waits for the end of a job.
func (w *world) wait(job jobs.Job) jobs.Job {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	j, err := w.jobs.Wait(ctx, job.ID)
	if err != nil {
		w.t.Fatalf("job %d: %v\n%s", job.ID, err, w.log(job))
	}
	return j
}

// succeed waits for a job that is to succeed.
func (w *world) succeed(job jobs.Job) jobs.Job {
	w.t.Helper()
	j := w.wait(job)
	if j.State != jobs.Success {
		w.t.Fatalf("job %d: %s, %+v\n%s", j.ID, j.State, j.Failure, w.log(j))
	}
	return j
}

// fail waits for a job that is to fail with that text.
func (w *world) fail(job jobs.Job, state jobs.State, text string) {
	w.t.Helper()
	j := w.wait(job)
	if j.State != state || j.Failure == nil || j.Failure.Error != text {
		w.t.Errorf("job %d: %s, %+v, want %s, %s\n%s", j.ID, j.State, j.Failure, state, text, w.log(j))
	}
}

// log is what the log of a job holds.
func (w *world) log(job jobs.Job) string {
	w.t.Helper()
	r, err := w.jobs.OpenLog(job.ID)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		w.t.Error(err)
	}
	return string(text)
}

// runs is the history of a task, newest first.
func (w *world) runs(task int64) []store.Run {
	w.t.Helper()
	runs, err := w.store.Runs(w.t.Context(), task, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return runs
}

// snapshots lists those of a dataset, without its name.
func snapshots(t *testing.T, s system, dataset string) string {
	t.Helper()
	out := do(t, s, "zfs list -H -t snapshot -o name "+dataset)
	return strings.ReplaceAll(strings.ReplaceAll(out, dataset+"@", ""), "\n", " ")
}

// token is the resume token of a dataset, "" if it has none or does not exist.
func token(s system, dataset string) string {
	out, err := s.Do("zfs get -H -o value receive_resume_token " + dataset)
	if err != nil || out == "-" {
		return ""
	}
	return out
}

// equal wants a snapshot to hold the same on both sides.
func equal(t *testing.T, a system, nameA string, b system, nameB string) {
	t.Helper()
	sumA, errA := a.Sum(nameA)
	sumB, errB := b.Sum(nameB)
	if errA != nil || errB != nil || sumA != sumB {
		t.Errorf("%s and %s differ: %s, %s, %v, %v", nameA, nameB, sumA, sumB, errA, errB)
	}
}

// changes is what the service has told of, in order.
type changes struct {
	mu    sync.Mutex // guards what follows
	all   []tasks.Change
	added chan struct{} // closed and made anew with each
}

func newChanges() *changes { return &changes{added: make(chan struct{})} }

func (c *changes) add(change tasks.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, change)
	close(c.added)
	c.added = make(chan struct{})
}

func (c *changes) list() ([]tasks.Change, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]tasks.Change(nil), c.all...), c.added
}

// await waits for a change, from the first one on.
func (w *world) await(what string, is func(tasks.Change) bool) tasks.Change {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		all, more := w.told.list()
		for _, c := range all {
			if is(c) {
				return c
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			w.t.Fatalf("no change with %s; there were %v", what, w.lines(0))
		}
	}
}

// moved waits until a run of the task has moved so much.
func (w *world) moved(task, bytes int64) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d bytes of task %d", bytes, task), func(c tasks.Change) bool {
		p := c.Entry.State.Progress
		return c.Entry.ID == task && p != nil && p.Bytes >= bytes
	})
}

// lines shows the changes of a task in order, 0 for all, each once if it repeats.
func (w *world) lines(task int64) []string {
	all, _ := w.told.list()
	var lines []string
	for _, c := range all {
		if task != 0 && c.Entry.ID != task {
			continue
		}
		line := c.Msg
		if c.State {
			line += " state"
		}
		if s := c.Entry.State; c.Msg != "removed" {
			line += " " + string(s.Phase)
			if s.Progress != nil {
				line += " progress"
			}
		}
		if n := len(lines); n == 0 || lines[n-1] != line {
			lines = append(lines, line)
		}
	}
	return lines
}

// shown is every state of every job that was published.
type shown struct {
	mu    sync.Mutex // guards what follows
	all   []jobs.Job
	added chan struct{} // closed and made anew with each
}

func newShown() *shown { return &shown{added: make(chan struct{})} }

func (s *shown) add(j jobs.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, j)
	close(s.added)
	s.added = make(chan struct{})
}

// await waits for a state, from the first one on.
func (s *shown) await(t *testing.T, what string, is func(jobs.Job) bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		found, more := slices.ContainsFunc(s.all, is), s.added
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no job with %s", what)
		}
	}
}

func (s *shown) of(job int64) (list []jobs.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.ID == job {
			list = append(list, j)
		}
	}
	return list
}

// kept keeps jobs in the store, as package plugin does.
type kept struct{ store *store.Store }

func (k kept) Load(ctx context.Context) (list []jobs.Job, lastID int64, lastRev uint64, err error) {
	rows, lastID, lastRev, err := k.store.LoadJobs(ctx)
	list = make([]jobs.Job, len(rows))
	for i, row := range rows {
		if err == nil {
			err = json.Unmarshal(row.Data, &list[i])
		}
	}
	return list, lastID, lastRev, err
}

func (k kept) Insert(ctx context.Context, j jobs.Job) error {
	return write(ctx, j, k.store.InsertJob)
}

func (k kept) Update(ctx context.Context, j jobs.Job) error {
	return write(ctx, j, k.store.UpdateJob)
}

func (k kept) Delete(ctx context.Context, ids []int64) error { return k.store.DeleteJobs(ctx, ids) }

func write(ctx context.Context, j jobs.Job, do func(context.Context, store.Job) error) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return do(ctx, store.Job{ID: j.ID, Rev: j.Rev, State: string(j.State), Finished: j.Finished, Data: data})
}

// newLog shows what the program logs if the test fails.
func newLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func ptr[T any](v T) *T { return &v }

// local is a task on this system that nothing is wrong with.
func local(name, source, target string) tasks.Definition {
	return tasks.Definition{
		Name: name, Direction: tasks.Push, Transport: tasks.Local, Sources: []string{source}, Target: target, Recursive: true,
		NameRegex: ptr(tasks.Everything), Retries: 1, Readonly: "IGNORE", RetentionPolicy: "NONE",
		LargeBlock: true, Compressed: true, Enabled: true,
	}
}

// filled makes a dataset with a snapshot for each name, and so many bytes before each.
func (w *world) filled(dataset string, bytes int64, snapshots ...string) {
	w.t.Helper()
	do(w.t, w.here, "zfs create "+dataset)
	w.grow(dataset, bytes, snapshots...)
}

func (w *world) grow(dataset string, bytes int64, snapshots ...string) {
	w.t.Helper()
	for _, name := range snapshots {
		if err := w.here.Write(dataset, bytes); err != nil {
			w.t.Fatal(err)
		}
		do(w.t, w.here, "zfs snapshot "+dataset+"@"+name)
	}
}

// hang lets sends of this system stop after so many bytes until they are ended.
func (w *world) hang(bytes int64) {
	w.t.Helper()
	w.switches(fakezfs.Switches{Hang: map[string]int64{"send": bytes}})
}

func (w *world) switches(s fakezfs.Switches) {
	w.t.Helper()
	if err := w.here.SetSwitches(s); err != nil {
		w.t.Fatal(err)
	}
}
