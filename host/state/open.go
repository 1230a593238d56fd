package state

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// connect opens the file with the driver's options. One connection is enough for a host, and saves every question of
// order between several.
func connect(file, options string) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Path: file, RawQuery: options}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, fmt.Errorf("database of the host: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// examine looks at a file that is there before anything may write to it. It is opened for reading only, so that a file
// that is not ours, or not sound, stays as it is.
func examine(ctx context.Context, file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil // an empty file is what a first start left that was cut off
	}
	if err != nil {
		return fmt.Errorf("database of the host: %w", err)
	}
	db, err := connect(file, "mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return fmt.Errorf("%s %w (%v): it was left as it is", file, ErrDamaged, err)
	}
	if found != "ok" {
		return fmt.Errorf("%s %w (%s): it was left as it is", file, ErrDamaged, found)
	}
	var tables, versions int
	err = db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN name = 'goose_db_version' THEN 1 END) FROM sqlite_master").Scan(&tables, &versions)
	if err != nil {
		return fmt.Errorf("%s %w (%v): it was left as it is", file, ErrDamaged, err)
	}
	if tables == 0 {
		return nil
	}
	if versions == 0 {
		return fmt.Errorf("%s %w (it is a database of another program): it was left as it is", file, ErrDamaged)
	}
	return checkVersion(ctx, db, file)
}

func checkVersion(ctx context.Context, db *sql.DB, file string) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	var have int64
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&have); err != nil {
		return fmt.Errorf("%s %w (%v): it was left as it is", file, ErrDamaged, err)
	}
	sources := p.ListSources()
	if known := sources[len(sources)-1].Version; have > known {
		return fmt.Errorf("%s %w: it has version %d, and this program knows %d", file, ErrNewer, have, known)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring to this program's version: %w", err)
	}
	return nil
}
