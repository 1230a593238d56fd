package tasks_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
	"github.com/zferry/zferry/testing/fakezfs"
)

const mib = 1 << 20

// wantState compares a state but for its times.
func (w *world) wantState(when string, id int64, want tasks.State) {
	w.t.Helper()
	got := w.get(id).State
	if got.Phase != tasks.Pending && (got.At.IsZero() || time.Since(got.At) > patience) {
		w.t.Errorf("3.7: %s: %s since %v", when, got.Phase, got.At)
	}
	got.At = time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("3.7: %s: state (-want +got):\n%s", when, diff)
	}
}

// wantRuns compares the history, newest first, but for times, and for bytes whether there are any.
func (w *world) wantRuns(task int64, want ...store.Run) {
	w.t.Helper()
	got := w.runs(task)
	for i := range got {
		r := &got[i]
		if r.Started.IsZero() || r.Finished.Before(r.Started) {
			w.t.Errorf("run %d: from %v to %v", r.ID, r.Started, r.Finished)
		}
		r.Bytes = min(r.Bytes, 1)
		r.ID, r.TaskID = 0, r.TaskID-task
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		w.t.Errorf("history (-want +got):\n%s", diff)
	}
}

// TestLocalRuns runs a task in full, incrementally and with nothing new, and follows state, events, job and history.
func TestLocalRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one", "two")
	do(t, w.here, "zfs create tank/data/sub")
	do(t, w.here, "zfs snapshot -r tank/data@three")
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	if diff := cmp.Diff(local("nightly", "tank/data", "vault/copy"), e.Definition, cmpopts.IgnoreTypes(json.RawMessage{})); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	w.wantState("before the first run", e.ID, tasks.State{Phase: tasks.Pending})

	first := w.succeed(w.run(e.ID))
	if string(first.Result) != "null" || *first.Progress.Percent != 100 {
		t.Errorf("3.5: result %s, %d %%", first.Result, *first.Progress.Percent)
	}
	if got := snapshots(t, w.here, "vault/copy"); got != "one two three" {
		t.Errorf("full: arrived %q", got)
	}
	equal(t, w.here, "tank/data@three", w.here, "vault/copy@three")
	w.wantState("full", e.ID, tasks.State{Phase: tasks.Finished, LastSnapshot: "tank/data/sub@three", Job: first.ID})

	w.grow("tank/data", mib, "four")
	second := w.succeed(w.run(e.ID))
	if got := snapshots(t, w.here, "vault/copy"); got != "one two three four" {
		t.Errorf("incremental: arrived %q", got)
	}
	equal(t, w.here, "tank/data@four", w.here, "vault/copy@four")
	w.wantState("incremental", e.ID, tasks.State{Phase: tasks.Finished, LastSnapshot: "tank/data@four", Job: second.ID})

	third := w.succeed(w.run(e.ID))
	w.wantState("nothing new", e.ID, tasks.State{Phase: tasks.Finished, LastSnapshot: "tank/data@four", Job: third.ID})
	w.wantRuns(
		e.ID,
		store.Run{JobID: third.ID, Outcome: "FINISHED"},
		store.Run{JobID: second.ID, Outcome: "FINISHED", Bytes: 1, Snapshots: 1, Datasets: 1},
		store.Run{JobID: first.ID, Outcome: "FINISHED", Bytes: 1, Snapshots: 4, Datasets: 2},
	)
	want := []string{
		"added PENDING",
		"changed state RUNNING", "changed state RUNNING progress", "changed state FINISHED",
		"changed state RUNNING", "changed state RUNNING progress", "changed state FINISHED",
		"changed state RUNNING", "changed state FINISHED",
	}
	if diff := cmp.Diff(want, w.lines(0)); diff != "" {
		t.Errorf("3.7: events (-want +got):\n%s", diff)
	}
}

