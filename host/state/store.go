// Package state keeps what the embedded host itself must remember: its users and their API keys, the plugins that it knows,
// and the number of its last job. All of it is in one SQLite file, and all SQL of the host is here.
package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	fileName    = "host.db"
	lockName    = "host.lock"
	keyFileName = "admin-api-key"
)

// Errors that callers tell apart. None of them has changed a file that was there.
var (
	ErrDamaged = errors.New("is damaged")
	ErrNewer   = errors.New("was written by a newer version of this program")
	ErrInUse   = errors.New("is in use by another process")
	ErrKey     = errors.New("no such API key")
	ErrExist   = errors.New("exists already")
	ErrNoUser  = errors.New("no such user")
	ErrFull    = errors.New("there can be no more")
)

// Store is the open file. Its methods may be called from any goroutine.
type Store struct {
	db      *sql.DB
	lock    *os.File
	keyFile string
	hashing chan struct{} // limits how many keys are checked at once: each takes a processor for some time
}

// Open opens DIR/host.db, after making both if they are missing. At the first start it makes the user "admin" with the role
// FULL_ADMIN and an API key for it, which it writes to KeyFile. One process at a time may have a folder open.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the host: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock, keyFile: filepath.Join(dir, keyFileName), hashing: make(chan struct{}, 2)}
	if err := s.open(ctx, filepath.Join(dir, fileName)); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, file string) error {
	if err := examine(ctx, file); err != nil {
		return err
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	s.db, err = connect(file, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		return err
	}
	if err := migrate(ctx, s.db); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return s.firstStart(ctx)
}

// KeyFile is where the first administrator's API key was written at the first start. It may have been removed since.
func (s *Store) KeyFile() string { return s.keyFile }

// Close closes the file and lets go of the folder.
func (s *Store) Close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// lockFolder makes sure that no second host works on the folder. The lock ends with the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("folder of the host: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// write runs fn in a transaction, which is undone if fn fails.
func (s *Store) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	return nil
}

// NextJobID gives out the next id for a job of the host's own: multiples of step, none of them twice, over all restarts.
func (s *Store) NextJobID(ctx context.Context, step int64) (int64, error) {
	var id int64
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		id, err = count(ctx, tx, "job_id", step)
		return err
	})
	return id, err
}

// count raises a counter to its next multiple of step and returns it. A counter that is not there is 0.
func count(ctx context.Context, tx *sql.Tx, name string, step int64) (int64, error) {
	var last int64
	err := tx.QueryRowContext(ctx, "SELECT value FROM counters WHERE name = ?", name).Scan(&last)
	next := (last/step + 1) * step
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.ExecContext(ctx, "INSERT INTO counters (name, value) VALUES (?, ?)", name, next)
	case err == nil:
		_, err = tx.ExecContext(ctx, "UPDATE counters SET value = ? WHERE name = ?", next, name)
	}
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	return next, nil
}
