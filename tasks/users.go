package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zferry/zferry/store"
)

// UsersOf implements keychain.Users.
func (s *Service) UsersOf(ctx context.Context, connection int64) ([]string, error) {
	list, err := s.List(ctx)
	var names []string
	for _, e := range list {
		if c := e.Definition.SSHCredentials; c != nil && *c == connection {
			names = append(names, e.Definition.Name)
		}
	}
	return names, err
}

// Release implements keychain.Users: each user of the connection is disabled and loses it.
func (s *Service) Release(ctx context.Context, connection int64) error {
	list, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		if c := e.Definition.SSHCredentials; c == nil || *c != connection {
			continue
		}
		if err := s.release(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) release(ctx context.Context, e Entry) error {
	s.tell.Lock()
	defer s.tell.Unlock()
	d := e.Definition
	d.SSHCredentials, d.Enabled = nil, false
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("task: %w", err)
	}
	err = s.store.UpdateTask(ctx, store.Task{ID: e.ID, Name: d.Name, Enabled: false, Data: data})
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err == nil {
		e, err = s.Get(ctx, e.ID)
	}
	if err == nil {
		s.notify(Change{Msg: "changed", Entry: e}) // here TrueNAS tells nobody (decisions 30)
	}
	return err
}
