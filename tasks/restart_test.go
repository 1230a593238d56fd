package tasks_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
	"github.com/zferry/zferry/testing/fakezfs"
)

const crashed = "The run was interrupted: zferry ended before it did."

// snapshotDir copies the state of a program that writes nothing at the moment, as a crash would leave it.
func snapshotDir(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	err := fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "processes" {
				return fs.SkipDir // what it names is alive
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// restart does what package plugin does at a start: settle what was cut short, and start those tasks once more. It returns
// the jobs that it started.
func (w *world) restart() (again []jobs.Job) {
	w.t.Helper()
	if err := w.Recover(w.t.Context(), crashed); err != nil {
		w.t.Fatal(err)
	}
	for _, j := range w.interrupted {
		task, yes, err := w.Again(w.t.Context(), j)
		if err != nil {
			w.t.Fatal(err)
		}
		if yes {
			again = append(again, w.runAgain(task, true))
		}
	}
	return again
}

// TestCrash holds decisions 3 and 24: after a crash the run counts as interrupted, its job as failed, the state is ERROR with
// that reason, and the task starts once more by itself, from where the target stopped.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	d := local("nightly", "tank/data", "vault/copy")
	d.LoggingLevel = ptr("DEBUG")
	e := w.make(d)
	other := w.make(local("other", "tank/data", "vault/other")) // that did not run
	good := w.succeed(w.run(e.ID))
	w.grow("tank/data", 8*mib, "two")
	w.hang(5 * mib)
	cut := w.run(e.ID)
	w.moved(e.ID, 4*mib)
	dir := snapshotDir(t, w.dir)
	w.close() // ends its processes; the copy knows nothing of that
	w.switches(fakezfs.Switches{})

	w = start(t, w.here, dir)
	if len(w.interrupted) != 1 || w.interrupted[0].ID != cut.ID || w.interrupted[0].State != jobs.Failed {
		t.Fatalf("interrupted are %+v", w.interrupted)
	}
	if err := w.Recover(t.Context(), crashed); err != nil {
		t.Fatal(err)
	}
	w.wantState("decisions 24: after the crash", e.ID, tasks.State{Phase: tasks.Failed, Error: crashed, LastSnapshot: "tank/data@one", Job: cut.ID})
	w.wantState("another task", other.ID, tasks.State{Phase: tasks.Pending})
	w.wantRuns(
		e.ID,
		store.Run{JobID: cut.ID, Outcome: tasks.Interrupted, Message: crashed},
		store.Run{JobID: good.ID, Outcome: "FINISHED", Bytes: 1, Snapshots: 1, Datasets: 1},
	)
	before := w.runs(e.ID)
	if err := w.Recover(t.Context(), "another reason"); err != nil { // settles nothing twice
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.runs(e.ID)); diff != "" {
		t.Errorf("a second Recover changed (-before +after):\n%s", diff)
	}

	again := w.restart()
	if len(again) != 1 {
		t.Fatalf("started again: %+v", again)
	}
	w.succeed(again[0])
	if log := w.log(again[0]); !strings.Contains(log, "kind=resumed") {
		t.Errorf("it does not resume:\n%s", log)
	}
	equal(t, w.here, "tank/data@two", w.here, "vault/copy@two")
	w.wantState("after the restart", e.ID, tasks.State{Phase: tasks.Finished, LastSnapshot: "tank/data@two", Job: again[0].ID})
	if runs := w.runs(e.ID); !runs[0].Restart || runs[0].Outcome != "FINISHED" || runs[1].Restart {
		t.Errorf("history %+v", runs)
	}

	// The next start has nothing to take up.
	w.close()
	w = start(t, w.here, dir)
	if again := w.restart(); len(w.interrupted) != 0 || len(again) != 0 {
		t.Errorf("taken up once more: %+v, %+v", w.interrupted, again)
	}
}

// crash adds what a crash leaves of a run: one that is not finished.
func (w *world) crash(task, job int64, restart bool) {
	w.t.Helper()
	run := store.Run{TaskID: task, JobID: job, Started: time.Now(), Outcome: "RUNNING", Restart: restart}
	if _, err := w.store.AddRun(w.t.Context(), run); err != nil {
		w.t.Fatal(err)
	}
}

// TestRestartsInARow holds that a task whose runs bring the program down does not do so for ever: after three restarts that
// were cut short it waits for a user, whose run makes it start anew by itself.
func TestRestartsInARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	other := w.make(local("other", "tank/data", "vault/other"))
	job := int64(0)
	ask := func(when string, want bool) {
		t.Helper()
		task, again, err := w.Again(t.Context(), jobs.Job{ID: job, Key: tasks.Key(e.ID)})
		if err != nil || again != want || task != e.ID {
			t.Errorf("%s: task %d, again %v, %v, want %v", when, task, again, err, want)
		}
	}
	crash := func(restart bool) {
		t.Helper()
		job++
		w.crash(e.ID, job, restart)
		w.crash(other.ID, 100+job, true) // has nothing to do with it
		if err := w.Recover(t.Context(), crashed); err != nil {
			t.Fatal(err)
		}
	}
	crash(false)
	ask("a user's run was cut short", true)
	crash(true)
	ask("the first restart too", true)
	crash(true)
	ask("the second too", true)
	crash(true)
	ask("the third too", false)
	crash(false)
	ask("a user's run after that", true)
	crash(true)
	crash(true)
	ask("two restarts", true)
	w.runAgain(e.ID, true)
	w.succeed(jobs.Job{ID: 1})
	crash(true)
	crash(true)
	ask("two restarts after one that succeeded", true)
	crash(true)
	ask("three", false)
	if _, err := w.Delete(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if task, again, err := w.Again(t.Context(), jobs.Job{ID: job, Key: tasks.Key(e.ID)}); task != 0 || again || err != nil {
		t.Errorf("deleted meanwhile: %d, %v, %v", task, again, err)
	}
}

// TestRecoverOfADeletedTask holds that the history of a task that is gone is settled too.
func TestRecoverOfADeletedTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	w.crash(e.ID, 1, false)
	if _, err := w.Delete(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.Recover(t.Context(), crashed); err != nil {
		t.Fatal(err)
	}
	w.wantRuns(e.ID, store.Run{JobID: 1, Outcome: tasks.Interrupted, Message: crashed})
}

// TestDrainAndStart holds that a run that a planned end of the program cut short is taken up too (decisions 3).
func TestDrainAndStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 8*mib, "one")
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	w.hang(5 * mib)
	job := w.run(e.ID)
	w.moved(e.ID, 4*mib)
	w.jobs.Drain(t.Context(), nil)
	dir, here := w.dir, w.here
	w.close()
	w.switches(fakezfs.Switches{})

	w = start(t, here, dir)
	if ids := w.interruptedIDs(); !slices.Equal(ids, []int64{job.ID}) {
		t.Fatalf("interrupted are %v", ids)
	}
	again := w.restart()
	if len(again) != 1 {
		t.Fatalf("started again: %+v", again)
	}
	w.succeed(again[0])
	equal(t, here, "tank/data@one", here, "vault/copy@one")
}

func (w *world) interruptedIDs() (ids []int64) {
	for _, j := range w.interrupted {
		ids = append(ids, j.ID)
	}
	return ids
}
