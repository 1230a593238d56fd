// Package store keeps the plugin's state in SQLite: tasks, credentials, jobs, run history and counters. Secrets are sealed
// with a key that lies in a file beside the database. All SQL of the plugin is here.
package store

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	dbName  = "zferry.db"
	keyName = "secret.key"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Store is an open database. Its methods may be called from any goroutine. Each that writes does so in one transaction, which
// is on disk when it returns, or has left nothing behind if it returns an error.
type Store struct {
	path   string
	seals  cipher.AEAD
	writer *sql.DB // one connection
	reader *sql.DB
}

// Open opens the database zferry.db in dir with the key file secret.key. What is missing of them, and the folder, is made. The
// caller sees to it that no other process has the folder. Errors to expect are ErrDamaged, ErrNewer, ErrKey and ErrFull;
// their texts say what can be done.
func Open(ctx context.Context, dir string) (*Store, error) {
	migrations, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, err
	}
	return open(ctx, dir, migrations)
}

func open(ctx context.Context, dir string, migrations fs.FS) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the database: %w", full(err))
	}
	path := filepath.Join(dir, dbName)
	if err := prepare(ctx, path, migrations); err != nil {
		return nil, err
	}
	s := &Store{path: path}
	if s.writer, err = connect(path, 1, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"); err != nil {
		return nil, err
	}
	if s.reader, err = connect(path, 4, "query_only(1)"); err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	if err = s.upgrade(ctx, migrations); err == nil {
		err = s.unlock(ctx, filepath.Join(dir, keyName))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the database.
func (s *Store) Close() error {
	// The last connection to be closed brings everything into the one file, which needs one that may write.
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// write runs fn in a transaction.
func (s *Store) write(ctx context.Context, what string, fn func(*sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(what, err)
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback() // nothing is left of a transaction that was not committed, whatever becomes of this
		return s.explain(what, err)
	}
	return s.explain(what, tx.Commit())
}

// change runs a statement that must meet a row.
func change(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	r, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// collect runs a query and scans its rows.
func collect[T any](ctx context.Context, s *Store, what string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.explain(what, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, s.explain(what, err)
		}
		all = append(all, row)
	}
	return all, s.explain(what, rows.Err())
}

// only returns the one row that there can be.
func only[T any](what string, rows []T, err error) (row T, _ error) {
	if err != nil {
		return row, err
	}
	if len(rows) == 0 {
		return row, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return rows[0], nil
}
