package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/store"
)

// Entry is a task with its number and state.
type Entry struct {
	ID         int64
	Definition Definition
	State      State
}

// Change is what has become of a task.
type Change struct {
	Msg   string // added, changed or removed
	Entry Entry  // of removed, only its ID
	State bool   // only the state has changed
}

// Keychain finds SSH connections. *keychain.Service is one.
type Keychain interface {
	Config(ctx context.Context, connection int64) (ssh.Config, error)
}

// Config is what a Service works with.
type Config struct {
	Store    *store.Store
	Keychain Keychain
	Dir      string // of the plugin's state
	ZFS      string // program of this system; "" is zfs in PATH
	// Notify, if not nil, is told of every change, in order. It is called under a lock: it must not block, and must not call
	// the Service.
	Notify func(Change)
	Log    *slog.Logger
}

// Service is the replication tasks. Its methods may be called from any goroutine. Errors: faults.List for what a user can
// mend, *faults.NotFound for an id that names nothing, those of package store.
type Service struct {
	store    *store.Store
	keychain Keychain
	zfs      string
	journal  *journal
	dialer   *ssh.Dialer
	notify   func(Change)
	log      *slog.Logger

	// tell is held over each change and its Notify, so that nothing is told of a task after it was removed; taken before mu.
	tell sync.Mutex

	mu    sync.Mutex // guards what follows
	live  map[int64]*live
	holds map[int64]State // of the tasks that are on hold, as far as anybody has asked
}

// live is a run that is under way.
type live struct {
	job     int64
	state   State
	deleted bool // the task is gone
}

// New returns the tasks that cfg.Store keeps.
func New(cfg Config) (*Service, error) {
	files, err := replication.NewFileJournal(filepath.Join(cfg.Dir, "processes"))
	if err != nil {
		return nil, err
	}
	if cfg.Notify == nil {
		cfg.Notify = func(Change) {}
	}
	return &Service{
		store: cfg.Store, keychain: cfg.Keychain, zfs: cfg.ZFS, journal: &journal{Journal: files, left: make(map[string]bool)}, dialer: new(ssh.Dialer),
		notify: cfg.Notify, log: cfg.Log, live: make(map[int64]*live), holds: make(map[int64]State),
	}, nil
}

// List returns every task, by id.
func (s *Service) List(ctx context.Context) ([]Entry, error) {
	rows, err := s.store.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, len(rows))
	for i, row := range rows {
		if list[i], err = s.entry(ctx, row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Get returns one task.
func (s *Service) Get(ctx context.Context, id int64) (Entry, error) {
	row, err := s.store.Task(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Entry{}, &faults.NotFound{Kind: "Replication", ID: id}
	}
	if err != nil {
		return Entry{}, err
	}
	return s.entry(ctx, row)
}

// entry joins what is kept of a task with its state.
func (s *Service) entry(ctx context.Context, row store.Task) (Entry, error) {
	e := Entry{ID: row.ID}
	if err := json.Unmarshal(row.Data, &e.Definition); err != nil {
		return e, fmt.Errorf("task %d: what is kept of it cannot be read: %w", row.ID, err)
	}
	e.Definition.Name, e.Definition.Enabled = row.Name, row.Enabled
	s.mu.Lock()
	run := s.live[row.ID]
	if run != nil {
		e.State = run.state
	}
	s.mu.Unlock()
	if run != nil {
		return e, nil
	}
	data, err := s.store.TaskState(ctx, row.ID)
	if err != nil {
		return e, err
	}
	e.State = decodeState(data)
	reason := s.held(ctx, &e.Definition)
	if ctx.Err() != nil {
		return e, context.Cause(ctx)
	}
	if hold, on := s.hold(row.ID, reason); on {
		e.State = hold
	}
	return e, nil
}

// hold is the state of a task that is on hold for a reason, which lasts as long as the reason; on is false for none.
func (s *Service) hold(id int64, reason string) (state State, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason == "" {
		delete(s.holds, id)
		return State{}, false
	}
	if s.holds[id].Reason != reason {
		s.holds[id] = State{Phase: Hold, At: time.Now(), Reason: reason}
	}
	return s.holds[id], true
}

// held is why a task cannot run at all, "" if it can (truenas-api.md 5.6).
func (s *Service) held(ctx context.Context, d *Definition) string {
	if !d.Remote() {
		return ""
	}
	if d.SSHCredentials == nil {
		return "You should pass SSH credentials for SSH transport."
	}
	if _, err := s.keychain.Config(ctx, *d.SSHCredentials); err != nil {
		return sentence(err)
	}
	return ""
}

// Create keeps a new task, if nothing is wrong with it.
func (s *Service) Create(ctx context.Context, d Definition) (Entry, error) {
	bad, err := s.check(ctx, 0, &d)
	if err != nil {
		return Entry{}, err
	}
	if err := bad.Err(); err != nil {
		return Entry{}, err
	}
	data, err := json.Marshal(d)
	if err != nil {
		return Entry{}, fmt.Errorf("task: %w", err)
	}
	id, err := s.store.AddTask(ctx, store.Task{Name: d.Name, Enabled: d.Enabled, Data: data})
	if errors.Is(err, store.ErrExist) {
		return Entry{}, faults.List{nameTaken()}
	}
	if err != nil {
		return Entry{}, err
	}
	s.tell.Lock()
	defer s.tell.Unlock()
	e, err := s.Get(ctx, id)
	if err == nil {
		s.notify(Change{Msg: "added", Entry: e})
	}
	return e, err
}

func nameTaken() faults.Fault {
	return faults.Fault{Field: "name", Text: "Object with this name already exists"}
}

// check finds everything that is wrong with d, in the order of truenas-api.md 3.3. id is the task that d is to become the
// definition of, 0 for a new one.
func (s *Service) check(ctx context.Context, id int64, d *Definition) (faults.List, error) {
	var around Around
	if !d.OneTime {
		rows, err := s.store.Tasks(ctx)
		if err != nil {
			return nil, err
		}
		around.NameTaken = slices.ContainsFunc(rows, func(row store.Task) bool { return row.ID != id && row.Name == d.Name })
	}
	if d.Remote() && d.SSHCredentials != nil {
		if _, err := s.keychain.Config(ctx, *d.SSHCredentials); err != nil {
			around.Connection = bracketed(err)
		}
	}
	return d.Check(around), nil
}

// bracketed is rule 21 of truenas-api.md 3.3.
func bracketed(err error) string {
	switch text := err.Error(); text {
	case "Credential does not exist":
		return "[ENOENT] " + text
	case "Credential is not of type SSH_CREDENTIALS":
		return "[EINVAL] " + text
	default:
		return "[EFAULT] " + text
	}
}

// Delete removes a task; no data is touched. The job of a run that is under way is returned, 0 if there is none: the caller
// aborts it (decisions 19).
func (s *Service) Delete(ctx context.Context, id int64) (job int64, err error) {
	s.tell.Lock()
	defer s.tell.Unlock()
	err = s.store.DeleteTask(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, &faults.NotFound{Kind: "Replication", ID: id}
	}
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	delete(s.holds, id)
	if run := s.live[id]; run != nil {
		job, run.deleted = run.job, true
	}
	s.mu.Unlock()
	s.notify(Change{Msg: "removed", Entry: Entry{ID: id}})
	return job, nil
}
