package keychain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/store"
)

// Users are what uses SSH connections: replication tasks.
type Users interface {
	// UsersOf names the tasks that use a connection.
	UsersOf(ctx context.Context, connection int64) ([]string, error)
	// Release disables them and takes the connection from them.
	Release(ctx context.Context, connection int64) error
}

// Service is the keychain. Its methods may be called from any goroutine. Errors: faults.List for what a user can mend,
// *faults.NotFound for an id that names nothing, those of package store.
type Service struct{ store *store.Store }

// New returns the keychain that s keeps.
func New(s *store.Store) *Service { return &Service{store: s} }

// List returns every credential, by id.
func (s *Service) List(ctx context.Context) ([]Credential, error) {
	rows, err := s.store.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Credential, len(rows))
	for i, row := range rows {
		if list[i], err = fromRow(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Get returns one credential.
func (s *Service) Get(ctx context.Context, id int64) (Credential, error) {
	row, err := s.store.Credential(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Credential{}, &faults.NotFound{Kind: "KeychainCredential", ID: id}
	}
	if err != nil {
		return Credential{}, err
	}
	return fromRow(row)
}

// Create keeps a credential. A key pair without a public key gets it from the private one.
func (s *Service) Create(ctx context.Context, c Credential) (Credential, error) {
	taken, err := s.Taken(ctx, c.Name)
	if err != nil {
		return c, err
	}
	if taken {
		return c, faults.List{{Field: "name", Text: "Object with this name already exists"}}
	}
	bad := c.check()
	if c.Type == TypeConnection {
		if fault := s.pairFault(ctx, c.Connection.KeyPair); fault != "" {
			bad.Addf("attributes.private_key", "%s", fault)
		}
	}
	if err := bad.Err(); err != nil {
		return c, err
	}
	attributes, err := json.Marshal(c.attributes())
	if err != nil {
		return c, fmt.Errorf("credential: %w", err)
	}
	c.ID, err = s.store.AddCredential(ctx, store.Credential{Name: c.Name, Type: string(c.Type), Attributes: attributes})
	if errors.Is(err, store.ErrExist) { // somebody else was faster
		return c, faults.List{{Field: "name", Text: "Object with this name already exists"}}
	}
	return c, err
}

// Taken tells whether a credential has that name.
func (s *Service) Taken(ctx context.Context, name string) (bool, error) {
	rows, err := s.store.Credentials(ctx)
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		if row.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// pairFault tells why id is not a key pair to log in with, "" if it is.
func (s *Service) pairFault(ctx context.Context, id int64) string {
	pair, err := s.Get(ctx, id)
	switch {
	case err != nil:
		return "SSH Key Pair not found"
	case pair.Type != TypeKeyPair:
		return fmt.Sprintf("Credential '%s' is not a key pair", pair.Name)
	case pair.KeyPair.Private == "":
		return fmt.Sprintf("Key pair '%s' has no private key to log in with", pair.Name)
	}
	return ""
}

// Delete removes a credential. One that is in use is removed only with cascade: what uses it is removed too, or disabled if
// it is a task (truenas-api.md 4.4); users are those tasks.
func (s *Service) Delete(ctx context.Context, id int64, cascade bool, users Users) error {
	c, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	connections, tasks, err := s.usersOf(ctx, c, users)
	if err != nil {
		return err
	}
	if len(connections)+len(tasks) > 0 && !cascade {
		return faults.List{{Field: "options.cascade", Text: "This credential is used and no cascade option is specified"}}
	}
	for _, dependent := range connections {
		if err := s.Delete(ctx, dependent, true, users); err != nil {
			return err
		}
	}
	if len(tasks) > 0 {
		if err := users.Release(ctx, id); err != nil {
			return err
		}
	}
	return s.store.DeleteCredential(ctx, id)
}

// usersOf lists what uses c: connections of a key pair, tasks of a connection.
func (s *Service) usersOf(ctx context.Context, c Credential, users Users) (connections []int64, tasks []string, err error) {
	if c.Type == TypeConnection {
		tasks, err = users.UsersOf(ctx, c.ID)
		return nil, tasks, err
	}
	all, err := s.List(ctx)
	for _, other := range all {
		if other.Type == TypeConnection && other.Connection.KeyPair == c.ID {
			connections = append(connections, other.ID)
		}
	}
	return connections, nil, err
}

// Config is how the host of a connection is dialled. It is read anew for each run, so that a change counts at once. The
// texts of its errors are those of truenas-api.md 5.6.
func (s *Service) Config(ctx context.Context, connection int64) (ssh.Config, error) {
	c, err := s.Get(ctx, connection)
	if err != nil {
		if faults.Is(err) {
			err = errors.New("Credential does not exist")
		}
		return ssh.Config{}, err
	}
	if c.Type != TypeConnection {
		return ssh.Config{}, errors.New("Credential is not of type SSH_CREDENTIALS")
	}
	if fault := s.pairFault(ctx, c.Connection.KeyPair); fault != "" {
		return ssh.Config{}, fmt.Errorf("Error while querying SSH key pair for credentials %d: %s", connection, fault) //nolint:staticcheck // the wording of the API
	}
	pair, err := s.Get(ctx, c.Connection.KeyPair)
	return c.Connection.config(pair.KeyPair.Private), err
}

// attributes is what is kept sealed.
func (c *Credential) attributes() any {
	if c.Type == TypeKeyPair {
		return c.KeyPair
	}
	return c.Connection
}

func fromRow(row store.Credential) (Credential, error) {
	c := Credential{ID: row.ID, Name: row.Name, Type: Type(row.Type)}
	var into any = &c.Connection
	if c.Type == TypeKeyPair {
		into = &c.KeyPair
	}
	if err := json.Unmarshal(row.Attributes, into); err != nil {
		return c, fmt.Errorf("credential %d: what is kept of it cannot be read", row.ID)
	}
	return c, nil
}
