package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/crypto/chacha20poly1305"
)

// seal encrypts a secret for one place: a table and a row of it. Elsewhere it cannot be opened.
func (s *Store) seal(table string, id int64, secret []byte) string {
	if len(secret) == 0 {
		return ""
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(secret)+chacha20poly1305.Overhead)
	_, _ = rand.Read(nonce) // never fails
	return base64.StdEncoding.EncodeToString(s.seals.Seal(nonce, nonce, secret, place(table, id)))
}

func (s *Store) unseal(table string, id int64, sealed string) ([]byte, error) {
	if sealed == "" {
		return nil, nil
	}
	box, err := base64.StdEncoding.DecodeString(sealed)
	if err == nil && len(box) < chacha20poly1305.NonceSizeX {
		err = errors.New("too short")
	}
	var secret []byte
	if err == nil {
		nonce := box[:chacha20poly1305.NonceSizeX]
		secret, err = s.seals.Open(nil, nonce, box[len(nonce):], place(table, id))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the secret of row %d in %s was changed, or sealed with another key (%v)", ErrKey, id, table, err)
	}
	return secret, nil
}

// place is authenticated with each secret.
func place(table string, id int64) []byte { return fmt.Appendf(nil, "zferry/%s/%d", table, id) }

// sealedRow is a secret as the database has it.
type sealedRow struct {
	table  string
	id     int64
	sealed string
}

func (s *Store) sealedRows(ctx context.Context) ([]sealedRow, error) {
	return collect(ctx, s, "list secrets", func(rows *sql.Rows) (r sealedRow, err error) {
		return r, rows.Scan(&r.table, &r.id, &r.sealed)
	}, `SELECT 'tasks', id, secret FROM tasks WHERE secret <> ''
		UNION ALL SELECT 'credentials', id, attributes FROM credentials WHERE attributes <> ''`)
}

// unlock reads the key, and sees to it that it is the one that was used so far. It makes one if none was.
func (s *Store) unlock(ctx context.Context, path string) error {
	rows, err := s.sealedRows(ctx)
	if err != nil {
		return err
	}
	key, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		if len(rows) > 0 {
			return fmt.Errorf("%s: %w: it is missing, and %d secrets were sealed with it: put it back", path, ErrKey, len(rows))
		}
		key, err = makeKey(path)
	}
	if err != nil {
		return err
	}
	if s.seals, err = chacha20poly1305.NewX(key); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err = s.unseal(r.table, r.id, r.sealed); err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w: it is not the one that the secrets were sealed with: put that back", path, ErrKey)
	}
	return nil
}

// readKey reads the key file, and refuses one that others could have read.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w: others may read it (mode %04o): chmod 600 it, and change the keys and passwords in the database if "+
			"others could have done so", path, ErrKey, info.Mode().Perm())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: %w: it belongs to the user %d: chown it to %d", path, ErrKey, owner.Uid, os.Geteuid())
	}
	key := make([]byte, chacha20poly1305.KeySize+1)
	n, err := f.Read(key)
	if err != nil || n != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("%s: %w: it has not %d bytes: put back the one that was here", path, ErrKey, chacha20poly1305.KeySize)
	}
	return key[:n], nil
}

// makeKey makes the key file. It has its name only once it is on the disk.
func makeKey(path string) ([]byte, error) {
	begun := path + ".new"
	if err := os.Remove(begun); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	key := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(key) // never fails
	err := writeFile(begun, key)
	if err == nil {
		err = publish(begun, path)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return key, nil
}
