package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestProperties drives a Manager through random lives and holds it against a model that knows no goroutines. Beside what
// the model says, rules hold for the events: see watcher.
func TestProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inBubble := struct{ rapid.TB }{t} // rapid asks a plain T for its deadline, which a bubble does not have
		rapid.Check(inBubble, func(t *rapid.T) {
			w := newWorld(t)
			defer func() { w.m.Close() }()
			t.Repeat(map[string]func(*rapid.T){
				"":       w.check,
				"start":  w.start,
				"tell":   w.tell,
				"abort":  w.abort,
				"store":  w.storeWorks,
				"pass":   func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 400).Draw(t, "ms")) * time.Millisecond) },
				"reopen": w.reopen,
				"crash":  w.crash,
			})
		})
	})
}

// watcher holds the rules of events over all lives of a program.
type watcher struct {
	mu      sync.Mutex
	last    map[int64]Job
	revs    map[uint64]bool
	highest uint64 // rev of earlier lives
	deaf    bool   // the program has crashed
	ended   []int64
	faults  []string
}

func (w *watcher) see(j Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf {
		return
	}
	fault := func(format string, args ...any) { w.faults = append(w.faults, fmt.Sprintf(format, args...)) }
	before, known := w.last[j.ID]
	order := map[State]int{Waiting: 1, Running: 2, Success: 3, Failed: 3, Aborted: 3}
	switch {
	case !known && j.State != Waiting:
		fault("first event of job %d is %s", j.ID, j.State)
	case before.State.Final():
		fault("job %d is %s after it was %s", j.ID, j.State, before.State)
	case order[j.State] < order[before.State]:
		fault("job %d goes from %s back to %s", j.ID, before.State, j.State)
	case j.Rev <= before.Rev || j.Rev <= w.highest || w.revs[j.Rev]:
		fault("rev %d of job %d after %d, earlier lives had up to %d, known: %v", j.Rev, j.ID, before.Rev, w.highest, w.revs[j.Rev])
	}
	w.last[j.ID], w.revs[j.Rev] = j, true
	if j.State.Final() && !j.Transient {
		w.ended = append(w.ended, j.ID)
	}
}

func (w *watcher) hear(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = !on
}

// modelJob is what the model knows of a job that has not ended.
type modelJob struct {
	id        int64
	lock      string
	owner     string
	messages  int
	transient bool
	stubborn  bool // completes its work although it is stopped
	state     State
	orders    chan string
}

// world is a Manager, its store, and the model.
type world struct {
	watcher
	store    *memory
	m        *Manager
	keep     int
	lastID   int64 // used up
	given    int64 // the highest that a job got
	first    int64
	step     int64
	alive    map[int64]*modelJob // those that have not ended
	locks    map[string][]int64  // who has it, then who waits
	expected map[int64]State     // of those that have ended
	inside   map[string]*int     // how many are at work under a lock
}

func newWorld(t *rapid.T) *world {
	w := &world{
		watcher: watcher{last: map[int64]Job{}, revs: map[uint64]bool{}},
		store:   newMemory(), keep: 5, expected: map[int64]State{},
	}
	w.open(t)
	return w
}

