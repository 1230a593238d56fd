package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// connect returns a pool of connections. None is made yet.
func connect(path string, conns int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	db, err := sql.Open("sqlite", dsn(path, q))
	if err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func dsn(path string, q url.Values) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// prepare sees to it that there is a sound database that this program knows. It changes nothing about one that is not.
func prepare(ctx context.Context, path string, migrations fs.FS) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		if size(path+"-wal") > 0 {
			return damaged(path, "the file is missing, but not "+dbName+"-wal")
		}
		return create(ctx, path, migrations)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return damaged(path, "the file is empty or no file") // create leaves none that is
	}
	return inspect(ctx, path, migrations)
}

// size returns the size of a file, -1 if there is none.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

// create makes a database under another name first, so that one that is there is complete.
func create(ctx context.Context, path string, migrations fs.FS) error {
	begun := path + ".new"
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(begun + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := writeFile(begun, nil); err != nil { // SQLite takes over its mode
		return err
	}
	db, err := connect(begun, 1, "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return err
	}
	if err := errors.Join(migrate(ctx, db, migrations), db.Close()); err != nil {
		return fmt.Errorf("make %s: %w", path, classify(begun, err))
	}
	return publish(begun, path)
}

// writeFile makes a file that only we may read, and brings it to the disk.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return full(err)
	}
	_, err = f.Write(data)
	return full(errors.Join(err, f.Sync(), f.Close()))
}

// publish gives a file that is on the disk its name.
func publish(begun, path string) error {
	if err := os.Rename(begun, path); err != nil {
		return full(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return full(dir.Sync())
}

// inspect looks at a database without changing it.
func inspect(ctx context.Context, path string, migrations fs.FS) error {
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}
	immutable := size(path+"-wal") <= 0 // everything is in the one file
	switch {
	case immutable:
		q.Set("immutable", "1") // makes no other file
	case size(path+"-shm") >= 0:
		q.Set("readonly_shm", "1")
	default:
		defer func() { _ = os.Remove(path + "-shm") }() // which reading makes; it holds nothing that lasts
	}
	db, err := sql.Open("sqlite", dsn(path, q))
	if err != nil {
		return fmt.Errorf("%s: %v", path, err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var report string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&report); err != nil {
		return fmt.Errorf("check %s: %w", path, classify(path, err))
	}
	if report != "ok" {
		return damaged(path, strings.ReplaceAll(report, "\n", " "))
	}
	if immutable {
		// What is missing of the last page reads as zeros, which may do as a page.
		var page int64
		if err := db.QueryRowContext(ctx, "PRAGMA page_size").Scan(&page); err != nil {
			return fmt.Errorf("check %s: %w", path, classify(path, err))
		}
		if size(path)%page != 0 {
			return damaged(path, "it ends within a page")
		}
	}
	version, err := schema(ctx, db)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, classify(path, err))
	}
	p, err := provider(db, migrations)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if known := sources[len(sources)-1].Version; version > known {
		return fmt.Errorf("%s: %w (its schema is %d, this program knows %d); its files were left as they are: start the newer "+
			"version again, or put back %s", path, ErrNewer, version, known, filepath.Base(copyName(path, known)))
	}
	return nil
}

// schema returns the version of a database.
func schema(ctx context.Context, db *sql.DB) (version int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+goose.DefaultTablename).Scan(&version)
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == codes.SQLITE_ERROR { // there is no such table
		return 0, errForeign
	}
	return version, err
}

// errForeign is classified as damage.
var errForeign = errors.New("it is no database of this program")

func provider(db *sql.DB, migrations fs.FS) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectSQLite3, db, migrations,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	p, err := provider(db, migrations)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

func copyName(path string, version int64) string { return fmt.Sprintf("%s.v%d", path, version) }

// upgrade brings an older database to the newest schema. A copy of it stays beside it.
func (s *Store) upgrade(ctx context.Context, migrations fs.FS) error {
	const what = "upgrade database"
	p, err := provider(s.writer, migrations)
	if err != nil {
		return err
	}
	if pending, err := p.HasPending(ctx); err != nil || !pending {
		return s.explain(what, err)
	}
	version, err := schema(ctx, s.writer)
	if err != nil {
		return s.explain(what, err)
	}
	begun := s.path + ".copy"
	if err := os.Remove(begun); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeFile(begun, nil); err != nil {
		return err
	}
	_, err = s.writer.ExecContext(ctx, "VACUUM INTO $1", begun)
	if err == nil {
		err = cmp.Or(syncFile(begun), publish(begun, copyName(s.path, version)))
	}
	if err == nil {
		_, err = p.Up(ctx)
	}
	return s.explain(what, err)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
