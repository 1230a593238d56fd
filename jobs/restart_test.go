package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crash leaves the store as it is, and ends the Manager's goroutines.
func (s *memory) crash(m *Manager) {
	s.mu.Lock()
	s.lost = true
	s.mu.Unlock()
	m.Close()
	s.mu.Lock()
	s.lost = false
	s.mu.Unlock()
}

func ids(jobs []Job) (ids []int64) {
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

// TestCrash: what had not ended is FAILED, and says why; ids and revs go on above all that anybody has seen.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		var seen events
		explain := func(err error) Failure { return Failure{Error: "[EFAULT] " + err.Error(), Errno: 14} }
		cfg := Config{Store: store, LogDir: t.TempDir(), Publish: seen.add, Explain: explain}
		m, _ := open(t, cfg)
		done := start(t, m, Spec{Run: quick})
		running := start(t, m, Spec{Lock: "a", Key: "7", Logs: true, Run: func(ctx context.Context, h *Handle) (any, error) {
			_, _ = io.WriteString(h.Log(), "one\n")
			for i := range 50 {
				h.Progress(Progress{Percent: Percent(float64(i))})
				time.Sleep(interval)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		waiting := start(t, m, Spec{Lock: "a", Key: "8", Restart: true, Run: quick})
		start(t, m, Spec{Transient: true, Run: block})
		time.Sleep(time.Minute)
		newest := seen.newest()
		store.crash(m)

		m, interrupted := open(t, cfg)
		if diff := cmp.Diff([]int64{running.ID, waiting.ID}, ids(interrupted)); diff != "" {
			t.Fatalf("interrupted (-want +got):\n%s", diff)
		}
		for _, j := range interrupted {
			want := Failure{Error: "[EFAULT] interrupted: the program ended before the job did", Errno: 14}
			if j.State != Failed || !j.Interrupted || j.Finished.IsZero() || !cmp.Equal(*j.Failure, want) {
				t.Errorf("job %+v, failure %+v", j, j.Failure)
			}
			if j.Rev <= newest {
				t.Errorf("rev %d of job %d, but %d was published before", j.Rev, j.ID, newest)
			}
			if s := store.stored(t, j.ID); s.State != Failed || s.Rev != j.Rev {
				t.Errorf("the store has %+v", s)
			}
			if got, err := m.Get(j.ID); err != nil || !cmp.Equal(got, j) {
				t.Errorf("Get: %+v, %v", got, err)
			}
		}
		if got := interrupted[0]; got.LogsExcerpt != "one\n" || got.Key != "7" || readLog(t, m, got.ID) != "one\n" {
			t.Errorf("job %+v", got)
		}
		if got := interrupted[1]; !got.Restart || !got.Started.IsZero() {
			t.Errorf("job %+v", got)
		}
		if got := ids(m.List()); !slices.Equal(got, []int64{done.ID, running.ID, waiting.ID}) {
			t.Errorf("jobs %v: the transient one is gone, the others are there", got)
		}
		if _, err := m.Wait(t.Context(), running.ID); err != nil {
			t.Error(err)
		}
		if j := start(t, m, Spec{Run: quick}); j.ID != 5 || j.Rev <= interrupted[1].Rev {
			t.Errorf("next job is %d with rev %d", j.ID, j.Rev)
		}
		m.Close()

		// Nothing is interrupted twice.
		if _, interrupted := open(t, cfg); interrupted != nil {
			t.Errorf("interrupted again: %v", ids(interrupted))
		}
	})
}

// TestInterrupted: what was cut short, by a crash or not, is told until a newer job has the same key.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		m, _ := open(t, Config{Store: store})
		begin := func(key string, run Func) int64 {
			id := start(t, m, Spec{Key: key, Run: run}).ID
			synctest.Wait()
			return id
		}
		want := func(want ...int64) {
			t.Helper()
			if got := ids(m.Interrupted()); !slices.Equal(got, want) {
				t.Errorf("interrupted %v, want %v", got, want)
			}
		}
		drained, _, aborted := begin("drained", block), begin("", block), begin("aborted", block)
		begin("done", quick)
		if err := m.Abort(aborted); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want()
		m.Drain(t.Context(), nil)
		want(drained)
		m.Close()

		m, _ = open(t, Config{Store: store})
		want(drained)
		crashed := begin("crashed", block)
		store.crash(m)
		m, _ = open(t, Config{Store: store})
		want(drained, crashed)
		again := begin("drained", block)
		want(crashed)
		begin("crashed", quick)
		want()
		store.crash(m)
		m, _ = open(t, Config{Store: store})
		want(again)
	})
}

