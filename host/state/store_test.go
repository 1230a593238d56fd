package state

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func reopen(t *testing.T, s *Store, dir string) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func adminText(t *testing.T, s *Store) string {
	t.Helper()
	data, err := os.ReadFile(s.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutSuffix(string(data), "\n")
	if !ok {
		t.Errorf("%s does not end with a newline", s.KeyFile())
	}
	return text
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "host")
	s := open(t, dir)
	text := adminText(t, s)
	if !regexp.MustCompile(`^1-[A-Za-z0-9]{64}$`).MatchString(text) {
		t.Errorf("the key is not <id>-<64 letters and digits>")
	}
	user, key, err := s.CheckKey(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	want := User{ID: 1, Name: "admin", FullName: "Administrator", Roles: []string{"FULL_ADMIN"}}
	if diff := cmp.Diff(want, user); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if key.ID != 1 || key.Created.IsZero() {
		t.Errorf("key = %+v", key)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, fileName: 0o600, keyFileName: 0o600, lockName: 0o600, fileName + "-wal": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != mode {
			t.Errorf("mode of %q is %o, want %o", name, got, mode)
		}
	}

	s = reopen(t, s, dir)
	if again := adminText(t, s); again != text {
		t.Error("the second start wrote the key's file again")
	}
	if _, _, err := s.CheckKey(t.Context(), text); err != nil {
		t.Errorf("after the second start: %v", err)
	}
	if err := os.Remove(s.KeyFile()); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir)
	if _, err := os.Stat(s.KeyFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key's file that was removed is there again (%v)", err)
	}
	for _, row := range dump(t, s) {
		if strings.Contains(row, text[2:]) {
			t.Error("the key stands in the database")
		}
	}
}

// dump gives all rows of api_keys as text.
func dump(t *testing.T, s *Store) (all []string) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "SELECT id || ' ' || name || ' ' || salt || ' ' || stored_key || ' ' || server_key FROM api_keys")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d rows, %v", len(all), err)
	}
	return all
}

// TestFirstStartCutOff makes the states that a power loss can leave behind.
func TestFirstStartCutOff(t *testing.T) {
	t.Run("before the commit", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{fileName, keyFileName + ".new"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir)
		if _, _, err := s.CheckKey(t.Context(), adminText(t, s)); err != nil {
			t.Error(err)
		}
	})
	t.Run("before the file has its name", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		text := adminText(t, s)
		if err := os.Rename(s.KeyFile(), s.KeyFile()+".new"); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s, dir)
		if got := adminText(t, s); got != text {
			t.Error("another key than before")
		}
	})
	t.Run("a key's file of another database", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, keyFileName)
		if err := os.WriteFile(file, []byte("1-abc\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(t.Context(), dir); !errors.Is(err, ErrExist) {
			t.Fatalf("store %v, err = %v, want ErrExist", s, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "1-abc\n" {
			t.Errorf("the file has %q, %v", got, err)
		}
	})
}

func TestCheckKey(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.AddUser(t.Context(), User{Name: "ann", FullName: "Ann", Roles: []string{"REPLICATION_ADMIN"}}); err != nil {
		t.Fatal(err)
	}
	key, text, err := s.AddKey(t.Context(), "ann", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	admin := adminText(t, s)
	tests := []struct {
		name, text, user string
	}{
		{"right", text, "ann"},
		{"first", admin, "admin"},
		{"secret of another key", "2-" + admin[2:], ""},
		{"unknown id", "77" + text[1:], ""},
		{"one letter off", text[:len(text)-1] + string(text[len(text)-1]^1), ""},
		{"too long", text + "a", ""},
		{"no secret", "2-", ""},
		{"no dash", "2", ""},
		{"no number", "x" + text[1:], ""},
		{"number too large", "99999999999999999999" + text[1:], ""},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			user, k, err := s.CheckKey(t.Context(), tt.text)
			if tt.user == "" {
				if !errors.Is(err, ErrKey) || user.ID != 0 || k.ID != 0 {
					t.Errorf("user %+v, key %+v, err %v; want only ErrKey", user, k, err)
				}
				return
			}
			if err != nil || user.Name != tt.user {
				t.Errorf("user %q, err %v", user.Name, err)
			}
		})
	}
	if key.ID != 2 || key.Name != "laptop" {
		t.Errorf("key = %+v", key)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.CheckKey(ctx, text); err == nil {
		t.Error("checked although nobody waits")
	}
}

