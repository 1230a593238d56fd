package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestOutcomes: how a job ends, by what its Func does and who stops it.
func TestOutcomes(t *testing.T) {
	abort := func(t *testing.T, m *Manager, id int64) {
		if err := m.Abort(id); err != nil {
			t.Error(err)
		}
	}
	stubborn := func(ctx context.Context, _ *Handle) (any, error) {
		<-ctx.Done()
		return "done", nil
	}
	tests := []struct {
		name string
		run  Func
		stop func(*testing.T, *Manager, int64)
		want Job
	}{
		{
			name: "result", run: func(context.Context, *Handle) (any, error) { return map[string]int{"a": 1}, nil },
			want: Job{State: Success, Result: json.RawMessage(`{"a":1}`)},
		},
		{name: "no result", run: quick, want: Job{State: Success, Result: json.RawMessage(`null`)}},
		{
			name: "result that cannot be encoded", run: func(context.Context, *Handle) (any, error) { return func() {}, nil },
			want: Job{State: Success, ResultEncodingError: "json: unsupported type: func()"},
		},
		{
			name: "error", run: func(context.Context, *Handle) (any, error) { return 7, errors.New("no base") },
			want: Job{State: Failed, Failure: &Failure{Error: "no base"}},
		},
		{
			name: "panic", run: func(context.Context, *Handle) (any, error) { panic("the stack has secrets") },
			want: Job{State: Failed, Failure: &Failure{Error: "internal error in job 1"}},
		},
		{
			name: "goroutine ended", run: func(context.Context, *Handle) (any, error) {
				runtime.Goexit()
				return nil, nil
			},
			want: Job{State: Failed, Failure: &Failure{Error: "internal error in job 1"}},
		},
		{
			name: "error that panics", run: func(context.Context, *Handle) (any, error) { return nil, (*BusyError)(nil) },
			want: Job{State: Failed, Failure: &Failure{Error: "internal error in job 1"}},
		},
		{
			name: "time limit of its own", run: func(ctx context.Context, _ *Handle) (any, error) {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			},
			want: Job{State: Failed, Failure: &Failure{Error: "context deadline exceeded"}},
		},
		{
			name: "aborted", run: block, stop: abort,
			want: Job{State: Aborted, Failure: &Failure{Error: "job aborted"}},
		},
		{
			name: "aborted when it was done", run: stubborn, stop: abort,
			want: Job{State: Success, Result: json.RawMessage(`"done"`)},
		},
		{
			name: "drained", run: block,
			stop: func(t *testing.T, m *Manager, _ int64) { m.Drain(t.Context(), errors.New("SIGTERM")) },
			want: Job{
				State: Failed, Interrupted: true,
				Failure: &Failure{Error: "stopped because the program is about to end: SIGTERM"},
			},
		},
		{
			name: "closed", run: block, stop: func(_ *testing.T, m *Manager, _ int64) { m.Close() },
			want: Job{State: Failed, Interrupted: true, Failure: &Failure{Error: "job manager is closed"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen events
				m, _ := open(t, Config{Publish: seen.add})
				id := start(t, m, Spec{Run: tt.run}).ID
				synctest.Wait()
				if tt.stop != nil {
					tt.stop(t, m, id)
				}
				got := wait(t, m, id)
				relevant := Job{
					State: got.State, Result: got.Result, ResultEncodingError: got.ResultEncodingError,
					Failure: got.Failure, Interrupted: got.Interrupted,
				}
				if diff := cmp.Diff(tt.want, relevant); diff != "" {
					t.Errorf("job (-want +got):\n%s", diff)
				}
				last := "FAILED 0"
				switch tt.want.State {
				case Success:
					last = "SUCCESS 100" // once, 23 of section 10
				case Aborted:
					last = "ABORTED 0"
				}
				wantEvents(t, &seen, id, "WAITING 0", "RUNNING 0", last)
			})
		})
	}
}

// TestPanicIsLogged: the stack is for the program's log only.
func TestPanicIsLogged(t *testing.T) {
	var log bytes.Buffer
	m, _ := open(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	j := start(t, m, Spec{Run: func(context.Context, *Handle) (any, error) { panic("oh") }})
	if got := wait(t, m, j.ID); strings.Contains(got.Failure.Error+got.Failure.Exception, "oh") {
		t.Errorf("clients are told %+v", got.Failure)
	}
	for _, want := range []string{"panic=oh", "life_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log has no %q:\n%s", want, &log)
		}
	}
}

type ctxKey struct{}

