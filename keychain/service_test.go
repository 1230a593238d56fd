package keychain_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/store"
)

// wantMissing wants the error of 1.3 for an id that names nothing.
func wantMissing(t *testing.T, err error, want string) {
	t.Helper()
	if !faults.Is(err) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestUnknownIDs(t *testing.T) {
	t.Parallel()
	w := open(t)
	_, err := w.Get(t.Context(), 7)
	wantMissing(t, err, "KeychainCredential 7 does not exist")
	_, err = w.Delete(t.Context(), 7, true, &tasks{})
	wantMissing(t, err, "KeychainCredential 7 does not exist")
}

// family is two key pairs, three connections of the first and one of the second, of which two are used by tasks.
type family struct {
	world
	users                      *tasks
	key, other                 keychain.Credential
	used, unused, also, others keychain.Credential
}

func newFamily(t *testing.T) family {
	t.Helper()
	w := open(t)
	private, _ := pem(t, "ed25519", "")
	f := family{world: w}
	f.key, f.other = w.must(t, pair("key", private, "")), w.must(t, pair("other", private, ""))
	f.used, f.unused = w.must(t, connection("used", f.key.ID)), w.must(t, connection("unused", f.key.ID))
	f.also, f.others = w.must(t, connection("also", f.key.ID)), w.must(t, connection("others", f.other.ID))
	f.users = &tasks{names: map[int64][]string{f.used.ID: {"nightly", "weekly"}, f.also.ID: {"hourly"}}}
	return f
}

// TestDelete holds 4.4: what is used goes only with cascade, and takes the connections of a key pair with it and releases
// the tasks of each.
func TestDelete(t *testing.T) {
	t.Parallel()
	all := []string{"key", "other", "used", "unused", "also", "others"}
	refused := faults.List{{Field: "options.cascade", Text: "This credential is used and no cascade option is specified"}}
	tests := []struct {
		name     string
		which    func(f family) int64
		cascade  bool
		want     faults.List
		kept     []string
		removed  func(f family) []int64 // in this order
		released func(f family) []int64
	}{
		{"key pair in use", func(f family) int64 { return f.key.ID }, false, refused, all, nil, nil},
		{"connection in use", func(f family) int64 { return f.used.ID }, false, refused, all, nil, nil},
		{
			"connection that nobody uses", func(f family) int64 { return f.unused.ID }, false, nil,
			[]string{"key", "other", "used", "also", "others"},
			func(f family) []int64 { return []int64{f.unused.ID} }, nil,
		},
		{
			"connection, cascade", func(f family) int64 { return f.used.ID }, true, nil,
			[]string{"key", "other", "unused", "also", "others"},
			func(f family) []int64 { return []int64{f.used.ID} },
			func(f family) []int64 { return []int64{f.used.ID} },
		},
		{
			"key pair, cascade", func(f family) int64 { return f.key.ID }, true, nil,
			[]string{"other", "others"},
			func(f family) []int64 { return []int64{f.used.ID, f.unused.ID, f.also.ID, f.key.ID} },
			func(f family) []int64 { return []int64{f.used.ID, f.also.ID} },
		},
	}
	for _, tt := range tests {
		t.Run("4.4: "+tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			removed, err := f.Delete(t.Context(), tt.which(f), tt.cascade, f.users)
			wantFaults(t, err, tt.want)
			f.wantNames(t, tt.kept...)
			ids := func(of func(family) []int64) []int64 {
				if of == nil {
					return nil
				}
				return of(f)
			}
			if want := ids(tt.removed); !slices.Equal(removed, want) {
				t.Errorf("removed %v, want %v", removed, want)
			}
			if want := ids(tt.released); !slices.Equal(f.users.released, want) {
				t.Errorf("released %v, want %v", f.users.released, want)
			}
		})
	}
}

// TestDeleteStops shows that a credential stays while its tasks cannot be released.
func TestDeleteStops(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.users.fail = errors.New("no room")
	if _, err := f.Delete(t.Context(), f.key.ID, true, f.users); !errors.Is(err, f.users.fail) {
		t.Errorf("error %v", err)
	}
	f.wantNames(t, "key", "other", "used", "unused", "also", "others")
}

