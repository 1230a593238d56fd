package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/store"
)

// jobStore keeps jobs in the plugin's state. It remembers when there was no room: then new runs are refused, and health says
// so.
type jobStore struct {
	store *store.Store

	mu   sync.Mutex // guards the field below
	full error
}

// Load implements jobs.Store.
func (s *jobStore) Load(ctx context.Context) (list []jobs.Job, lastID int64, lastRev uint64, err error) {
	rows, lastID, lastRev, err := s.store.LoadJobs(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	list = make([]jobs.Job, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row.Data, &list[i]); err != nil {
			return nil, 0, 0, fmt.Errorf("job %d: what is kept of it cannot be read: %w", row.ID, err)
		}
	}
	return list, lastID, lastRev, nil
}

// Insert implements jobs.Store.
func (s *jobStore) Insert(ctx context.Context, j jobs.Job) error {
	return s.write(ctx, j, s.store.InsertJob)
}

// Update implements jobs.Store.
func (s *jobStore) Update(ctx context.Context, j jobs.Job) error {
	return s.write(ctx, j, s.store.UpdateJob)
}

// Delete implements jobs.Store.
func (s *jobStore) Delete(ctx context.Context, ids []int64) error {
	return s.note(s.store.DeleteJobs(ctx, ids))
}

func (s *jobStore) write(ctx context.Context, j jobs.Job, do func(context.Context, store.Job) error) error {
	data, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("job %d: %w", j.ID, err)
	}
	return s.note(do(ctx, store.Job{ID: j.ID, Rev: j.Rev, State: string(j.State), Finished: j.Finished, Data: data}))
}

// note remembers whether there was room.
func (s *jobStore) note(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrFull):
		s.full = err
	case err == nil:
		s.full = nil
	}
	return err
}

// trouble says why new runs are refused, "" if they are not.
func (s *jobStore) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		return ""
	}
	return fmt.Sprintf("new runs are refused until there is room: %v", s.full)
}
