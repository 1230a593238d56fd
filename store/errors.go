package store

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

var (
	// ErrDamaged means that the database cannot be trusted. Open leaves its files as they are.
	ErrDamaged = errors.New("database is damaged")
	// ErrNewer means that the database was made by a newer version of the program. Open leaves its files as they are.
	ErrNewer = errors.New("database is newer than this program")
	// ErrKey means that the key file is missing, readable by others, or not the one that secrets were sealed with.
	ErrKey = errors.New("key file cannot be used")
	// ErrFull means that there is no room. Nothing was written, and it may be tried again.
	ErrFull = errors.New("no space left for the database")
	// ErrNotFound means that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrExist means that the name is taken.
	ErrExist = errors.New("name is taken")
)

// explain gives an error its kind.
func (s *Store) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, classify(s.path, err))
}

func classify(path string, err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if errors.Is(err, errForeign) {
		return damaged(path, err.Error())
	}
	if !ok {
		return full(err)
	}
	switch e.Code() {
	case codes.SQLITE_CONSTRAINT_UNIQUE, codes.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %v", ErrExist, err)
	case codes.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %v", ErrNotFound, err)
	case codes.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%w: %v", ErrFull, err)
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_FULL:
		return fmt.Errorf("%w: %v", ErrFull, err)
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return damaged(path, err.Error())
	case codes.SQLITE_IOERR:
		if noSpace(path) {
			return fmt.Errorf("%w: %v", ErrFull, err)
		}
	}
	return err
}

// noSpace tells whether the file system is full. A quota may show itself to SQLite as any fault in writing.
func noSpace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Bavail == 0
}

// full gives errors of the file system their kind.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %v", ErrFull, err)
	}
	return err
}

func damaged(path, detail string) error {
	return fmt.Errorf("%s: %w (%s); its files were left as they are: put back a copy that works, or move them away to "+
		"start with an empty database", path, ErrDamaged, detail)
}
