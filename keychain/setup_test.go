package keychain_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/ssh"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// manual is a setup that nothing is wrong with, without its key pair.
func manual(name string) keychain.Setup {
	c := connection("", 0).Connection
	return keychain.Setup{Name: name, Connection: c}
}

// TestSetUpGenerates holds 4.7: a key pair is made and kept under its own name, and the connection logs in with it.
func TestSetUpGenerates(t *testing.T) {
	t.Parallel()
	w := open(t)
	setup := manual("nas2")
	setup.Generate, setup.KeyName = true, "nas2 key"
	setup.KeyPair = 99 // means nothing here
	c, err := w.SetUp(t.Context(), setup)
	if err != nil {
		t.Fatal(err)
	}
	w.wantNames(t, "nas2 key", "nas2")
	if c.ID == 0 || c.Name != "nas2" || c.Type != keychain.TypeConnection {
		t.Errorf("made %+v", c)
	}
	config, err := w.Config(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.Get(t.Context(), c.Connection.KeyPair)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.PublicKeyOf(config.Keys[0])
	if err != nil || public != key.KeyPair.Public || !strings.HasPrefix(public, "ssh-rsa ") {
		t.Errorf("4.5: public key %q is kept, the private one's is %q, %v", key.KeyPair.Public, public, err)
	}
	if p := key.KeyPair.Private; !strings.HasSuffix(p, "-----\n") {
		t.Error("4.5: the private key does not end with a line break")
	}
}

func TestSetUpWithAPairThatExists(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, _ := pem(t, "ecdsa", "")
	key := w.must(t, pair("key", private, ""))
	setup := manual("nas2")
	setup.KeyPair = key.ID
	c, err := w.SetUp(t.Context(), setup)
	if err != nil || c.Connection.KeyPair != key.ID {
		t.Fatalf("made %+v, %v", c, err)
	}
	w.wantNames(t, "key", "nas2")

	// If that fails, an existing pair is left.
	_, err = w.SetUp(t.Context(), setup)
	wantFaults(t, err, faults.List{{Field: "connection_name", Text: "Is already in use by another Keychain Credential"}})
	w.wantNames(t, "key", "nas2")
}

// TestSetUpRules holds the rules of 4.7, all at once, before anything is made (S-21).
func TestSetUpRules(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, public := pem(t, "ed25519", "")
	key := w.must(t, pair("key", private, ""))
	nas1 := w.must(t, connection("nas1", key.ID))
	lone := w.must(t, pair("lone", "", public))
	const keyTaken, nameTaken = "Is already in use by another SSH Key pair", "Is already in use by another Keychain Credential"
	tests := []struct {
		name   string
		change func(s *keychain.Setup)
		want   faults.List
	}{
		{
			"key name of a pair", func(s *keychain.Setup) { s.Generate, s.KeyName = true, "key" },
			faults.List{{Field: "private_key.name", Text: keyTaken}},
		},
		{
			"key name of a connection", func(s *keychain.Setup) { s.Generate, s.KeyName = true, "nas1" },
			faults.List{{Field: "private_key.name", Text: keyTaken}},
		},
		{
			"both names alike", func(s *keychain.Setup) { s.Generate, s.KeyName = true, s.Name },
			faults.List{{Field: "private_key.name", Text: "The key pair and the connection need different names"}},
		},
		{
			"no such pair", func(s *keychain.Setup) { s.KeyPair = 99 },
			faults.List{{Field: "private_key.existing_key_id", Text: "SSH Key Pair not found"}},
		},
		{
			"pair of the wrong type", func(s *keychain.Setup) { s.KeyPair = nas1.ID },
			faults.List{{Field: "private_key.existing_key_id", Text: "Credential 'nas1' is not a key pair"}},
		},
		{
			"pair that cannot log in", func(s *keychain.Setup) { s.KeyPair = lone.ID },
			faults.List{{Field: "private_key.existing_key_id", Text: "Key pair 'lone' has no private key to log in with"}},
		},
		{
			"connection name of a pair", func(s *keychain.Setup) { s.KeyPair, s.Name = key.ID, "key" },
			faults.List{{Field: "connection_name", Text: nameTaken}},
		},
		{
			"both names taken", func(s *keychain.Setup) { s.Generate, s.KeyName, s.Name = true, "key", "nas1" },
			faults.List{{Field: "private_key.name", Text: keyTaken}, {Field: "connection_name", Text: nameTaken}},
		},
		{
			"both names taken by the same", func(s *keychain.Setup) { s.Generate, s.KeyName, s.Name = true, "key", "key" },
			faults.List{{Field: "private_key.name", Text: keyTaken}, {Field: "connection_name", Text: nameTaken}},
		},
		{
			"everything", func(s *keychain.Setup) {
				s.KeyPair, s.Name, s.Connection = 99, "nas1", keychain.Connection{Host: "https://nas2", User: "a b"}
			},
			faults.List{
				{Field: "private_key.existing_key_id", Text: "SSH Key Pair not found"},
				{Field: "connection_name", Text: nameTaken},
				{Field: "manual_setup.host", Text: "This is a URL: give only the name or address of the host, such as nas2"},
				{Field: "manual_setup.port", Text: "There is no port 0: give one between 1 and 65535"},
				{Field: "manual_setup.username", Text: "This is not the name of a user"},
				{Field: "manual_setup.connect_timeout", Text: "Give a time between 1 and 3600 seconds"},
			},
		},
	}
	for _, tt := range tests {
		t.Run("4.7: "+tt.name, func(t *testing.T) {
			setup := manual("nas2")
			tt.change(&setup)
			_, err := w.SetUp(t.Context(), setup)
			wantFaults(t, err, tt.want)
			w.wantNames(t, "key", "nas1", "lone")
		})
	}
}

// TestSetUpRace lets several set up a connection of the same name at once. All pass the checks while the others generate
// their keys, so that of all but one the connection cannot be kept: their generated pairs go again (4.7).
func TestSetUpRace(t *testing.T) {
	t.Parallel()
	w := open(t)
	const n = 2
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			setup := manual("nas2")
			setup.Generate, setup.KeyName = true, "key "+strconv.Itoa(i)
			_, errs[i] = w.SetUp(t.Context(), setup)
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		if err == nil {
			won = i
			continue
		}
		var list faults.List
		if !errors.As(err, &list) || len(list) != 1 || list[0].Field != "connection_name" {
			t.Errorf("4.7: setup %d: error %v, want a fault of connection_name", i, err)
		}
	}
	w.wantNames(t, "key "+strconv.Itoa(won), "nas2")
}

// TestSetUpIsWholeOrNot ends the caller's context as soon as the key pair is kept: either both are kept in the end or
// neither is.
func TestSetUpIsWholeOrNot(t *testing.T) {
	t.Parallel()
	w := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(50 * time.Microsecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if taken, err := w.Taken(t.Context(), "key"); taken || err != nil {
				cancel()
				return
			}
			<-tick.C
		}
	})
	setup := manual("nas2")
	setup.Generate, setup.KeyName = true, "key"
	_, err := w.SetUp(ctx, setup)
	cancel()
	watcher.Wait()
	if err == nil {
		w.wantNames(t, "key", "nas2")
	} else {
		w.wantNames(t)
	}
}
