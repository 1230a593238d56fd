package store

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func want[T any](t *testing.T, what string, got T, err error, want T) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantErr(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// twice runs a test on an open database, then again on what it reads after a restart.
func twice(t *testing.T, change, check func(*testing.T, context.Context, *Store)) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	change(t, t.Context(), s)
	check(t, t.Context(), s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, t.Context(), opened(t, dir))
}

func TestTasks(t *testing.T) {
	a := Task{ID: 1, Name: "a", Enabled: true, Data: json.RawMessage(`{"x":"ü"}`), Secret: []byte("s\x00cret")}
	c := Task{ID: 3, Name: "c2", Data: json.RawMessage(`{}`)}
	twice(t, func(t *testing.T, ctx context.Context, s *Store) {
		for i, task := range []Task{a, {Name: "b"}, {Name: "c", Secret: []byte("x")}} {
			id, err := s.AddTask(ctx, task)
			want(t, "AddTask", id, err, int64(i+1))
		}
		_, err := s.AddTask(ctx, Task{Name: "a"})
		wantErr(t, "AddTask, name taken", err, ErrExist)
		wantErr(t, "UpdateTask, name taken", s.UpdateTask(ctx, Task{ID: 2, Name: "a"}), ErrExist)
		wantErr(t, "UpdateTask, none", s.UpdateTask(ctx, Task{ID: 9, Name: "z"}), ErrNotFound)
		want(t, "UpdateTask", 0, s.UpdateTask(ctx, c), 0)
		want(t, "SetTaskState", 0, s.SetTaskState(ctx, 1, []byte(`{"state":"RUNNING"}`)), 0)
		want(t, "SetTaskState again", 0, s.SetTaskState(ctx, 1, []byte(`{"state":"ERROR"}`)), 0)
		want(t, "SetTaskState", 0, s.SetTaskState(ctx, 2, []byte(`{}`)), 0)
		wantErr(t, "SetTaskState, none", s.SetTaskState(ctx, 9, []byte(`{}`)), ErrNotFound)
		want(t, "DeleteTask", 0, s.DeleteTask(ctx, 2), 0)
		wantErr(t, "DeleteTask again", s.DeleteTask(ctx, 2), ErrNotFound)
	}, func(t *testing.T, ctx context.Context, s *Store) {
		all, err := s.Tasks(ctx)
		want(t, "Tasks", all, err, []Task{a, c})
		one, err := s.Task(ctx, 1)
		want(t, "Task", one, err, a)
		_, err = s.Task(ctx, 2)
		wantErr(t, "Task, none", err, ErrNotFound)
		state, err := s.TaskState(ctx, 1)
		want(t, "TaskState", string(state), err, `{"state":"ERROR"}`)
		state, err = s.TaskState(ctx, 2)
		want(t, "TaskState of a deleted task", string(state), err, "")
		states, err := s.TaskStates(ctx)
		want(t, "TaskStates", states, err, map[int64]json.RawMessage{1: json.RawMessage(`{"state":"ERROR"}`)})
	})
}

// TestIDsAreNotUsedAgain: not even that of the newest row.
func TestIDsAreNotUsedAgain(t *testing.T) {
	s := opened(t, t.TempDir())
	for i := range int64(3) {
		id, err := s.AddTask(t.Context(), Task{Name: "a"})
		want(t, "AddTask", id, err, i+1)
		want(t, "DeleteTask", 0, s.DeleteTask(t.Context(), id), 0)
		id, err = s.AddCredential(t.Context(), Credential{Name: "a"})
		want(t, "AddCredential", id, err, i+1)
		want(t, "DeleteCredential", 0, s.DeleteCredential(t.Context(), id), 0)
	}
}

func TestCredentials(t *testing.T) {
	a := Credential{ID: 1, Name: "a", Type: "SSH_KEY_PAIR", Attributes: json.RawMessage(`{"private_key":"k"}`)}
	c := Credential{ID: 3, Name: "c", Type: "SSH_CREDENTIALS", Attributes: json.RawMessage(`{}`)}
	twice(t, func(t *testing.T, ctx context.Context, s *Store) {
		for i, name := range []string{"a", "b", "x"} {
			id, err := s.AddCredential(ctx, Credential{Name: name, Type: a.Type, Attributes: a.Attributes})
			want(t, "AddCredential", id, err, int64(i+1))
		}
		_, err := s.AddCredential(ctx, a)
		wantErr(t, "AddCredential, name taken", err, ErrExist)
		wantErr(t, "UpdateCredential, name taken", s.UpdateCredential(ctx, Credential{ID: 2, Name: "a"}), ErrExist)
		wantErr(t, "UpdateCredential, none", s.UpdateCredential(ctx, Credential{ID: 9}), ErrNotFound)
		want(t, "UpdateCredential", 0, s.UpdateCredential(ctx, c), 0)
		want(t, "DeleteCredential", 0, s.DeleteCredential(ctx, 2), 0)
		wantErr(t, "DeleteCredential again", s.DeleteCredential(ctx, 2), ErrNotFound)
	}, func(t *testing.T, ctx context.Context, s *Store) {
		all, err := s.Credentials(ctx)
		want(t, "Credentials", all, err, []Credential{a, c})
		one, err := s.Credential(ctx, 3)
		want(t, "Credential", one, err, c)
		_, err = s.Credential(ctx, 2)
		wantErr(t, "Credential, none", err, ErrNotFound)
	})
}

