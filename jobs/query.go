package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

func (m *Manager) findLocked(id int64) (*entry, error) {
	e := m.jobs[id]
	if e == nil {
		return nil, fmt.Errorf("%w: %d", ErrNotFound, id)
	}
	return e, nil
}

// Get returns a job, or ErrNotFound.
func (m *Manager) Get(id int64) (Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.findLocked(id)
	if err != nil {
		return Job{}, err
	}
	return e.job, nil
}

// List returns the jobs that have not ended and those that ended last, in the order of their ids.
func (m *Manager) List() []Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Job, 0, len(m.jobs))
	for _, id := range slices.Sorted(maps.Keys(m.jobs)) {
		all = append(all, m.jobs[id].job)
	}
	return all
}

// Running tells how many jobs have not ended.
func (m *Manager) Running() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.jobs) - len(m.history)
}

// LastID returns the highest id that was ever given out, 0 if none was.
func (m *Manager) LastID() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastID
}

// Interrupted returns, of the jobs of each Key that ended last, those that were cut short by the end of the program: by a crash,
// Drain or Close. It is what a program takes up again when it starts, in new jobs with the same Key. A job that was refused
// while another with its Key ran does not hide that one: it ended before.
func (m *Manager) Interrupted() []Job {
	last := map[string]Job{}
	for _, j := range m.List() {
		if before, ok := last[j.Key]; j.Key != "" && (!ok || endedLater(j, before)) {
			last[j.Key] = j
		}
	}
	maps.DeleteFunc(last, func(_ string, j Job) bool { return !j.Interrupted })
	return slices.SortedFunc(maps.Values(last), func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
}

// endedLater tells whether j ended later than a job with a lower id, or has not ended.
func endedLater(j, before Job) bool {
	return !j.State.Final() || before.State.Final() && j.Rev > before.Rev // by the clock it might not be
}

// Abort stops a job with ErrAborted, and does not wait for it. A job that has ended is left as it is. For an id that names no
// job it returns ErrNotFound.
func (m *Manager) Abort(id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.findLocked(id)
	if err != nil {
		return err
	}
	if !e.settled {
		m.stopLocked(e, ErrAborted)
	}
	return nil
}

// Wait returns a job when it has ended. For an id that names no job it returns ErrNotFound.
func (m *Manager) Wait(ctx context.Context, id int64) (Job, error) {
	m.mu.Lock()
	e, err := m.findLocked(id)
	m.mu.Unlock()
	if err != nil {
		return Job{}, err
	}
	select {
	case <-ctx.Done():
		return Job{}, context.Cause(ctx)
	case <-e.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		return e.job, nil
	}
}

// OpenLog opens the log of a job, also of one that runs, as far as it is written. The caller closes it. It returns ErrNotFound or
// ErrNoLog.
func (m *Manager) OpenLog(id int64) (io.ReadCloser, error) {
	j, err := m.Get(id)
	if err != nil {
		return nil, err
	}
	if j.LogsPath == "" {
		return nil, fmt.Errorf("%w: %d", ErrNoLog, id)
	}
	f, err := os.Open(j.LogsPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d", ErrNoLog, id)
	}
	if err != nil {
		return nil, fmt.Errorf("log of job %d: %w", id, err)
	}
	return f, nil
}