// TestProgress follows the job and the events of a run of two datasets: texts of 5.7, percent by bytes (decisions 18).
func TestProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 2*mib, "one", "two")
	w.filled("tank/data/sub", mib, "one")
	w.switches(fakezfs.Switches{Rate: 3 * mib})
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	job := w.succeed(w.run(e.ID))

	text := regexp.MustCompile(`^(|Sending (1 of 3: tank/data@two|3 of 3: tank/data/sub@one)( \((\d+ bytes|\d+\.\d\d [KM]iB) / \d+\.\d\d MiB\))?)$`)
	last, moving, texts := 0, 0, map[string]bool{}
	for _, j := range w.shown.of(job.ID) {
		p := j.Progress
		if !text.MatchString(p.Description) {
			t.Errorf("5.7: progress text %q", p.Description)
		}
		if *p.Percent < last {
			t.Errorf("percent goes back from %d to %d", last, *p.Percent)
		}
		last = *p.Percent
		if *p.Percent > 0 && *p.Percent < 100 {
			moving++
		}
		texts[strings.Join(strings.Fields(p.Description)[:min(5, len(strings.Fields(p.Description)))], " ")] = true
	}
	if moving == 0 || !texts["Sending 1 of 3: tank/data@two"] || !texts["Sending 3 of 3: tank/data/sub@one"] {
		t.Errorf("5.7: of the progress only this was told: %d percentages, %v", moving, texts)
	}

	all, _ := w.told.list()
	var before replication.Progress
	steps := 0
	for _, c := range all {
		s := c.Entry.State
		if s.Progress == nil {
			continue
		}
		p := *s.Progress
		if s.Phase != tasks.Running || !c.State || c.Msg != "changed" || s.Job != job.ID {
			t.Errorf("3.7: progress in %+v", c)
		}
		if p.Dataset == "" || p.Snapshot == "" {
			t.Errorf("3.7: progress before the first snapshot has started: %+v", p)
		}
		if p.Bytes < before.Bytes || p.Bytes > p.Total || p.Snapshots < before.Snapshots || p.SnapshotsTotal != 3 {
			t.Errorf("3.7: progress %+v after %+v", p, before)
		}
		before = p
		steps++
	}
	if steps < 3 {
		t.Errorf("3.7: %d events of progress", steps)
	}
	if before.Snapshots != 3 || before.Bytes != before.Total {
		t.Errorf("3.7: last progress %+v", before)
	}
}

// TestAlreadyRunning holds 3.5: a second run of a task fails at once and leaves the first alone.
func TestAlreadyRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 2*mib, "one")
	w.hang(mib)
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	first := w.run(e.ID)
	w.moved(e.ID, mib/2)
	w.fail(w.run(e.ID), jobs.Failed, "Task is already running")
	s := w.get(e.ID).State
	if s.Phase != tasks.Running || s.Job != first.ID || s.Progress == nil {
		t.Errorf("the first run is disturbed: %+v", s)
	}
	if err := w.jobs.Abort(first.ID); err != nil {
		t.Fatal(err)
	}
	w.wait(first)
	w.wantRuns(e.ID, store.Run{JobID: first.ID, Outcome: "ERROR", Message: "job aborted.", Bytes: 1})
}

// TestAbortAndResume holds decisions 30 item 13: abort is real, and what has arrived is kept for the next run.
func TestAbortAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 8*mib, "one")
	w.hang(5 * mib)
	d := local("nightly", "tank/data", "vault/copy")
	d.LoggingLevel = ptr("DEBUG")
	e := w.make(d)
	job := w.run(e.ID)
	w.moved(e.ID, 4*mib)
	if err := w.jobs.Abort(job.ID); err != nil {
		t.Fatal(err)
	}
	w.fail(job, jobs.Aborted, "job aborted")
	w.wantState("aborted", e.ID, tasks.State{Phase: tasks.Failed, Error: "job aborted.", Job: job.ID})
	if token(w.here, "vault/copy") == "" {
		t.Fatal("the target kept no token")
	}

	w.switches(fakezfs.Switches{})
	again := w.succeed(w.run(e.ID))
	if log := w.log(again); !strings.Contains(log, "kind=resumed") {
		t.Errorf("the next run does not resume:\n%s", log)
	}
	equal(t, w.here, "tank/data@one", w.here, "vault/copy@one")
	if token(w.here, "vault/copy") != "" {
		t.Error("the token is left")
	}
	runs := w.runs(e.ID)
	if len(runs) != 2 || runs[0].Bytes == 0 || runs[0].Bytes > 5*mib {
		t.Errorf("the resumed run moved %+v", runs)
	}
	want := []string{
		"added PENDING",
		"changed state RUNNING", "changed state RUNNING progress", "changed state ERROR",
		"changed state RUNNING", "changed state RUNNING progress", "changed state FINISHED",
	}
	if diff := cmp.Diff(want, w.lines(e.ID)); diff != "" {
		t.Errorf("3.7: events (-want +got):\n%s", diff)
	}
}

