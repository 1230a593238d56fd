package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNoRoom = errors.New("no room")

// memory is a Store that keeps jobs encoded, as a database does.
type memory struct {
	mu       sync.Mutex
	jobs     map[int64][]byte
	lastID   int64
	lastRev  uint64
	noInsert bool // Insert fails
	noUpdate bool // Update and Delete fail
	lost     bool // writes go nowhere: the program has crashed already
}

func newMemory() *memory { return &memory{jobs: map[int64][]byte{}} }

func (s *memory) Load(context.Context) (all []Job, lastID int64, lastRev uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range s.jobs {
		var j Job
		if err := json.Unmarshal(data, &j); err != nil {
			return nil, 0, 0, err
		}
		all = append(all, j)
	}
	return all, s.lastID, s.lastRev, nil
}

func (s *memory) Insert(_ context.Context, j Job) error { return s.put(j, &s.noInsert) }

func (s *memory) Update(_ context.Context, j Job) error { return s.put(j, &s.noUpdate) }

func (s *memory) put(j Job, refuse *bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *refuse {
		return errNoRoom
	}
	if s.lost {
		return nil
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	s.jobs[j.ID] = data
	s.lastID, s.lastRev = max(s.lastID, j.ID), max(s.lastRev, j.Rev)
	return nil
}

func (s *memory) Delete(_ context.Context, ids []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noUpdate {
		return errNoRoom
	}
	for _, id := range ids {
		if !s.lost {
			delete(s.jobs, id)
		}
	}
	return nil
}

// refuse sets which methods fail from now on.
func (s *memory) refuse(insert, update bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noInsert, s.noUpdate = insert, update
}

// keeps tells whether a job is in the store as it is, or could not be put there.
func (s *memory) keeps(j Job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept Job
	return s.noUpdate || s.lost || json.Unmarshal(s.jobs[j.ID], &kept) == nil && kept.Rev == j.Rev
}

// stored returns a job as the store has it.
func (s *memory) stored(t *testing.T, id int64) Job {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var j Job
	if err := json.Unmarshal(s.jobs[id], &j); err != nil {
		t.Fatalf("job %d in the store: %v", id, err)
	}
	return j
}

// events collects what is published.
type events struct {
	mu  sync.Mutex
	all []Job
}

func (e *events) add(j Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, j)
}

// newest gives the rev of the last event.
func (e *events) newest() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.all) == 0 {
		return 0
	}
	return e.all[len(e.all)-1].Rev
}

// list gives the events of a job as "STATE percent".
func (e *events) list(id int64) (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range e.all {
		if j.ID == id {
			list = append(list, fmt.Sprint(j.State, " ", *j.Progress.Percent))
		}
	}
	return list
}

func wantEvents(t *testing.T, e *events, id int64, want ...string) {
	t.Helper()
	if got := e.list(id); !slices.Equal(got, want) {
		t.Errorf("events of job %d: %q, want %q", id, got, want)
	}
}

// open opens a Manager with the series 1, 2, 3 …, and closes it when the test ends.
func open(t *testing.T, cfg Config) (*Manager, []Job) {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = newMemory()
	}
	m, interrupted, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	if err := m.SetSeries(0, 1); err != nil {
		t.Fatal(err)
	}
	return m, interrupted
}

func start(t *testing.T, m *Manager, s Spec) Job {
	t.Helper()
	j, err := m.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func wait(t *testing.T, m *Manager, id int64) Job {
	t.Helper()
	j, err := m.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// quick is work that is done at once, block is work that lasts until it is stopped.
func quick(context.Context, *Handle) (any, error) { return nil, nil }

func block(ctx context.Context, _ *Handle) (any, error) {
	<-ctx.Done()
	return nil, errors.New("signal: killed")
}
