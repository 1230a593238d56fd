package keychain_test

import (
	"strings"
	"testing"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
)

// The texts of truenas-api.md 4.3, and of our own where OpenSSH wrote them.
const (
	textEncrypted  = "Encrypted private keys are not allowed"
	textUnreadable = "private key: is not a private key that can be read (RSA, ECDSA or Ed25519, in PEM)"
	textNoMatch    = "Private key and public key do not match"
	textNoKey      = "You must specify a key"
	textBadPublic  = "Invalid public key"
	textTaken      = "Object with this name already exists"
)

// TestKeyPairKinds holds 4.3 rule 2 for every type of key: the private key ends with one line break, the public one is
// derived without a comment, and a given one is kept as it is.
func TestKeyPairKinds(t *testing.T) {
	t.Parallel()
	for _, keyType := range []string{"rsa", "ecdsa", "ed25519"} {
		t.Run(keyType, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			private, public := pem(t, keyType, "")
			derived := w.must(t, pair("derived", "\n  "+private+"\n\n \n", ""))
			if want := strings.TrimSpace(private) + "\n"; derived.KeyPair.Private != want {
				t.Errorf("4.3: private key is kept with other blanks: %q", derived.KeyPair.Private)
			}
			if got := strings.TrimSpace(derived.KeyPair.Public); got != words(public) {
				t.Errorf("4.3: derived %q, want %q", got, words(public))
			}
			given := w.must(t, pair("given", private, public))
			if given.KeyPair.Public != public {
				t.Errorf("4.3: public key became %q", given.KeyPair.Public)
			}
			lone := w.must(t, pair("lone", "", public))
			if lone.KeyPair != (keychain.KeyPair{Public: public}) {
				t.Errorf("4.3: a public key alone became %+v", lone.KeyPair)
			}
			for _, want := range []keychain.Credential{derived, given, lone} {
				got, err := w.Get(t.Context(), want.ID)
				if err != nil || got != want {
					t.Errorf("kept %+v, %v, want %+v", got, err, want)
				}
			}
		})
	}
}

// TestKeyPairRules holds the faults of 4.3 rule 2: attribute, text, all at once, and that nothing is kept.
func TestKeyPairRules(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, public := pem(t, "ed25519", "")
	_, other := pem(t, "ecdsa", "")
	locked, lockedPublic := pem(t, "ed25519", "secret words")
	lockedRSA, _ := pem(t, "rsa", "secret words")
	broken := strings.Replace(private, "b3BlbnNzaC1rZXktdjE", "AAAAAAAAAAAAAAAAAAA", 1)
	lines := strings.Split(strings.TrimSpace(private), "\n")
	cut := strings.Join(append(lines[:2:2], lines[len(lines)-1]), "\n")

	privateFault := func(text string) faults.List { return faults.List{{Field: "attributes.private_key", Text: text}} }
	publicFault := func(text string) faults.List { return faults.List{{Field: "attributes.public_key", Text: text}} }
	tests := []struct {
		name            string
		private, public string
		want            faults.List
	}{
		{"encrypted", locked, "", privateFault(textEncrypted)},
		{"encrypted RSA", lockedRSA, "", privateFault(textEncrypted)},
		{"encrypted, with its public key", locked, lockedPublic, privateFault(textEncrypted)},
		{"encrypted hides the public key's fault", locked, "nonsense", privateFault(textEncrypted)},
		{"no key at all", "nonsense", "", privateFault(textUnreadable)},
		{"a public key as the private one", public, "", privateFault(textUnreadable)},
		{"broken", broken, "", privateFault(textUnreadable)},
		{"cut", cut, "", privateFault(textUnreadable)},
		{"unreadable hides the public key's fault", "nonsense", "nonsense", privateFault(textUnreadable)},
		{"another public key", private, other, publicFault(textNoMatch)},
		{"another type before the same key", private, "ssh-rsa " + strings.Fields(public)[1], faults.List{
			{Field: "attributes.public_key", Text: textNoMatch}, {Field: "attributes.public_key", Text: textBadPublic},
		}},
		{"public key that is none", private, "nonsense", faults.List{
			{Field: "attributes.public_key", Text: textNoMatch}, {Field: "attributes.public_key", Text: textBadPublic},
		}},
		{"neither", "", "", publicFault(textNoKey)},
		{"blanks", " \n", "\t", publicFault(textNoKey)},
		{"public key only, none", "", "ssh-ed25519 AAAA", publicFault(textBadPublic)},
		{"public key only, a text", "", "nonsense", publicFault(textBadPublic)},
		{"two public keys", "", public + other, publicFault(textBadPublic)},
		{"private key as the public one", "", private, publicFault(textBadPublic)},
	}
	for _, tt := range tests {
		t.Run("4.3 rule 2: "+tt.name, func(t *testing.T) {
			c, err := w.Create(t.Context(), pair("key", tt.private, tt.public))
			wantFaults(t, err, tt.want)
			if c.ID != 0 {
				t.Errorf("it has the id %d", c.ID)
			}
			w.wantNames(t)
			wantNoKey(t, err.Error(), tt.private)
		})
	}
}

