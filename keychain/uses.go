package keychain

import "context"

// Use is something that uses a credential, and what removing that does to it (truenas-api.md 4.4).
type Use struct {
	Title  string
	Unbind string // delete or disable
}

// UsedBy lists what uses a credential, and after each SSH connection what uses that.
func (s *Service) UsedBy(ctx context.Context, id int64, users Users) ([]Use, error) {
	c, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	connections, tasks, err := s.usersOf(ctx, c, users)
	if err != nil {
		return nil, err
	}
	uses := []Use{}
	for _, id := range connections {
		dependent, err := s.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		more, err := s.UsedBy(ctx, id, users)
		if err != nil {
			return nil, err
		}
		uses = append(append(uses, Use{"SSH credentials " + dependent.Name, "delete"}), more...)
	}
	for _, task := range tasks {
		uses = append(uses, Use{"Replication task " + task, "disable"})
	}
	return uses, nil
}