// TestConfig holds what a run dials with, and the texts of 5.6 for what cannot be dialled.
func TestConfig(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, _ := pem(t, "ed25519", "")
	key := w.must(t, pair("key", private, ""))
	good := connection("nas2", key.ID)
	good.Connection.Port, good.Connection.User, good.Connection.ConnectTimeout = 2222, "zferry", 7
	good = w.must(t, good)

	got, err := w.Config(t.Context(), good.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := ssh.Config{
		User: "zferry", Host: "nas2.example", Port: 2222, Keys: []ssh.PrivateKey{ssh.PrivateKey(key.KeyPair.Private)},
		HostKeys: []string{hostKey}, ConnectTimeout: 7 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" || string(got.Keys[0]) != key.KeyPair.Private {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if err := got.Check(); err != nil {
		t.Errorf("it cannot be dialled: %v", err)
	}

	// A connection whose key pair is changed behind its back, as restored states can have it.
	orphan := func(name string, change func(key int64) error) int64 {
		key := w.must(t, pair(name+" key", private, ""))
		c := w.must(t, connection(name, key.ID))
		if err := change(key.ID); err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	replaced := func(c store.Credential) func(int64) error {
		return func(id int64) error {
			c.ID = id
			return w.store.UpdateCredential(t.Context(), c)
		}
	}
	shown := func(name, hostKey string) int64 {
		c := connection(name, key.ID)
		c.Connection.HostKey = hostKey
		return w.must(t, c).ID
	}
	errorOfPair := "Error while querying SSH key pair for credentials %d: "
	for name, tt := range map[string]struct {
		id   int64
		want string // %d is the id
	}{
		"unknown id": {999, "Credential does not exist"},
		"a key pair": {key.ID, "Credential is not of type SSH_CREDENTIALS"},
		"its pair is gone": {
			orphan("gone", func(id int64) error { return w.store.DeleteCredential(t.Context(), id) }),
			errorOfPair + "[ENOENT] Credential does not exist",
		},
		"its pair is none": {
			orphan("none", replaced(store.Credential{Name: "none key", Type: "SSH_CREDENTIALS", Attributes: []byte(`{}`)})),
			errorOfPair + "[EINVAL] Credential is not of type SSH_KEY_PAIR",
		},
		"its pair has no private key": {
			orphan("half", replaced(store.Credential{Name: "half key", Type: "SSH_KEY_PAIR", Attributes: []byte(`{"Public":"x"}`)})),
			errorOfPair + "Key pair 'half key' has no private key to log in with",
		},
		"its pair cannot be read": {
			orphan("torn", replaced(store.Credential{Name: "torn key", Type: "SSH_KEY_PAIR", Attributes: []byte(`[]`)})),
			errorOfPair + "[EFAULT] credential %d: what is kept of it cannot be read",
		},
		"unreadable host key (decisions 28)": {
			shown("unreadable", "nonsense"),
			"The host key of SSH connection 'unreadable' cannot be read: give lines of type and key, as ssh-keyscan shows them",
		},
		"one unreadable line (decisions 28)": {
			shown("half readable", hostKey+"\nssh-ed25519 AAAA"),
			"The host key of SSH connection 'half readable' cannot be read: give lines of type and key, as ssh-keyscan shows them",
		},
		"no host key (decisions 28)": {
			shown("bare", "# nothing\n"),
			"SSH connection 'bare' has no host key: without one no host can be told from another",
		},
	} {
		t.Run("5.6: "+name, func(t *testing.T) {
			got, err := w.Config(t.Context(), tt.id)
			want := strings.Replace(tt.want, "%d", itoa(tt.id), 1)
			want = strings.Replace(want, "%d", itoa(tt.id-1), 1) // its key pair
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if len(got.Keys) > 0 {
				t.Errorf("a config came with the error: %v", got)
			}
		})
	}
	for name, lines := range map[string]string{
		"comment":         "# nas2\n\n" + hostKey + " root@nas2\n",
		"known_hosts":     "nas2.example,192.0.2.7 " + hostKey,
		"hashed":          "|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= " + hostKey,
		"with authority":  "@cert-authority *.example " + hostKey,
		"with line break": hostKey + "\r\n",
	} {
		t.Run("decisions 28: readable host key, "+name, func(t *testing.T) {
			if _, err := w.Config(t.Context(), shown(name, lines)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoSecretInTheFiles looks for private keys in everything that the state folder holds.
func TestNoSecretInTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	k := keychain.New(s)
	private, _ := pem(t, "rsa", "")
	key, err := k.Create(t.Context(), pair("key", private, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), connection("nas2", key.ID)); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		t.Helper()
		files := 0
		err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			wantNoKey(t, string(text), private)
			if bytes.Contains(text, []byte("PRIVATE KEY")) || bytes.Contains(text, []byte("nas2.example")) {
				t.Errorf("%s: %s holds attributes in clear", when, name)
			}
			return nil
		})
		if err != nil || files < 2 {
			t.Errorf("%s: %d files, %v", when, files, err)
		}
	}
	look("while it is open") // the write-ahead log too
	if _, err := k.Delete(t.Context(), key.ID, true, &tasks{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look("when it is closed")
}
