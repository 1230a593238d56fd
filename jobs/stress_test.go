package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestStress has many goroutines use a Manager at once, on the real clock. What it cannot say before, as TestProperties can, it
// leaves to the rules for events and to the race detector.
func TestStress(t *testing.T) {
	w := &watcher{last: map[int64]Job{}, revs: map[uint64]bool{}}
	store := newMemory()
	m, _ := open(t, Config{Store: store, LogDir: t.TempDir(), Keep: 20, Publish: w.see})
	inside := map[string]*int{"a": new(int), "b": new(int)}
	work := func(lock string) Func {
		return func(ctx context.Context, h *Handle) (any, error) {
			if n := inside[lock]; n != nil {
				*n++ // unguarded: the race detector would tell of two at a time
				defer func() { *n-- }()
			}
			for i := range rand.IntN(20) {
				h.Progress(Progress{Percent: Percent(float64(i)), Description: fmt.Sprint(i)})
				fmt.Fprintln(h.Log(), "line", i)
				runtime.Gosched()
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
			}
			return nil, nil
		}
	}
	var workers sync.WaitGroup
	for n := range 8 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range 50 {
				lock := []string{"", "a", "b"}[r.IntN(3)]
				j, err := m.Start(t.Context(), Spec{
					Lock: lock, QueueSize: 1 + r.IntN(5), Owner: fmt.Sprint(n % 3), Logs: r.IntN(2) == 0, Transient: r.IntN(4) == 0,
					MessageID: []byte("1"), Run: work(lock),
				})
				if _, busy := errors.AsType[*BusyError](err); err != nil && !busy {
					t.Error(err)
				}
				switch r.IntN(4) {
				case 0:
					_ = m.Abort(j.ID) // it may be forgotten already
				case 1:
					_, _ = m.Wait(t.Context(), j.ID)
				case 2:
					m.List()
					m.Interrupted()
				}
			}
		})
	}
	workers.Wait()
	m.Close()
	for _, fault := range w.faults {
		t.Error(fault)
	}
	for id, j := range w.last {
		if !j.State.Final() {
			t.Errorf("job %d is %s", id, j.State)
		}
	}
	if len(m.jobs) != 20 || len(store.jobs) != 20 || len(m.locks) != 0 || len(m.unsaved) != 0 || m.Running() != 0 {
		t.Errorf("left: %d jobs, %d in the store, locks %v, unsaved %v", len(m.jobs), len(store.jobs), m.locks, m.unsaved)
	}
}