// wantNoKey looks for every line of a private key in a text.
func wantNoKey(t *testing.T, text, private string) {
	t.Helper()
	for line := range strings.Lines(private) {
		line = strings.TrimSpace(line)
		if len(line) > 16 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
			t.Errorf("a line of the private key is shown: %q", line)
		}
	}
}

// TestNames holds 4.3 rule 1: a name is unique over both types, and a name that is taken is the only fault told.
func TestNames(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, _ := pem(t, "ed25519", "")
	key := w.must(t, pair("key", private, ""))
	w.must(t, connection("nas2", key.ID))
	taken := faults.List{{Field: "name", Text: textTaken}}
	for name, c := range map[string]keychain.Credential{
		"pair named as a pair":             pair("key", private, ""),
		"pair named as a connection":       pair("nas2", private, ""),
		"connection named as a pair":       connection("key", key.ID),
		"connection named as a connection": connection("nas2", key.ID),
		"first group alone, pair":          pair("key", "nonsense", "nonsense"),
		"first group alone, connection":    {Name: "nas2", Type: keychain.TypeConnection},
	} {
		t.Run("4.3 rule 1: "+name, func(t *testing.T) {
			_, err := w.Create(t.Context(), c)
			wantFaults(t, err, taken)
			w.wantNames(t, "key", "nas2")
		})
	}
	// Names differ by case, as they do there.
	w.must(t, connection("NAS2", key.ID))
	w.wantNames(t, "key", "nas2", "NAS2")
}

