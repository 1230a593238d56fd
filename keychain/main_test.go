package keychain_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/testing/sshd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a keychain on a store of its own.
type world struct {
	*keychain.Service
	store *store.Store
	dir   string
}

func open(t *testing.T) world {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return world{keychain.New(s), s, dir}
}

// must keeps a credential that nothing is wrong with.
func (w world) must(t *testing.T, c keychain.Credential) keychain.Credential {
	t.Helper()
	kept, err := w.Create(t.Context(), c)
	if err != nil {
		t.Fatalf("create %s: %v", c.Name, err)
	}
	return kept
}

// names lists what is kept, as the store has it.
func (w world) names(t *testing.T) []string {
	t.Helper()
	rows, err := w.store.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, row := range rows {
		names = append(names, row.Name)
	}
	return names
}

func (w world) wantNames(t *testing.T, want ...string) {
	t.Helper()
	if got := w.names(t); !slices.Equal(got, want) {
		t.Errorf("kept are %q, want %q", got, want)
	}
}

// wantFaults compares all faults, in their order.
func wantFaults(t *testing.T, err error, want faults.List) {
	t.Helper()
	got, ok := err.(faults.List) //nolint:errorlint // callers get the List itself
	if err != nil && !ok {
		t.Fatalf("error %v (%T), want faults", err, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// pem makes a private key with ssh-keygen, and gives it with its public key, which has a comment.
func pem(t *testing.T, keyType, passphrase string) (private, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := sshd.GenerateKey(t.Context(), file, keyType, passphrase); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*string{file: &private, file + ".pub": &public} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		*to = string(text)
	}
	return private, public
}

// words is a line of authorized_keys without its comment.
func words(public string) string {
	fields := strings.Fields(public)
	return strings.Join(fields[:min(2, len(fields))], " ")
}

func pair(name, private, public string) keychain.Credential {
	return keychain.Credential{
		Name: name, Type: keychain.TypeKeyPair, KeyPair: keychain.KeyPair{Private: private, Public: public},
	}
}

// connection is one that nothing is wrong with.
func connection(name string, keyPair int64) keychain.Credential {
	return keychain.Credential{Name: name, Type: keychain.TypeConnection, Connection: keychain.Connection{
		Host: "nas2.example", Port: 22, User: "root", KeyPair: keyPair, HostKey: hostKey, ConnectTimeout: 10,
	}}
}

// hostKey is a line that a host may show.
const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVRNpFmBbmDe3fH8kRfuy4lR8KGWF5pKi7PXgtQvZxJ"

// tasks are users of connections, by the connection's id.
type tasks struct {
	names    map[int64][]string
	released []int64
	fail     error // of Release
}

func (u *tasks) UsersOf(_ context.Context, connection int64) ([]string, error) {
	return u.names[connection], nil
}

func (u *tasks) Release(_ context.Context, connection int64) error {
	if u.fail != nil {
		return u.fail
	}
	u.released = append(u.released, connection)
	delete(u.names, connection)
	return nil
}
