package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFiles: only we may read what is made, and secrets are in clear in none of it.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?#%41", "data")
	s := opened(t, dir)
	fill(t, s)
	found := files(t, dir)
	for _, name := range []string{dbName, dbName + "-wal", dbName + "-shm", keyName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info, err)
	}
	if len(found) != 4 {
		t.Errorf("there are %d files, want 4", len(found))
	}
	for name, data := range found {
		if strings.Contains(data, "passphrase") || strings.Contains(data, "private") {
			t.Errorf("a secret is in %s", name)
		}
	}
}

// TestSealsAreBound: a sealed secret cannot be moved to another row or table, nor changed.
func TestSealsAreBound(t *testing.T) {
	s := opened(t, t.TempDir())
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		if _, err := s.AddTask(ctx, Task{Name: name, Secret: []byte("secret of " + name)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddCredential(ctx, Credential{Name: name, Attributes: []byte(`"` + name + `"`)}); err != nil {
			t.Fatal(err)
		}
	}
	sealed := map[string]bool{}
	rows, err := s.sealedRows(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		sealed[r.sealed] = true
	}
	if len(sealed) != 4 {
		t.Fatalf("sealed: %v", rows)
	}
	for _, change := range []string{
		`UPDATE tasks SET secret = (SELECT secret FROM tasks WHERE id = 2) WHERE id = 1`,
		`UPDATE tasks SET secret = (SELECT attributes FROM credentials WHERE id = 1) WHERE id = 1`,
		`UPDATE tasks SET secret = 'AAAA' || substr(secret, 5) WHERE id = 1`,
		`UPDATE tasks SET secret = 'AAAA' WHERE id = 1`,
		`UPDATE tasks SET secret = '!' WHERE id = 1`,
	} {
		if _, err := s.writer.ExecContext(ctx, change); err != nil {
			t.Fatal(err)
		}
		_, err := s.Task(ctx, 1)
		wantErr(t, change, err, ErrKey)
	}
	other, err := s.Task(ctx, 2)
	want(t, "Task", string(other.Secret), err, "secret of b")
}

// TestKeyFile: which key files are refused, and that nothing is changed then.
func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir)
	tests := []struct {
		name  string
		spoil func(path string) error
		text  string
	}{
		{"missing", os.Remove, "put it back"},
		{"others may read it", func(p string) error { return os.Chmod(p, 0o640) }, "chmod 600"},
		{"short", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }, "32 bytes"},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }, "32 bytes"},
		{"long", func(p string) error { return os.WriteFile(p, make([]byte, 33), 0o600) }, "32 bytes"},
		{"another", func(p string) error { return os.WriteFile(p, make([]byte, 32), 0o600) }, "not the one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, dir)
			path := filepath.Join(dir, keyName)
			if err := tt.spoil(path); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			_, err := Open(t.Context(), dir)
			wantErr(t, "Open", err, ErrKey)
			if err != nil && (!strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %q does not say %q", err, tt.text)
			}
			if diff := cmp.Diff(before, files(t, dir)); diff != "" {
				t.Error("files have changed")
			}
		})
	}
}

// TestNewKey: while nothing is sealed a key can be made, also after a first start that was cut short; then it stays.
func TestNewKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, keyName)
	open := func() []byte {
		t.Helper()
		s, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(path)
		if err != nil || len(key) != 32 {
			t.Fatalf("key of %d bytes, %v", len(key), err)
		}
		return key
	}
	first := open()
	if !bytes.Equal(first, open()) {
		t.Error("the key has changed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, open()) {
		t.Error("the key is the same again")
	}
	if _, err := os.Stat(path + ".new"); err == nil {
		t.Error("what a first start left is still there")
	}
}

// TestOneBadRow: a row that was tampered with is in nobody's way but its own.
func TestOneBadRow(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if _, err := s.writer.ExecContext(t.Context(), `UPDATE tasks SET secret = 'AAAA'`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir)
	_, err = s.Task(t.Context(), 1)
	wantErr(t, "Task", err, ErrKey)
	c, err := s.Credential(context.WithoutCancel(t.Context()), 1)
	want(t, "Credential", string(c.Attributes), err, `{"key":"private"}`)
}