// TestAbortBeforeDataFlows aborts a run while it still lists the two sides: it is not the listing that failed then.
func TestAbortBeforeDataFlows(t *testing.T) {
	t.Parallel()
	here := newSystem(t, t.TempDir()+"/here", "tank", "vault")
	do(t, here, "zfs create tank/data")
	gate := newGate(t)
	w := startWith(t, here, t.TempDir(), gate.script())
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	job := w.run(e.ID)
	gate.reached()
	if err := w.jobs.Abort(job.ID); err != nil {
		t.Fatal(err)
	}
	w.fail(job, jobs.Aborted, "job aborted")
	w.wantState("aborted", e.ID, tasks.State{Phase: tasks.Failed, Error: "job aborted.", Job: job.ID})
	w.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: "ERROR", Message: "job aborted."})
}

// TestDrain holds decisions 3: a run that is cut short by the end of the program is told from one that failed, also while it
// still lists the two sides.
func TestDrain(t *testing.T) {
	t.Parallel()
	const text = "stopped because the program is about to end"
	t.Run("while data flows", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.filled("tank/data", 8*mib, "one")
		w.hang(4 * mib)
		e := w.make(local("nightly", "tank/data", "vault/copy"))
		job := w.run(e.ID)
		w.moved(e.ID, 3*mib)
		if cut := w.jobs.Drain(t.Context(), nil); !slices.Equal(cut, []int64{job.ID}) {
			t.Errorf("drain cut %v", cut)
		}
		w.fail(job, jobs.Failed, text)
		w.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: tasks.Interrupted, Message: text + ".", Bytes: 1})
		if token(w.here, "vault/copy") == "" {
			t.Error("the target kept no token")
		}
	})
	t.Run("while it lists", func(t *testing.T) {
		t.Parallel()
		here := newSystem(t, t.TempDir()+"/here", "tank", "vault")
		do(t, here, "zfs create tank/data")
		gate := newGate(t)
		w := startWith(t, here, t.TempDir(), gate.script())
		e := w.make(local("nightly", "tank/data", "vault/copy"))
		job := w.run(e.ID)
		gate.reached()
		w.jobs.Drain(t.Context(), nil)
		w.fail(job, jobs.Failed, text)
		w.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: tasks.Interrupted, Message: text + "."})
	})
}

// TestDeleteWhileRunning holds decisions 19: the task is gone at once, its job can be aborted, and no data is touched.
func TestDeleteWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 8*mib, "one")
	w.hang(4 * mib)
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	job := w.run(e.ID)
	w.moved(e.ID, 3*mib)
	running, err := w.Delete(t.Context(), e.ID)
	if err != nil || running != job.ID {
		t.Fatalf("delete: job %d, %v", running, err)
	}
	if err := w.jobs.Abort(running); err != nil {
		t.Fatal(err)
	}
	w.fail(job, jobs.Aborted, "job aborted")
	if _, err := w.Get(t.Context(), e.ID); !faults.Is(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := w.Delete(t.Context(), e.ID); !faults.Is(err) || err.Error() != "Replication 1 does not exist" {
		t.Errorf("deleted twice: %v", err)
	}
	if token(w.here, "vault/copy") == "" {
		t.Error("data of the target was touched")
	}
	w.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: "ERROR", Message: "job aborted.", Bytes: 1})
	want := []string{"added PENDING", "changed state RUNNING", "changed state RUNNING progress", "removed"}
	if diff := cmp.Diff(want, w.lines(e.ID)); diff != "" {
		t.Errorf("nothing is told of a task after removed (-want +got):\n%s", diff)
	}
	// The number is never given to another task, which would take over the history.
	if next := w.make(local("nightly", "tank/data", "vault/copy")); next.ID == e.ID {
		t.Error("the id is used again")
	}
	w.fail(w.run(e.ID), jobs.Failed, "Replication 1 does not exist")
}

