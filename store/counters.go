package store

import (
	"context"
	"database/sql"
	"errors"
)

// The counters that other tables need never go back.
const (
	lastJob = "job_id"
	lastRev = "job_rev"
)

// Counter returns a number that SetCounter left, or 0.
func (s *Store) Counter(ctx context.Context, name string) (value int64, err error) {
	err = s.reader.QueryRowContext(ctx, `SELECT value FROM counters WHERE name = $1`, "own/"+name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return value, s.explain("counter "+name, err)
}

// SetCounter keeps a number under a name.
func (s *Store) SetCounter(ctx context.Context, name string, value int64) error {
	return s.write(ctx, "set counter "+name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO counters (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, "own/"+name, value)
		return err
	})
}

// next counts up and returns the new number.
func next(ctx context.Context, tx *sql.Tx, name string) (value int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO counters (name, value) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value`, name).Scan(&value)
	return value, err
}

// raise sets a counter to the value unless it is higher.
func raise(ctx context.Context, tx *sql.Tx, name string, value int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO counters (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`, name, value)
	return err
}
