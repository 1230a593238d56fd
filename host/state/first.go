package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The first administrator.
const (
	adminName = "admin"
	adminRole = "FULL_ADMIN"
	adminKey  = "first start"
)

// firstStart makes the administrator and the API key of a database without users. The key's file gets its name only after
// the database has the key, so that a first start that was cut off at any point is simply done again.
func (s *Store) firstStart(ctx context.Context) error {
	draft := s.keyFile + ".new"
	var users int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM users").Scan(&users); err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	if users > 0 {
		// The draft is there only if the power went before it got its name.
		if err := place(draft, s.keyFile); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrExist) {
			return err
		}
		return nil
	}
	if _, err := os.Lstat(s.keyFile); err == nil {
		return fmt.Errorf("%s %w, but its database is new: move the file away", s.keyFile, ErrExist)
	}
	secret := newSecret()
	v, err := newVerifier(secret)
	if err != nil {
		return err
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if _, err := addUser(ctx, tx, User{Name: adminName, FullName: "Administrator", Roles: []string{adminRole}}); err != nil {
			return err
		}
		key, err := addKey(ctx, tx, adminName, adminKey, v)
		if err != nil {
			return err
		}
		return writeDraft(draft, keyText(key, secret)+"\n")
	})
	if err != nil {
		return err
	}
	return place(draft, s.keyFile)
}

// writeDraft writes a new file of mode 0600 and makes sure that it is on disk.
func writeDraft(name, text string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	return nil
}

// place gives the draft its name, unless there is a file of that name.
func place(draft, name string) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s %w", name, ErrExist)
	}
	if err := os.Rename(draft, name); err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	return nil
}