// TestStoreRefuses: a job that cannot be stored does not exist; an outcome that cannot be stored is kept and stored later.
func TestStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		var seen events
		m, _ := open(t, Config{Store: store, Publish: seen.add})
		store.refuse(true, false)
		if j, err := m.Start(t.Context(), Spec{Lock: "a", Run: quick}); !errors.Is(err, errNoRoom) {
			t.Errorf("Start: %+v, %v", j, err)
		}
		if len(m.List()) != 0 || seen.newest() != 0 || m.Running() != 0 {
			t.Errorf("there is a job: %v", m.List())
		}
		store.refuse(false, false)
		// Neither its lock nor its id is in the way of the next.
		first := start(t, m, Spec{Lock: "a", QueueSize: NoQueue, Run: quick})
		if first.ID != 2 {
			t.Errorf("id %d", first.ID)
		}
		synctest.Wait()

		store.refuse(false, true)
		fails := start(t, m, Spec{Run: func(context.Context, *Handle) (any, error) { return nil, errors.New("no") }})
		second := start(t, m, Spec{Run: quick})
		synctest.Wait()
		wantEvents(t, &seen, fails.ID, "WAITING 0", "RUNNING 0", "FAILED 0")
		if got, err := m.Get(fails.ID); err != nil || got.State != Failed {
			t.Errorf("Get: %+v, %v", got, err)
		}
		if s := store.stored(t, second.ID); s.State != Waiting {
			t.Errorf("the store has %+v", s)
		}

		store.refuse(false, false)
		start(t, m, Spec{Run: block}) // the next change brings what was left behind
		for _, id := range []int64{fails.ID, second.ID} {
			got, err := m.Get(id)
			if err != nil {
				t.Fatal(err)
			}
			if s := store.stored(t, id); s.State != got.State || s.Rev != got.Rev {
				t.Errorf("the store has %+v, want %+v", s, got)
			}
		}

		store.refuse(false, true)
		last := start(t, m, Spec{Run: quick})
		synctest.Wait()
		store.refuse(false, false)
		m.Close() // and so does the end
		if s := store.stored(t, last.ID); s.State != Success {
			t.Errorf("the store has %+v", s)
		}
	})
}

// hanging is a Store on a disk that does not answer for a while.
type hanging struct {
	*memory
	hangs   *atomic.Bool
	asked   chan struct{} // closed when it is asked meanwhile
	release chan struct{}
}

func (s hanging) Insert(ctx context.Context, j Job) error {
	if s.hangs.Load() {
		close(s.asked)
		<-s.release
	}
	return s.memory.Insert(ctx, j)
}

// TestDiskHangs: a disk that hangs in the middle of a Start does not keep Drain from stopping the other jobs; and that Start
// gives none. Not in a bubble: it would take a lock that is waited for as work.
func TestDiskHangs(t *testing.T) {
	store := hanging{newMemory(), new(atomic.Bool), make(chan struct{}), make(chan struct{})}
	var seen events
	m, _ := open(t, Config{Store: store, Publish: seen.add})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan struct{})
	running := start(t, m, Spec{Run: func(ctx context.Context, _ *Handle) (any, error) {
		close(started)
		<-ctx.Done()
		cancel() // there is nothing more that Drain could wait for
		return nil, ctx.Err()
	}})
	<-started
	store.hangs.Store(true)
	refused := make(chan error)
	go func() { // ends when the disk answers
		_, err := m.Start(t.Context(), Spec{Run: block})
		refused <- err
	}()
	<-store.asked
	if got := m.Drain(ctx, nil); !slices.Equal(got, []int64{running.ID}) {
		t.Errorf("interrupted %v", got)
	}
	close(store.release)
	if err := <-refused; !errors.Is(err, ErrDraining) {
		t.Errorf("Start: %v", err)
	}
	m.Close()
	if s := store.stored(t, running.ID); s.State != Failed || !s.Interrupted || len(store.jobs) != 1 {
		t.Errorf("the store has %d jobs, %+v", len(store.jobs), s)
	}
	if got := ids(m.List()); !slices.Equal(got, []int64{running.ID}) || seen.list(2) != nil {
		t.Errorf("jobs %v", got)
	}
}

