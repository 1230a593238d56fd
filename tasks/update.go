package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/store"
)

// Update changes a task: change makes the new definition of the one that there is, and may refuse to. The new one is checked
// as a whole. A run that is under way goes on as it began (decisions 19).
func (s *Service) Update(ctx context.Context, id int64, change func(Definition) (Definition, error)) (Entry, error) {
	s.tell.Lock() // so that what was read is still what is replaced
	defer s.tell.Unlock()
	e, err := s.Get(ctx, id)
	if err != nil {
		return e, err
	}
	d, err := change(e.Definition)
	if err != nil {
		return e, err
	}
	bad, err := s.check(ctx, id, &d)
	if err != nil {
		return e, err
	}
	if err := bad.Err(); err != nil {
		return e, err
	}
	data, err := json.Marshal(d)
	if err != nil {
		return e, fmt.Errorf("task: %w", err)
	}
	err = s.store.UpdateTask(ctx, store.Task{ID: id, Name: d.Name, Enabled: d.Enabled, Data: data})
	switch {
	case errors.Is(err, store.ErrExist):
		return e, faults.List{nameTaken()}
	case errors.Is(err, store.ErrNotFound):
		return e, &faults.NotFound{Kind: "Replication", ID: id}
	case err != nil:
		return e, err
	}
	if e, err = s.Get(ctx, id); err != nil {
		return e, err
	}
	s.notify(Change{Msg: "changed", Entry: e})
	return e, nil
}
