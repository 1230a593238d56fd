package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// TestQueue holds the rules of 2.5: who waits for a lock, who is joined and who is refused.
func TestQueue(t *testing.T) {
	tests := []struct {
		name    string
		waiting []string // owners of the jobs that wait for the lock already, after one that has it
		size    int
		owner   string
		joined  int64 // the id, if one is joined
		refused string
	}{
		{name: "room", waiting: []string{"ann", "ann", "ann", "ann"}, owner: "ann"},
		{
			name: "five wait", waiting: []string{"ann", "ann", "ann", "ann", "ann"}, owner: "ann",
			joined: 6,
		},
		{
			name: "newest of the same user", waiting: []string{"ann", "bob", "ann", "bob", "bob"}, owner: "ann",
			joined: 4,
		},
		{
			name: "only others", waiting: []string{"bob", "bob", "bob", "bob", "bob"}, owner: "ann",
			refused: "This job is already being performed by another user",
		},
		{name: "short queue", waiting: []string{"ann"}, size: 1, owner: "ann", joined: 2},
		{name: "no queue", size: NoQueue, owner: "ann", refused: "This job is already being performed"},
		{name: "long queue", waiting: slices.Repeat([]string{"ann"}, 9), size: 10, owner: "ann"},
		{name: "no user", waiting: []string{"ann", ""}, size: 2, owner: "", joined: 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := newMemory()
			var seen events
			m, _ := open(t, Config{Store: store, Publish: seen.add})
			start(t, m, Spec{Lock: "a", Owner: "ann", Run: block})
			for _, owner := range tt.waiting {
				start(t, m, Spec{Lock: "a", Owner: owner, QueueSize: 100, MessageID: json.RawMessage(`1`), Run: block})
			}
			next := int64(len(tt.waiting) + 2)
			j, err := m.Start(t.Context(), Spec{
				Lock: "a", Owner: tt.owner, QueueSize: tt.size, MessageID: json.RawMessage(`"x"`), Run: block,
			})
			busy, refused := errors.AsType[*BusyError](err)
			switch {
			case tt.refused != "":
				if !refused || err.Error() != tt.refused || busy.Lock != "a" {
					t.Errorf("Start: %+v, %v; want %q", j, err, tt.refused)
				}
				next--
			case err != nil:
				t.Fatal(err)
			case tt.joined != 0:
				if j.ID != tt.joined || len(j.MessageIDs) != 2 || string(j.MessageIDs[1]) != `"x"` {
					t.Errorf("Start gives job %d for %s, want %d joined", j.ID, j.MessageIDs, tt.joined)
				}
				if s := store.stored(t, j.ID); len(s.MessageIDs) != 2 || s.Rev != j.Rev {
					t.Errorf("the store has %s, rev %d", s.MessageIDs, s.Rev)
				}
				wantEvents(t, &seen, j.ID, "WAITING 0", "WAITING 0")
				next--
			case j.ID != next:
				t.Errorf("Start gives job %d, want %d", j.ID, next)
			}
			if n := int64(len(m.List())); n != next {
				t.Errorf("%d jobs, want %d", n, next)
			}
		})
	}
}

// TestNoLockNoQueue: jobs without a lock have nothing to do with each other (not so in section 10, 36).
func TestNoLockNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := open(t, Config{})
		for range 50 {
			start(t, m, Spec{Owner: "ann", QueueSize: NoQueue, Run: block})
		}
		synctest.Wait()
		for _, j := range m.List() {
			if j.State != Running {
				t.Errorf("job %d is %s", j.ID, j.State)
			}
		}
		if n := m.Running(); n != 50 {
			t.Errorf("%d jobs run", n)
		}
	})
}

// TestQueueOrder: jobs of a lock run in the order of their start; one that is stopped while it waits never does, and does not
// hold up the others.
func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []int64
		var seen events
		m, _ := open(t, Config{Publish: seen.add})
		release := make(chan struct{})
		work := func(_ context.Context, h *Handle) (any, error) {
			ran = append(ran, h.ID()) // one at a time, or the race detector will tell
			<-release
			return nil, nil
		}
		for range 5 {
			start(t, m, Spec{Lock: "a", Run: work})
		}
		other := start(t, m, Spec{Lock: "b", QueueSize: NoQueue, Run: quick})
		if err := m.Abort(3); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantEvents(t, &seen, 3, "WAITING 0", "ABORTED 0")
		wantEvents(t, &seen, other.ID, "WAITING 0", "RUNNING 0", "SUCCESS 100")
		close(release)
		wait(t, m, 5)
		if want := []int64{1, 2, 4, 5}; !slices.Equal(ran, want) {
			t.Errorf("ran %v, want %v", ran, want)
		}
		// The lock is free as soon as its last job has ended.
		start(t, m, Spec{Lock: "a", QueueSize: NoQueue, Run: quick})
	})
}