func TestNames(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.AddUser(t.Context(), User{Name: "admin"}); !errors.Is(err, ErrExist) {
		t.Errorf("second admin: %v, want ErrExist", err)
	}
	if _, _, err := s.AddKey(t.Context(), "nobody", "x"); !errors.Is(err, ErrNoUser) {
		t.Errorf("key of nobody: %v, want ErrNoUser", err)
	}
	if _, _, err := s.AddKey(t.Context(), "admin", adminKey); !errors.Is(err, ErrExist) {
		t.Errorf("second key of a name: %v, want ErrExist", err)
	}
	if u, err := s.AddUser(t.Context(), User{Name: "bob"}); err != nil || u.ID != 2 {
		t.Errorf("bob: %+v, %v", u, err)
	}
}

// TestVerifier holds the verifier against one that was computed by hand with Python's hashlib and hmac.
func TestVerifier(t *testing.T) {
	v := verifier{salt: []byte("0123456789abcdef"), iterations: 50_000}
	stored, server, err := v.keys("pencil")
	if err != nil {
		t.Fatal(err)
	}
	if got := encode(stored); got != wantStored {
		t.Errorf("stored key = %s", got)
	}
	if got := encode(server); got != wantServer {
		t.Errorf("server key = %s", got)
	}
}

func TestJobIDs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var got []int64
	for i := range 6 {
		if i == 3 {
			s = reopen(t, s, dir)
		}
		id, err := s.NextJobID(t.Context(), 16)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if diff := cmp.Diff([]int64{16, 32, 48, 64, 80, 96}, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestPlugins(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i, name := range []string{"zferry", "other", "zferry"} {
		series, err := s.SavePlugin(t.Context(), name, []byte(`{"methods":`+string(rune('0'+i))+`}`), 2)
		if want := int64(i%2 + 1); err != nil || series != want {
			t.Errorf("series of %s = %d, %v; want %d", name, series, err, want)
		}
	}
	if _, err := s.SavePlugin(t.Context(), "third", []byte("{}"), 2); !errors.Is(err, ErrFull) {
		t.Errorf("third: %v, want ErrFull", err)
	}
	s = reopen(t, s, dir)
	got, err := s.Plugins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Plugin{{"zferry", 1, []byte(`{"methods":2}`)}, {"other", 2, []byte(`{"methods":1}`)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plugins (-want +got):\n%s", diff)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if second, err := Open(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("store %v, err = %v, want ErrInUse", second, err)
	}
	reopen(t, s, dir)
}

// TestLeftAlone opens databases that this program must not touch.
func TestLeftAlone(t *testing.T) {
	good := func(t *testing.T) string {
		dir := t.TempDir()
		s := open(t, dir)
		for range 200 {
			if _, err := s.NextJobID(t.Context(), 16); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	change := func(t *testing.T, dir, query string) {
		db, err := sql.Open("sqlite", filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(t *testing.T, dir string, at int64, data []byte) {
		f, err := os.OpenFile(filepath.Join(dir, fileName), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T) string
		want error
	}{
		{"not a database", func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, fileName), []byte(strings.Repeat("hello ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrDamaged},
		{"a page overwritten", func(t *testing.T) string {
			dir := good(t)
			overwrite(t, dir, 4096, []byte(strings.Repeat("\xff", 4096)))
			return dir
		}, ErrDamaged},
		{"cut short", func(t *testing.T) string {
			dir := good(t)
			if err := os.Truncate(filepath.Join(dir, fileName), 5000); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrDamaged},
		{"of another program", func(t *testing.T) string {
			dir := t.TempDir()
			change(t, dir, "CREATE TABLE notes (text TEXT)")
			return dir
		}, ErrDamaged},
		{"newer", func(t *testing.T) string {
			dir := good(t)
			change(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
			return dir
		}, ErrNewer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.make(t)
			before, err := os.ReadFile(filepath.Join(dir, fileName))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s, err := Open(t.Context(), dir)
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("store %v, err = %v, want %v and the file's name", s, err, tt.want)
				}
			}
			after, err := os.ReadFile(filepath.Join(dir, fileName))
			if err != nil {
				t.Fatal(err)
			}
			if string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestFolder(t *testing.T) {
	// Characters that mean something in a URI.
	for _, name := range []string{"a b", "a?b=c&mode=ro", "50%", "x#y", "%2e"} {
		dir := filepath.Join(t.TempDir(), name)
		s := open(t, dir)
		if _, err := os.Stat(filepath.Join(dir, fileName)); err != nil {
			t.Error(err)
		}
		reopen(t, s, dir)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), file); err == nil {
		t.Errorf("opened a file as a folder: %v", s)
	}
}

const (
	wantStored = "lP+IfK6436TyB3pBh8odcJm/BBadGmkH3wJoGCznhUd00tBU3lyZ2XU9SP+Rhx8Do7iFH3i2NueflpJeE6z6Lg=="
	wantServer = "/Wl5H/AMEXp+AC3TRM1JvhYvq6/B+ZunxAHkhMAhtl+V8eZpuuraw2AC1hKgXzAPO/dsNSjgvHOWJo/Mhdw9FQ=="
)