// TestConnectionRules holds decisions 28: ports in range, a URL refused with a hint, a key pair that exists and can log in.
func TestConnectionRules(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, public := pem(t, "ed25519", "")
	key := w.must(t, pair("key", private, ""))
	lone := w.must(t, pair("lone", "", public))
	other := w.must(t, connection("nas1", key.ID))
	before := []string{"key", "lone", "nas1"}

	const noHost, noUser, noTime = "This is not the name or address of a host", "This is not the name of a user", "Give a time between 1 and 3600 seconds"
	isURL := func(host string) string {
		return "This is a URL: give only the name or address of the host, such as " + host
	}
	at := func(field, text string) faults.List { return faults.List{{Field: "attributes." + field, Text: text}} }
	tests := []struct {
		name   string
		change func(c *keychain.Connection)
		want   faults.List
	}{
		{"https", func(c *keychain.Connection) { c.Host = "https://nas2.example/ui/" }, at("host", isURL("nas2.example"))},
		{"ssh with a port", func(c *keychain.Connection) { c.Host = "ssh://root@nas2.example:2222" }, at("host", isURL("nas2.example"))},
		{"address in a URL", func(c *keychain.Connection) { c.Host = "http://[fe80::1]" }, at("host", isURL("fe80::1"))},
		{"no host", func(c *keychain.Connection) { c.Host = "" }, at("host", noHost)},
		{"an option", func(c *keychain.Connection) { c.Host = "-oProxyCommand=x" }, at("host", noHost)},
		{"a login", func(c *keychain.Connection) { c.Host = "root@nas2" }, at("host", noHost)},
		{"two words", func(c *keychain.Connection) { c.Host = "nas2 nas3" }, at("host", noHost)},
		{"a path", func(c *keychain.Connection) { c.Host = "nas2/ui" }, at("host", noHost)},
		{"port 0", func(c *keychain.Connection) { c.Port = 0 }, at("port", "There is no port 0: give one between 1 and 65535")},
		{"port -22", func(c *keychain.Connection) { c.Port = -22 }, at("port", "There is no port -22: give one between 1 and 65535")},
		{"port 65536", func(c *keychain.Connection) { c.Port = 65536 }, at("port", "There is no port 65536: give one between 1 and 65535")},
		{"no user", func(c *keychain.Connection) { c.User = "" }, at("username", noUser)},
		{"a user and a host", func(c *keychain.Connection) { c.User = "root@nas2" }, at("username", noUser)},
		{"an option as the user", func(c *keychain.Connection) { c.User = "-l" }, at("username", noUser)},
		{"no time", func(c *keychain.Connection) { c.ConnectTimeout = 0 }, at("connect_timeout", noTime)},
		{"too much time", func(c *keychain.Connection) { c.ConnectTimeout = 3601 }, at("connect_timeout", noTime)},
		{"no such pair", func(c *keychain.Connection) { c.KeyPair = 99 }, at("private_key", "SSH Key Pair not found")},
		{"a connection as the pair", func(c *keychain.Connection) { c.KeyPair = other.ID }, at("private_key", "Credential 'nas1' is not a key pair")},
		{"a pair without a private key", func(c *keychain.Connection) { c.KeyPair = lone.ID }, at("private_key", "Key pair 'lone' has no private key to log in with")},
		{"everything", func(c *keychain.Connection) { *c = keychain.Connection{Host: "ftp://x", Port: 70000, HostKey: "?"} }, faults.List{
			{Field: "attributes.host", Text: isURL("x")},
			{Field: "attributes.port", Text: "There is no port 70000: give one between 1 and 65535"},
			{Field: "attributes.username", Text: noUser},
			{Field: "attributes.connect_timeout", Text: noTime},
			{Field: "attributes.private_key", Text: "SSH Key Pair not found"},
		}},
	}
	for _, tt := range tests {
		t.Run("decisions 28: "+tt.name, func(t *testing.T) {
			c := connection("nas2", key.ID)
			tt.change(&c.Connection)
			_, err := w.Create(t.Context(), c)
			wantFaults(t, err, tt.want)
			w.wantNames(t, before...)
		})
	}
}

// TestConnectionsThatAreTaken holds what decisions 28 leaves open: addresses, the ends of the ranges, and a host key of any
// length that may be unreadable.
func TestConnectionsThatAreTaken(t *testing.T) {
	t.Parallel()
	w := open(t)
	private, _ := pem(t, "ed25519", "")
	key := w.must(t, pair("key", private, ""))
	for name, change := range map[string]func(c *keychain.Connection){
		"plain":               func(*keychain.Connection) {},
		"IPv4":                func(c *keychain.Connection) { c.Host = "192.0.2.7" },
		"IPv6":                func(c *keychain.Connection) { c.Host = "2001:db8::7" },
		"IPv6 with a zone":    func(c *keychain.Connection) { c.Host = "fe80::1%eth0" },
		"short name":          func(c *keychain.Connection) { c.Host = "nas2" },
		"port 1":              func(c *keychain.Connection) { c.Port = 1 },
		"port 65535":          func(c *keychain.Connection) { c.Port = 65535 },
		"an hour":             func(c *keychain.Connection) { c.ConnectTimeout = 3600 },
		"long host key":       func(c *keychain.Connection) { c.HostKey = strings.Repeat(hostKey+"\n", 40) },
		"unreadable host key": func(c *keychain.Connection) { c.HostKey = "nonsense" },
	} {
		t.Run("decisions 28: "+name, func(t *testing.T) {
			c := connection(name, key.ID)
			change(&c.Connection)
			kept := w.must(t, c)
			got, err := w.Get(t.Context(), kept.ID)
			if err != nil || got.Connection != c.Connection {
				t.Errorf("kept %+v, %v", got.Connection, err)
			}
		})
	}
}
