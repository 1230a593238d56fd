package keychain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

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
type Service struct {
	store *store.Store
	mu    sync.Mutex // held from reading what is to be changed to writing it
}

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
	row, err := s.checked(ctx, &c)
	if err != nil {
		return c, err
	}
	c.ID, err = s.store.AddCredential(ctx, row)
	if errors.Is(err, store.ErrExist) { // somebody else was faster
		return c, nameTaken()
	}
	return c, err
}

// Update changes the name of a credential, if there is one, and lets change make its attributes anew; nil leaves them. What is
// changed counts from the next connection on.
func (s *Service) Update(ctx context.Context, id int64, name *string, change func(*Credential) error) (Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.Get(ctx, id)
	if err != nil {
		return c, err
	}
	if name != nil {
		c.Name = *name
	}
	if change != nil {
		if err := change(&c); err != nil {
			return c, err
		}
	}
	row, err := s.checked(ctx, &c)
	if err != nil {
		return c, err
	}
	err = s.store.UpdateCredential(ctx, row)
	switch {
	case errors.Is(err, store.ErrExist):
		return c, nameTaken()
	case errors.Is(err, store.ErrNotFound): // deleted meanwhile
		return c, &faults.NotFound{Kind: "KeychainCredential", ID: id}
	}
	return c, err
}

// checked completes c and gives it as it is kept, or what is wrong with it (truenas-api.md 4.3). Its own name is free to it.
func (s *Service) checked(ctx context.Context, c *Credential) (store.Credential, error) {
	taken, err := s.taken(ctx, c.Name, c.ID)
	if err != nil {
		return store.Credential{}, err
	}
	if taken {
		return store.Credential{}, nameTaken()
	}
	bad := c.check()
	if c.Type == TypeConnection {
		if err := s.checkPair(ctx, &bad, "attributes.private_key", c.Connection.KeyPair); err != nil {
			return store.Credential{}, err
		}
	}
	if err := bad.Err(); err != nil {
		return store.Credential{}, err
	}
	attributes, err := json.Marshal(c.attributes())
	if err != nil {
		return store.Credential{}, fmt.Errorf("credential: %w", err)
	}
	return store.Credential{ID: c.ID, Name: c.Name, Type: string(c.Type), Attributes: attributes}, nil
}

func nameTaken() faults.List {
	return faults.List{{Field: "name", Text: "Object with this name already exists"}}
}

// Taken tells whether a credential has that name.
func (s *Service) Taken(ctx context.Context, name string) (bool, error) { return s.taken(ctx, name, 0) }

// taken passes over the credential except.
func (s *Service) taken(ctx context.Context, name string, except int64) (bool, error) {
	rows, err := s.store.Credentials(ctx)
	return slices.ContainsFunc(rows, func(row store.Credential) bool { return row.Name == name && row.ID != except }), err
}

// checkPair adds a fault if id is not a key pair to log in with.
func (s *Service) checkPair(ctx context.Context, bad *faults.List, field string, id int64) error {
	pair, err := s.Get(ctx, id)
	switch {
	case faults.Is(err):
		bad.Addf(field, "SSH Key Pair not found")
	case err != nil:
		return err
	case pair.Type != TypeKeyPair:
		bad.Addf(field, "Credential '%s' is not a key pair", pair.Name)
	case pair.KeyPair.Private == "":
		bad.Addf(field, "Key pair '%s' has no private key to log in with", pair.Name)
	}
	return nil
}

// Delete removes a credential. One that is in use is removed only with cascade: what uses it is removed too, or disabled if
// it is a task (truenas-api.md 4.4); users are those tasks. removed lists what is gone in this order, also after an error.
func (s *Service) Delete(ctx context.Context, id int64, cascade bool, users Users) (removed []int64, err error) {
	c, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	connections, tasks, err := s.usersOf(ctx, c, users)
	if err != nil {
		return nil, err
	}
	if len(connections)+len(tasks) > 0 && !cascade {
		return nil, faults.List{{Field: "options.cascade", Text: "This credential is used and no cascade option is specified"}}
	}
	for _, dependent := range connections {
		gone, err := s.Delete(ctx, dependent, true, users)
		removed = append(removed, gone...)
		if err != nil {
			return removed, err
		}
	}
	if len(tasks) > 0 {
		if err := users.Release(ctx, id); err != nil {
			return removed, err
		}
	}
	if err := s.store.DeleteCredential(ctx, id); err != nil {
		return removed, err
	}
	return append(removed, id), nil
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
	private, err := s.privateKey(ctx, c.Connection.KeyPair)
	if err != nil {
		return ssh.Config{}, fmt.Errorf("Error while querying SSH key pair for credentials %d: %w", connection, err) //nolint:staticcheck // likewise
	}
	if err := c.hostKey(); err != nil {
		return ssh.Config{}, err
	}
	return c.Connection.config(private), nil
}

// privateKey is the key of a pair to log in with. Its errors begin as truenas-api.md 5.6 wants it.
func (s *Service) privateKey(ctx context.Context, id int64) (string, error) {
	pair, err := s.Get(ctx, id)
	switch {
	case faults.Is(err):
		return "", errors.New("[ENOENT] Credential does not exist")
	case err != nil:
		return "", fmt.Errorf("[EFAULT] %w", err)
	case pair.Type != TypeKeyPair:
		return "", errors.New("[EINVAL] Credential is not of type SSH_KEY_PAIR")
	case pair.KeyPair.Private == "":
		return "", fmt.Errorf("Key pair '%s' has no private key to log in with", pair.Name) //nolint:staticcheck // a sentence of a state
	}
	return pair.KeyPair.Private, nil
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