// TestDeleteRacesRun deletes a task at the moment that a job begins to run it: either the run sees that there is no task, or
// Delete tells of its job.
func TestDeleteRacesRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", 2*mib, "one")
	w.hang(mib)
	for i := range 8 {
		e := w.make(local(fmt.Sprint("task ", i), "tank/data", fmt.Sprint("vault/copy", i)))
		job := w.run(e.ID)
		running, err := w.Delete(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if running != 0 {
			if err := w.jobs.Abort(running); err != nil {
				t.Fatal(err)
			}
		}
		if j := w.wait(job); j.State == jobs.Success {
			t.Errorf("a task that was deleted ran to its end: %+v", j)
		}
	}
}

// TestRunFails holds the state, the history and the text of a run that the engine refuses: a sentence (5.7).
func TestRunFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	e := w.make(local("nightly", "tank/data", "vault/copy"))
	w.succeed(w.run(e.ID))
	do(t, w.here, "zfs destroy -r vault/copy")
	do(t, w.here, "zfs create vault/copy")
	if err := w.here.Write("vault/copy", mib); err != nil {
		t.Fatal(err)
	}
	job := w.wait(w.run(e.ID))
	s := w.get(e.ID).State
	if job.State != jobs.Failed || s.Phase != tasks.Failed || s.Job != job.ID {
		t.Fatalf("3.7: job %s, state %+v", job.State, s)
	}
	if !strings.HasPrefix(s.Error, "Target dataset 'vault/copy' does not have matching snapshots but has data") || !strings.HasSuffix(s.Error, ".") || strings.HasSuffix(s.Error, "..") {
		t.Errorf("5.7: error %q", s.Error)
	}
	if strings.TrimSuffix(s.Error, ".") != strings.TrimSuffix(job.Failure.Error, ".") {
		t.Errorf("5.7: the job says %q, the state %q", job.Failure.Error, s.Error)
	}
	if s.LastSnapshot != "tank/data@one" {
		t.Errorf("3.7: last_snapshot %q is forgotten", s.LastSnapshot)
	}
	if runs := w.runs(e.ID); len(runs) != 2 || runs[0].Outcome != "ERROR" || runs[0].Message != s.Error || runs[0].Bytes != 0 {
		t.Errorf("history %+v", runs)
	}
}

// TestLoggingLevel holds what a job's log holds under each level, and the form of its lines (5.7).
func TestLoggingLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	do(t, w.here, "zfs create vault/full")
	if err := w.here.Write("vault/full", mib); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] (DEBUG|INFO|WARNING|ERROR) +\[job_\d+\] \[replication\] .`)
	for level, want := range map[string][]string{
		"":        {"INFO"},
		"INFO":    {"INFO"},
		"DEBUG":   {"DEBUG", "INFO"},
		"WARNING": nil,
		"ERROR":   nil,
	} {
		t.Run("5.7: "+level, func(t *testing.T) {
			d := local("level "+level, "tank/data", "vault/copy"+level)
			if level != "" {
				d.LoggingLevel = &level
			}
			log := w.log(w.succeed(w.run(w.make(d).ID)))
			found := map[string]bool{}
			for l := range strings.Lines(log) {
				m := line.FindStringSubmatch(l)
				if m == nil || l[22:31] != fmt.Sprintf("%-8s ", m[1]) {
					t.Errorf("line %q", l)
					continue
				}
				found[m[1]] = true
			}
			var got []string
			for _, name := range []string{"DEBUG", "INFO", "WARNING", "ERROR"} {
				if found[name] {
					got = append(got, name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("levels %v, want %v:\n%s", got, want, log)
			}
			if level != "" && level != "ERROR" {
				return
			}
			// Why a run failed is in the log under every level.
			d.Name, d.Target = "failing "+level, "vault/full"
			failed := w.wait(w.run(w.make(d).ID))
			if log := w.log(failed); failed.State != jobs.Failed || !strings.Contains(log, " ERROR    [") || !strings.Contains(log, "does not have matching snapshots") {
				t.Errorf("log of a run that failed:\n%s", log)
			}
		})
	}
}