// TestContext: a job outlives the call that started it, and has its values.
func TestContext(t *testing.T) {
	m, _ := open(t, Config{})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "ann"))
	started := make(chan struct{})
	j, err := m.Start(ctx, Spec{Run: func(ctx context.Context, h *Handle) (any, error) {
		<-started
		return []any{ctx.Value(ctxKey{}), h.ID()}, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	close(started)
	if got := wait(t, m, j.ID); string(got.Result) != `["ann",1]` {
		t.Errorf("job %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	m, _, err := Open(t.Context(), Config{Store: newMemory()})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(want error) {
		t.Helper()
		if _, err := m.Start(t.Context(), Spec{Run: quick}); !errors.Is(err, want) {
			t.Errorf("Start: %v, want %v", err, want)
		}
	}
	refused(ErrNoSeries)
	if err := m.SetSeries(3, 0); err == nil {
		t.Error("a series by 0 is taken")
	}
	if err := m.SetSeries(3, 16); err != nil {
		t.Fatal(err)
	}
	if j := start(t, m, Spec{Run: quick}); j.ID != 3 {
		t.Errorf("first id %d, want 3", j.ID)
	}
	m.Drain(t.Context(), nil)
	refused(ErrDraining)
	m.Close()
	refused(ErrClosed)
	m.Drain(t.Context(), nil)
	refused(ErrClosed)
	m.Close()

	if _, err := m.Get(4); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := m.Abort(4); !errors.Is(err, ErrNotFound) {
		t.Errorf("Abort: %v", err)
	}
	if _, err := m.Wait(t.Context(), 4); !errors.Is(err, ErrNotFound) {
		t.Errorf("Wait: %v", err)
	}
	if err := m.Abort(3); err != nil {
		t.Errorf("Abort of a job that has ended: %v", err)
	}
}

func TestSeries(t *testing.T) {
	m, _ := open(t, Config{})
	for _, tt := range []struct{ first, step, want int64 }{{1, 16, 1}, {1, 16, 17}, {5, 16, 21}, {4, 16, 36}, {0, 1, 37}, {100, 10, 40}, {0, 16, 48}} {
		if err := m.SetSeries(tt.first, tt.step); err != nil {
			t.Fatal(err)
		}
		if j := start(t, m, Spec{Run: quick}); j.ID != tt.want {
			t.Errorf("id %d of the series %d, %d; want %d", j.ID, tt.first, tt.step, tt.want)
		}
	}
}

// TestDrainWaitsNoLonger: what has not ended in time counts as interrupted, what was completed does not.
func TestDrainWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := open(t, Config{})
		slow := start(t, m, Spec{Run: func(ctx context.Context, _ *Handle) (any, error) {
			<-ctx.Done()
			time.Sleep(time.Minute)
			return nil, ctx.Err()
		}})
		start(t, m, Spec{Run: func(ctx context.Context, _ *Handle) (any, error) {
			<-ctx.Done()
			return nil, nil
		}})
		cut := start(t, m, Spec{Run: block})
		start(t, m, Spec{Run: quick})
		synctest.Wait()
		if n := m.Running(); n != 3 {
			t.Errorf("%d jobs run, want 3", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if diff := cmp.Diff([]int64{slow.ID, cut.ID}, m.Drain(ctx, nil)); diff != "" {
			t.Errorf("interrupted (-want +got):\n%s", diff)
		}
		begin := time.Now()
		m.Close()
		if took := time.Since(begin); took != 50*time.Second {
			t.Errorf("Close took %v: it waits for every job", took)
		}
	})
}

func TestWaitGivesUp(t *testing.T) {
	m, _ := open(t, Config{})
	j := start(t, m, Spec{Run: block})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the client is gone")
	cancel(why)
	if _, err := m.Wait(ctx, j.ID); !errors.Is(err, why) {
		t.Errorf("Wait: %v", err)
	}
}

// TestTransient: such a job is known while it runs, and nowhere afterwards.
func TestTransient(t *testing.T) {
	store := newMemory()
	var seen events
	m, _ := open(t, Config{Store: store, Publish: seen.add})
	release := make(chan struct{})
	j := start(t, m, Spec{Transient: true, Run: func(context.Context, *Handle) (any, error) {
		<-release
		return nil, nil
	}})
	ended := make(chan Job)
	go func() { // ends with the job
		j, _ := m.Wait(t.Context(), j.ID)
		ended <- j
	}()
	if len(m.List()) != 1 || m.Running() != 1 {
		t.Error("the job is not known while it runs")
	}
	close(release)
	if got := <-ended; got.State != Success && got.State != "" { // Wait may have come too late
		t.Errorf("ended as %+v", got)
	}
	m.Close()
	if len(m.List()) != 0 || m.Running() != 0 || len(store.jobs) != 0 {
		t.Errorf("left: %v, store %v", m.List(), store.jobs)
	}
	wantEvents(t, &seen, j.ID, "WAITING 0", "RUNNING 0", "SUCCESS 100")
}

// TestRoundTrip: a job encoded and decoded is the same job.
func TestRoundTrip(t *testing.T) {
	now := time.Now().Round(0).UTC()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, want := range []Job{{}, {
		ID: 1, Rev: 1 << 53, Method: "a.b", Description: "d", Arguments: raw(`[1]`), MessageIDs: []json.RawMessage{raw(`"x"`)},
		Credentials: raw(`{}`), Owner: "ann", ReadRoles: []string{"R"}, Transient: true, Abortable: true, Key: "7", Restart: true,
		State: Failed, Progress: Progress{Percent: Percent(3), Description: "p", Extra: raw(`{"a":1}`)}, LogsPath: "/l", LogsExcerpt: "e",
		Result: raw(`null`), ResultEncodingError: "r", Failure: &Failure{"a", "b", "c", "d", 5, raw(`[]`)}, Interrupted: true,
		Created: now, Started: now, Finished: now,
	}} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Job
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("job (-want +got):\n%s", diff)
		}
	}
}
