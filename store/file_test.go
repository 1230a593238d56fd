package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crashed copies a folder whose database is open, with what is not yet in its one file.
func crashed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, opened(t, dir))
	return copyDir(t, dir)
}

// TestDamage: a database that cannot be trusted is refused, and its files stay byte for byte as they are.
func TestDamage(t *testing.T) {
	clean := t.TempDir()
	closed(t, clean)
	wal := crashed(t)
	if size(filepath.Join(wal, dbName+"-wal")) <= 0 {
		t.Fatal("there is no log to test with")
	}
	edit := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, dbName)
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := func(n int) func([]byte) []byte {
		return func(data []byte) []byte {
			for i := range 2048 {
				data[n*4096+i] ^= 0x5a
			}
			return data
		}
	}
	cut := func(n int) func([]byte) []byte { return func(data []byte) []byte { return data[:len(data)-n] } }
	tests := []struct {
		name  string
		from  string
		spoil func(*testing.T, string)
	}{
		{"no database", clean, edit(func([]byte) []byte { return []byte(strings.Repeat("hello\n", 5000)) })},
		{"a few bytes", clean, edit(func([]byte) []byte { return []byte("hello") })},
		{"empty", clean, edit(func([]byte) []byte { return nil })},
		{"header", clean, edit(func(data []byte) []byte { return append(make([]byte, 100), data[100:]...) })},
		{"first page", clean, edit(page(0))},
		{"page of a table", clean, edit(page(10))},
		{"another page", clean, edit(page(14))},
		{"short of one page", clean, edit(cut(4096))},
		{"short of some bytes", clean, edit(cut(100))},
		{"half", clean, edit(func(data []byte) []byte { return data[:len(data)/2] })},
		{"short, after a crash", wal, edit(func(data []byte) []byte { return data[:4096] })},
		{"log without its database", wal, remove(dbName)},
		{"log lost", wal, func(t *testing.T, dir string) {
			t.Helper()
			remove(dbName+"-wal")(t, dir)
			edit(cut(4096))(t, dir)
		}},
		{"a folder", clean, func(t *testing.T, dir string) {
			t.Helper()
			remove(dbName)(t, dir)
			if err := os.MkdirAll(filepath.Join(dir, dbName, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, tt.from)
			tt.spoil(t, dir)
			before := snapshot(t, dir)
			s, err := Open(t.Context(), dir)
			wantErr(t, "Open", err, ErrDamaged)
			if err == nil {
				err = s.Close()
			}
			for _, say := range []string{dir, "put back a copy", "move them away"} {
				if err == nil || !strings.Contains(err.Error(), say) {
					t.Errorf("error %v does not say %q", err, say)
				}
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Error("files have changed")
			}
		})
	}
}

// snapshot reads a folder that may have folders in it.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			found[path] = "folder"
			return err
		}
		data, err := fs.ReadFile(tree, path)
		found[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestForeign: a database of another program is refused too.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	db, err := connect(filepath.Join(dir, dbName), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (a TEXT)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	_, err = Open(t.Context(), dir)
	wantErr(t, "Open", err, ErrDamaged)
	if err == nil || !strings.Contains(err.Error(), "no database of this program") {
		t.Error(err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Error("files have changed")
	}
}

// TestAfterCrash: everything is there, whether the index of the log is or not.
func TestAfterCrash(t *testing.T) {
	for _, lost := range []string{"", dbName + "-shm"} {
		dir := crashed(t)
		if lost != "" {
			if err := os.Remove(filepath.Join(dir, lost)); err != nil {
				t.Fatal(err)
			}
		}
		s := opened(t, dir)
		all, id, rev, err := s.LoadJobs(t.Context())
		if err != nil || len(all) != 50 || id != 50 || rev != 59 {
			t.Errorf("%d jobs, last id %d, rev %d, %v", len(all), id, rev, err)
		}
		task, err := s.Task(t.Context(), 1)
		want(t, "Task", string(task.Secret), err, "passphrase")
	}
}

// TestUpgrade: a copy of the older database stays; a program that does not know the newer one refuses it, unchanged.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir)
	if err := os.WriteFile(filepath.Join(dir, dbName+".copy"), []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := withMigration(t, "ALTER TABLE tasks ADD COLUMN note TEXT NOT NULL DEFAULT 'new';")
	for range 2 {
		s, err := open(t.Context(), dir, newer)
		if err != nil {
			t.Fatal(err)
		}
		var note string
		if err := s.reader.QueryRowContext(t.Context(), "SELECT note FROM tasks").Scan(&note); err != nil || note != "new" {
			t.Errorf("note %q, %v", note, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	before := files(t, dir)
	if got := names(before); !slices.Equal(got, []string{keyName, dbName, dbName + ".v1"}) {
		t.Errorf("files %v", got)
	}

	_, err := Open(t.Context(), dir)
	wantErr(t, "Open", err, ErrNewer)
	if err == nil || !strings.Contains(err.Error(), "its schema is 999, this program knows 1") || !strings.Contains(err.Error(), dbName+".v1") {
		t.Error(err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Error("files have changed")
	}

	// The way back that the error tells.
	old := filepath.Join(dir, dbName+".v1")
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("copy: %v, %v", info, err)
	}
	if err := os.Rename(old, filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	task, err := opened(t, dir).Task(t.Context(), 1)
	want(t, "Task", string(task.Secret), err, "passphrase")
}

func names(files map[string]string) (names []string) {
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestUpgradeFails: the older program goes on with what is left.
func TestUpgradeFails(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir)
	if _, err := open(t.Context(), dir, withMigration(t, "DROP TABLE runs;\nSELECT no_such_function();")); err == nil {
		t.Fatal("a migration that cannot be is done")
	}
	runs, err := opened(t, dir).Runs(t.Context(), 0, 0)
	want(t, "Runs", len(runs), err, 50)
}

// TestCreateFails: a database that could not be completed is none.
func TestCreateFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := open(t.Context(), dir, withMigration(t, "SELECT no_such_function();")); err == nil {
		t.Fatal("a migration that cannot be is done")
	}
	if _, err := os.Stat(filepath.Join(dir, dbName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a database: %v", err)
	}
	opened(t, dir)
	if got := names(files(t, dir)); len(got) != 4 {
		t.Errorf("files %v", got)
	}
}

// TestManyRows: a full history is checked and opened at once.
func TestManyRows(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO runs SELECT i, i % 20, i, i, i, 'SUCCESS', 'sent', i, i, i, false FROM n`,
		`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $1 / 100)
			INSERT INTO jobs SELECT i, 'SUCCESS', i, printf('%2000d', i) FROM n`,
	} {
		if _, err := s.writer.ExecContext(t.Context(), statement, manyRows); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	s = opened(t, dir)
	jobs, _, _, err := s.LoadJobs(t.Context())
	if err != nil || len(jobs) != manyRows/100 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
	runs, err := s.Runs(t.Context(), 7, 50)
	if err != nil || len(runs) != 50 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	took := time.Since(begin)
	t.Logf("%d runs, %d jobs: opened and read after %v", manyRows, len(jobs), took)
	if took > 5*time.Second { // alone on a machine it takes a tenth of that
		t.Errorf("took %v", took)
	}
}
