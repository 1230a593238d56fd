package store

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

// TestMain also plays the program that TestKilled kills.
func TestMain(m *testing.M) {
	if os.Getenv("STORE_TEST_WRITE") != "" {
		writeForEver()
	}
	goleak.VerifyTestMain(m)
}

// opened opens a database until the test ends.
func opened(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// closed makes a database with something of everything, and closes it.
func closed(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill adds something of everything.
func fill(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.AddTask(ctx, Task{Name: "nightly", Data: []byte(`{"a":1}`), Secret: []byte("passphrase")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddCredential(ctx, Credential{Name: "nas2", Type: "SSH", Attributes: []byte(`{"key":"private"}`)}); err != nil {
		t.Fatal(err)
	}
	for id := range int64(50) {
		if err := s.InsertJob(ctx, Job{ID: id + 1, Rev: uint64(id) + 10, State: "SUCCESS", Data: bytes.Repeat([]byte("j"), 500)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if _, err := s.AddRun(ctx, Run{TaskID: 1, Outcome: "SUCCESS"}); err != nil {
			t.Fatal(err)
		}
	}
}

// files reads a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(data)
	}
	return found
}

// copyDir copies the files of a folder into a new one.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for name, data := range files(t, from) {
		if err := os.WriteFile(filepath.Join(to, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// withMigration is the program's migrations and one more.
func withMigration(t *testing.T, sql string) fs.FS {
	t.Helper()
	all := fstest.MapFS{"0999_test.sql": {Data: []byte("-- +goose Up\n" + sql)}}
	names, err := fs.Glob(embedded, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(embedded, name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = &fstest.MapFile{Data: data}
	}
	return all
}