// TestOpenWithoutRoom: what Open cannot store it stores later.
func TestOpenWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		m, _ := open(t, Config{Store: store})
		start(t, m, Spec{Run: block})
		start(t, m, Spec{Transient: true, Run: block})
		synctest.Wait()
		store.crash(m)
		store.refuse(false, true)
		m, interrupted := open(t, Config{Store: store})
		if len(interrupted) != 1 || len(m.List()) != 1 {
			t.Fatalf("interrupted %v, jobs %v", interrupted, m.List())
		}
		store.refuse(false, false)
		m.Close()
		if s := store.stored(t, 1); s.State != Failed {
			t.Errorf("the store has %+v", s)
		}
		m, _ = open(t, Config{Store: store})
		if m.Close(); len(store.jobs) != 1 {
			t.Error("the transient job is still there")
		}
	})
}

// TestHistory: the store is pruned as jobs end, oldest first, and when it has too many at the start.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		m, _ := open(t, Config{Store: store, Keep: 3})
		long := start(t, m, Spec{Run: block})
		for range 6 {
			start(t, m, Spec{Run: quick})
			synctest.Wait()
		}
		if got := ids(m.List()); !slices.Equal(got, []int64{long.ID, 5, 6, 7}) {
			t.Errorf("jobs %v", got)
		}
		if len(store.jobs) != 4 {
			t.Errorf("%d jobs in the store", len(store.jobs))
		}
		time.Sleep(time.Second)
		m.Close()
		m, _ = open(t, Config{Store: store, Keep: 1})
		if got := ids(m.List()); !slices.Equal(got, []int64{long.ID}) || len(store.jobs) != 1 {
			t.Errorf("jobs %v, %d in the store: the one that ended last is kept", got, len(store.jobs))
		}
	})
}

func TestOpenFails(t *testing.T) {
	if _, _, err := Open(t.Context(), Config{Store: broken{}}); !errors.Is(err, errNoRoom) {
		t.Errorf("Open: %v", err)
	}
}

type broken struct{ *memory }

func (broken) Load(context.Context) ([]Job, int64, uint64, error) { return nil, 0, 0, errNoRoom }

// TestManyJobs: a full history opens at once.
func TestManyJobs(t *testing.T) {
	store := newMemory()
	for i := range int64(1000) {
		data, err := json.Marshal(Job{ID: i + 1, State: Success, Finished: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		store.jobs[i+1] = data
	}
	begin := time.Now()
	m, _ := open(t, Config{Store: store, LogDir: t.TempDir()})
	if took := time.Since(begin); took > 20*time.Second || len(m.List()) != 1000 {
		t.Errorf("%d jobs after %v", len(m.List()), took)
	}
}

// TestInterruptedBehindRefused: a job that failed at once because another with its key ran does not hide that the other was
// cut short.
func TestInterruptedBehindRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		m, _ := open(t, Config{Store: store})
		cut := start(t, m, Spec{Key: "task", Run: block}).ID
		start(t, m, Spec{Key: "task", Run: func(context.Context, *Handle) (any, error) { return nil, errors.New("runs already") }})
		synctest.Wait()
		if got := ids(m.Interrupted()); got != nil {
			t.Errorf("interrupted while it runs: %v", got)
		}
		time.Sleep(time.Second)
		store.crash(m)
		m, _ = open(t, Config{Store: store})
		if got := ids(m.Interrupted()); !slices.Equal(got, []int64{cut}) {
			t.Errorf("interrupted %v, want %d", got, cut)
		}
		time.Sleep(time.Second)
		start(t, m, Spec{Key: "task", Run: quick})
		synctest.Wait()
		if got := ids(m.Interrupted()); got != nil {
			t.Errorf("interrupted after a new run: %v", got)
		}
	})
}