// TestJobs: the last id and rev stay when their jobs are gone, and never go back.
func TestJobs(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	twice(t, func(t *testing.T, ctx context.Context, s *Store) {
		for _, j := range []Job{
			{ID: 17, Rev: 40, State: "WAITING", Data: json.RawMessage(`{"a":1}`)},
			{ID: 33, Rev: 41, State: "WAITING"},
			{ID: 1, Rev: 3, State: "WAITING"},
		} {
			want(t, "InsertJob", 0, s.InsertJob(ctx, j), 0)
		}
		wantErr(t, "InsertJob again", s.InsertJob(ctx, Job{ID: 17}), ErrExist)
		want(t, "UpdateJob", 0, s.UpdateJob(ctx, Job{ID: 1, Rev: 50, State: "SUCCESS", Finished: at, Data: json.RawMessage(`{}`)}), 0)
		want(t, "UpdateJob", 0, s.UpdateJob(ctx, Job{ID: 17, Rev: 44, State: "RUNNING", Data: json.RawMessage(`{"b":1}`)}), 0)
		wantErr(t, "UpdateJob, none", s.UpdateJob(ctx, Job{ID: 2, Rev: 99}), ErrNotFound)
		want(t, "DeleteJobs", 0, s.DeleteJobs(ctx, []int64{33, 34}), 0)
	}, func(t *testing.T, ctx context.Context, s *Store) {
		all, id, rev, err := s.LoadJobs(ctx)
		want(t, "LoadJobs", all, err, []Job{
			{ID: 1, State: "SUCCESS", Finished: at, Data: json.RawMessage(`{}`)},
			{ID: 17, State: "RUNNING", Data: json.RawMessage(`{"b":1}`)},
		})
		if id != 33 || rev != 50 {
			t.Errorf("last id %d and rev %d, want 33 and 50", id, rev)
		}
	})
}

func TestRuns(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	first := Run{ID: 1, TaskID: 7, JobID: 1, Started: at, Finished: at.Add(time.Hour), Outcome: "SUCCESS", Bytes: 1 << 50, Snapshots: 3, Datasets: 2}
	other := Run{ID: 2, TaskID: 8, JobID: 2, Started: at, Restart: true}
	last := Run{ID: 3, TaskID: 7, JobID: 3, Started: at, Finished: at, Outcome: "FAILED", Message: "no\uFFFD"}
	twice(t, func(t *testing.T, ctx context.Context, s *Store) {
		for i, r := range []Run{{TaskID: 7, JobID: 1, Started: at}, other, last} {
			r.Message = "no\xff"[:len(r.Message)/5*3]
			id, err := s.AddRun(ctx, r)
			want(t, "AddRun", id, err, int64(i+1))
		}
		change := first
		change.TaskID, change.JobID, change.Started = 9, 9, at.Add(1)
		want(t, "FinishRun", 0, s.FinishRun(ctx, change), 0)
		wantErr(t, "FinishRun, none", s.FinishRun(ctx, Run{ID: 9}), ErrNotFound)
	}, func(t *testing.T, ctx context.Context, s *Store) {
		runs, err := s.Runs(ctx, 7, 0)
		want(t, "Runs", runs, err, []Run{last, first})
		runs, err = s.Runs(ctx, 7, 1)
		want(t, "Runs, one", runs, err, []Run{last})
		runs, err = s.Runs(ctx, 0, 2)
		want(t, "Runs of all", runs, err, []Run{last, other})
		runs, err = s.UnfinishedRuns(ctx)
		want(t, "UnfinishedRuns", runs, err, []Run{other})
	})
}

func TestCounters(t *testing.T) {
	twice(t, func(t *testing.T, ctx context.Context, s *Store) {
		n, err := s.Counter(ctx, "step")
		want(t, "Counter", n, err, 0)
		want(t, "SetCounter", 0, s.SetCounter(ctx, "step", 16), 0)
		want(t, "SetCounter", 0, s.SetCounter(ctx, "step", 8), 0)
		want(t, "SetCounter", 0, s.SetCounter(ctx, lastJob, 5), 0) // has nothing to do with the one of that name
	}, func(t *testing.T, ctx context.Context, s *Store) {
		n, err := s.Counter(ctx, "step")
		want(t, "Counter", n, err, 8)
		_, id, _, err := s.LoadJobs(ctx)
		want(t, "last job", id, err, 0)
	})
}

// TestCancelled: a transaction whose caller gave up leaves nothing, and not a lock either.
func TestCancelled(t *testing.T) {
	s := opened(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.AddTask(ctx, Task{Name: "a"})
	wantErr(t, "AddTask", err, context.Canceled)
	_, err = s.Tasks(ctx)
	wantErr(t, "Tasks", err, context.Canceled)
	id, err := s.AddTask(t.Context(), Task{Name: "a"})
	want(t, "AddTask", id, err, 1)
}

// TestManyAtOnce: writers wait for one another, readers for nobody.
func TestManyAtOnce(t *testing.T) {
	s := opened(t, t.TempDir())
	errs := make(chan error)
	const each = 20
	for worker := range int64(4) {
		go func() { // ends when it has sent
			var err error
			for i := range int64(each) {
				err = errors.Join(err, s.InsertJob(t.Context(), Job{ID: worker*each + i + 1}))
				_, _, _, loadErr := s.LoadJobs(t.Context())
				err = errors.Join(err, loadErr)
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if all, id, _, err := s.LoadJobs(t.Context()); err != nil || len(all) != 4*each || id != 4*each {
		t.Errorf("%d jobs, last id %d, %v", len(all), id, err)
	}
}
