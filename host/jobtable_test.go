package host

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// told collects what a table publishes.
type told struct{ changes []jobChange }

func (l *told) publish(c jobChange) { l.changes = append(l.changes, c) }

// TestJobTable: whatever of a plugin's history comes, in whatever order, also as tables after reconnects, subscribers are told
// nothing old after something new, no final state is lost or told twice, and in the end the table has the newest.
func TestJobTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l told
		table := newJobTable(1, l.publish)
		// The plugin's side: revisions of a few jobs, as they came to be.
		states := make(map[int64][]*jobEntry)
		var rev uint64
		link := 1
		if err := table.merge(nil, link); err != nil {
			t.Fatal(err)
		}
		newest := func() (list []*jobEntry) {
			for _, s := range states {
				list = append(list, s[len(s)-1])
			}
			return list
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.Int64Range(0, 3).Draw(t, "job")*jobStep + 1
			switch history := states[id]; {
			case rapid.IntRange(0, 9).Draw(t, "reconnect") == 0:
				link++
				if err := table.merge(newest(), link); err != nil {
					t.Fatal(err)
				}
			case len(history) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0:
				old := history[rapid.IntRange(0, len(history)-1).Draw(t, "which")]
				if err := table.accept(old, link); err != nil {
					t.Fatal(err)
				}
			case len(history) > 0 && history[len(history)-1].final():
			default:
				rev++
				state := rapid.SampledFrom([]string{stateRunning, stateRunning, stateSuccess, stateFailed}).Draw(t, "state")
				e := newEntry(wireJob{ID: id, State: state}, rev, audience{})
				states[id] = append(history, e)
				if rapid.IntRange(0, 3).Draw(t, "lost") > 0 {
					if err := table.accept(e, link); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if err := table.merge(newest(), link+1); err != nil {
			t.Fatal(err)
		}
		last := make(map[int64]*jobEntry)
		finals := make(map[int64]int)
		for _, c := range l.changes {
			before := last[c.entry.ID]
			if (before == nil) != (c.msg == "added") {
				t.Fatalf("job %d: %s", c.entry.ID, c.msg)
			}
			if before != nil && before.rev > c.entry.rev {
				t.Fatalf("job %d: revision %d after %d", c.entry.ID, c.entry.rev, before.rev)
			}
			last[c.entry.ID] = c.entry
			if c.entry.final() && c.msg == "changed" {
				finals[c.entry.ID]++
			}
			if c.progress && (before == nil || before.State != c.entry.State || c.entry.final()) {
				t.Fatalf("job %d: %s is said to be progress only", c.entry.ID, c.entry.State)
			}
		}
		for id, s := range states {
			want := s[len(s)-1]
			if last[id] != want {
				t.Fatalf("job %d: subscribers know %+v, want %+v", id, last[id], want)
			}
			if got, ok := table.get(id); !ok || got != want {
				t.Fatalf("job %d: the table has %+v, want %+v", id, got, want)
			}
			if got := finals[id]; (got == 1) != want.final() {
				t.Fatalf("job %d: its end was told %d times", id, got)
			}
		}
	})
}

// TestJobTableKeeps is decision 5: a thousand finished jobs, and all that are not.
func TestJobTableKeeps(t *testing.T) {
	var l told
	table := newJobTable(1, l.publish)
	entry := func(n int64, rev uint64, state string) *jobEntry {
		return newEntry(wireJob{ID: n*jobStep + 1, State: state}, rev, audience{})
	}
	for n := range int64(1100) {
		if err := table.accept(entry(n, uint64(n+1), stateRunning), 1); err != nil {
			t.Fatal(err)
		}
	}
	// They end the other way round.
	for n := int64(1099); n >= 50; n-- {
		if err := table.accept(entry(n, uint64(5000-n), stateSuccess), 1); err != nil {
			t.Fatal(err)
		}
	}
	var ids []int64
	for _, e := range table.list() {
		ids = append(ids, e.ID/jobStep)
	}
	slices.Sort(ids)
	if len(ids) != 1050 || ids[0] != 0 || ids[1049] != 1049 {
		t.Errorf("%d jobs, %d to %d; want 0 to 1049", len(ids), ids[0], ids[len(ids)-1])
	}
}

func TestTransientJob(t *testing.T) {
	var l told
	table := newJobTable(1, l.publish)
	job := wireJob{ID: 1, State: stateRunning, Transient: true}
	if err := table.accept(newEntry(job, 1, audience{}), 1); err != nil {
		t.Fatal(err)
	}
	if n := len(table.list()); n != 1 {
		t.Errorf("%d jobs while it runs", n)
	}
	done := make(chan string)
	watched, stop := table.watch(1)
	stop()
	if len(watched) != 0 {
		t.Error("nothing has changed")
	}
	go func() {
		e, err := table.await(t.Context(), 1, func() error { return errLater })
		done <- fmt.Sprint(e.State, err)
	}()
	eventually(t, "somebody waits", func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.watchers[1]) > 0
	})
	job.State = stateSuccess
	if err := table.accept(newEntry(job, 2, audience{}), 1); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "SUCCESS<nil>" {
		t.Errorf("who waited got %s", got)
	}
	if n := len(table.list()); n != 0 || len(l.changes) != 0 {
		t.Errorf("%d jobs when it has ended, %d events", n, len(l.changes))
	}
}