func (w *world) open(t *rapid.T) {
	w.alive, w.locks, w.inside = map[int64]*modelJob{}, map[string][]int64{}, map[string]*int{"a": new(int), "b": new(int)}
	w.mu.Lock()
	for rev := range w.revs {
		w.highest = max(w.highest, rev)
	}
	w.mu.Unlock()
	m, interrupted, err := Open(t.Context(), Config{Store: w.store, Keep: w.keep, Publish: func(j Job) {
		w.see(j)
		if j.State != Running && !(j.State.Final() && j.Transient) && !w.store.keeps(j) {
			w.mu.Lock()
			w.faults = append(w.faults, fmt.Sprintf("job %d was %s before it was so in the store", j.ID, j.State))
			w.mu.Unlock()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range interrupted {
		w.see(j)
	}
	w.m, w.lastID = m, w.given
	w.step = rapid.Int64Range(1, 16).Draw(t, "step")
	w.first = rapid.Int64Range(0, w.step-1).Draw(t, "first")
	if err := m.SetSeries(w.first, w.step); err != nil {
		t.Fatal(err)
	}
	// Jobs that ended in the same moment are in the order of their ids from now on.
	slices.SortFunc(w.ended, func(a, b int64) int {
		return cmp.Or(w.last[a].Finished.Compare(w.last[b].Finished), cmp.Compare(a, b))
	})
}

func (w *world) start(t *rapid.T) {
	j := &modelJob{
		lock:      rapid.SampledFrom([]string{"", "a", "a", "b"}).Draw(t, "lock"),
		owner:     rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "owner"),
		transient: rapid.IntRange(0, 4).Draw(t, "transient") == 0,
		stubborn:  rapid.IntRange(0, 4).Draw(t, "stubborn") == 0,
		messages:  1, state: Waiting, orders: make(chan string),
	}
	size := rapid.SampledFrom([]int{0, 1, 2, NoQueue}).Draw(t, "queue")
	got, err := w.m.Start(t.Context(), Spec{
		Lock: j.lock, Owner: j.owner, QueueSize: size, Transient: j.transient, MessageID: json.RawMessage(`1`), Run: w.work(j),
	})
	synctest.Wait()

	room, queue := size, []int64(nil)
	if size == 0 {
		room = 5
	}
	if j.lock != "" && len(w.locks[j.lock]) > 0 {
		queue = w.locks[j.lock][1:]
		if len(queue) >= room {
			w.wantJoined(t, got, err, j, size, queue)
			return
		}
	}
	w.lastID++
	for w.lastID%w.step != w.first {
		w.lastID++
	}
	if w.store.noInsert {
		if !errors.Is(err, errNoRoom) {
			t.Fatalf("Start gives %v, but the store does not work", err)
		}
		return
	}
	if err != nil || got.ID != w.lastID || got.State != Waiting {
		t.Fatalf("Start gives %d, %s, %v; want %d", got.ID, got.State, err, w.lastID)
	}
	j.id = got.ID
	w.given = j.id
	w.alive[j.id] = j
	if j.lock != "" {
		w.locks[j.lock] = append(w.locks[j.lock], j.id)
	}
	if j.lock == "" || len(w.locks[j.lock]) == 1 {
		j.state = Running
	}
}

// wantJoined checks what Start gave for a job that found the queue full.
func (w *world) wantJoined(t *rapid.T, got Job, err error, j *modelJob, size int, queue []int64) {
	busy, refused := errors.AsType[*BusyError](err)
	if size != NoQueue {
		for _, id := range slices.Backward(queue) {
			if other := w.alive[id]; other.owner == j.owner {
				other.messages++
				if err != nil || got.ID != id || len(got.MessageIDs) != other.messages {
					t.Fatalf("Start gives %d with %s, %v; want %d", got.ID, got.MessageIDs, err, id)
				}
				return
			}
		}
	}
	if !refused || busy.Others != (size != NoQueue) {
		t.Fatalf("Start gives %d, %v; want a refusal", got.ID, err)
	}
}

// work is a Func that does what it is told.
func (w *world) work(j *modelJob) Func {
	inside := w.inside[j.lock]
	return func(ctx context.Context, h *Handle) (any, error) {
		if j.lock != "" {
			*inside++ // unguarded: the race detector would tell of two at a time
			defer func() { *inside-- }()
			if *inside != 1 {
				panic("two at a time")
			}
		}
		for n := 1; ; n++ {
			order := ""
			select {
			case <-ctx.Done():
				if j.stubborn {
					return "done all the same", nil
				}
				return nil, ctx.Err()
			case order = <-j.orders:
			}
			switch order {
			case "progress":
				h.Progress(Progress{Description: fmt.Sprint("step ", n)})
			case "done":
				return n, nil
			case "fail":
				return nil, errors.New("failed")
			case "panic":
				panic(n)
			case "exit":
				runtime.Goexit()
			}
		}
	}
}

// pick draws one of the jobs in one of the states, or gives nil if there is none.
func (w *world) pick(t *rapid.T, states ...State) *modelJob {
	var fitting []int64
	for _, id := range slices.Sorted(maps.Keys(w.alive)) {
		if slices.Contains(states, w.alive[id].state) {
			fitting = append(fitting, id)
		}
	}
	if len(fitting) == 0 {
		return nil
	}
	return w.alive[rapid.SampledFrom(fitting).Draw(t, "job")]
}

func (w *world) tell(t *rapid.T) {
	j := w.pick(t, Running)
	if j == nil {
		return
	}
	order := rapid.SampledFrom([]string{"progress", "progress", "done", "fail", "panic", "exit"}).Draw(t, "order")
	j.orders <- order
	synctest.Wait()
	switch order {
	case "progress":
	case "done":
		w.end(j, Success)
	default:
		w.end(j, Failed)
	}
}

func (w *world) abort(t *rapid.T) {
	j := w.pick(t, Running, Waiting)
	if j == nil {
		return
	}
	if err := w.m.Abort(j.id); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if j.stubborn && j.state == Running {
		w.end(j, Success)
	} else {
		w.end(j, Aborted)
	}
}

// end notes that a job has ended, and who has its lock now.
func (w *world) end(j *modelJob, s State) {
	delete(w.alive, j.id)
	w.expected[j.id] = s
	if j.lock == "" {
		return
	}
	line := w.locks[j.lock]
	i := slices.Index(line, j.id)
	w.locks[j.lock] = slices.Delete(line, i, i+1)
	if i == 0 && len(line) > 1 {
		w.alive[w.locks[j.lock][0]].state = Running
	}
}

func (w *world) storeWorks(t *rapid.T) {
	w.store.refuse(rapid.Bool().Draw(t, "no insert"), rapid.Bool().Draw(t, "no update"))
}

// reopen ends the program as it should, and starts it again.
func (w *world) reopen(t *rapid.T) {
	w.store.refuse(false, false)
	if rapid.Bool().Draw(t, "drain") {
		var want []int64
		for id, j := range w.alive {
			if !j.stubborn || j.state == Waiting {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		if got := w.m.Drain(t.Context(), nil); !slices.Equal(got, want) {
			t.Fatalf("Drain cut short %v, want %v", got, want)
		}
	}
	w.m.Close()
	w.ended = w.ended[max(0, len(w.ended)-w.keep):]
	for id, j := range w.alive {
		w.expected[id] = Failed
		if j.stubborn && j.state == Running {
			w.expected[id] = Success
		}
	}
	w.open(t)
}

// crash ends the program as it should not. A store that has not taken an outcome yet loses it then: that is two faults at a
// time, and left out.
func (w *world) crash(t *rapid.T) {
	w.m.write.Lock()
	unsaved := len(w.m.unsaved)
	w.m.write.Unlock()
	if unsaved > 0 {
		return
	}
	w.store.refuse(false, false)
	w.hear(false)
	w.store.crash(w.m)
	w.hear(true)
	for id, j := range w.alive {
		if j.transient {
			delete(w.last, id) // nobody ever hears of its end
			continue
		}
		w.expected[id] = Failed
	}
	w.open(t)
}

// check holds the Manager against the model.
func (w *world) check(t *rapid.T) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fault := range w.faults {
		t.Error(fault)
	}
	want := map[int64]State{}
	for id, j := range w.alive {
		want[id] = j.state
	}
	for _, id := range w.ended[max(0, len(w.ended)-w.keep):] {
		want[id] = w.expected[id]
	}
	got := map[int64]State{}
	for _, j := range w.m.List() {
		got[j.ID] = j.State
		if j.ID%w.step != w.first && w.alive[j.ID] != nil {
			t.Errorf("id %d is not in the series %d, %d", j.ID, w.first, w.step)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("jobs %v, want %v", got, want)
	}
	if n := w.m.Running(); n != len(w.alive) {
		t.Errorf("%d jobs run, want %d", n, len(w.alive))
	}
	for id, state := range w.expected {
		if last, ok := w.last[id]; ok && last.State != state {
			t.Errorf("last event of job %d is %s, want %s", id, last.State, state)
		}
	}
}
