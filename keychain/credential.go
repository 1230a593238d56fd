package keychain

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/ssh"
)

// Type is the type of a credential.
type Type string

// The types of credentials.
const (
	TypeKeyPair    Type = "SSH_KEY_PAIR"
	TypeConnection Type = "SSH_CREDENTIALS"
)

// Credential is a key pair or an SSH connection, whichever Type says.
type Credential struct {
	ID         int64
	Name       string
	Type       Type
	KeyPair    KeyPair
	Connection Connection
}

// KeyPair is what an SSH login proves itself with. It is kept sealed.
type KeyPair struct {
	Private string // PEM; "" if only the public key is kept
	Public  string // a line of authorized_keys
}

// Connection says how a host is reached and who logs in there. It is kept sealed.
type Connection struct {
	Host           string
	Port           int64
	User           string
	KeyPair        int64  // id
	HostKey        string // lines "type key" that the host may show; may be unreadable, which Service.Config then reports
	ConnectTimeout int64  // seconds
}

// check finds what is wrong with c by itself, and completes it: a key pair gets its public key (truenas-api.md 4.3).
func (c *Credential) check() faults.List {
	var bad faults.List
	switch c.Type {
	case TypeKeyPair:
		c.KeyPair.check(&bad)
	case TypeConnection:
		c.Connection.check(&bad, "attributes.")
	}
	return bad
}

func (k *KeyPair) check(bad *faults.List) {
	if strings.TrimSpace(k.Private) != "" {
		k.Private = strings.TrimSpace(k.Private) + "\n"
		public, err := ssh.PublicKeyOf(ssh.PrivateKey(k.Private))
		switch {
		case errors.Is(err, ssh.ErrPassphrase):
			bad.Addf("attributes.private_key", "Encrypted private keys are not allowed")
			return
		case err != nil:
			bad.Addf("attributes.private_key", "%v", err)
			return
		case strings.TrimSpace(k.Public) == "":
			k.Public = public
		case !sameKey(k.Public, public):
			bad.Addf("attributes.public_key", "Private key and public key do not match")
		}
	}
	if strings.TrimSpace(k.Public) == "" {
		bad.Addf("attributes.public_key", "You must specify a key")
	} else if ssh.CheckPublicKey(k.Public) != nil {
		bad.Addf("attributes.public_key", "Invalid public key")
	}
}

// sameKey compares two lines of authorized_keys without their comments.
func sameKey(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) >= 2 && len(y) >= 2 && x[0] == y[0] && x[1] == y[1]
}

// maxTimeout is how long a connection may be waited for: an hour, in seconds.
const maxTimeout = 3600

// check holds our own rules (decisions 28). That the key pair exists is looked up by the Service.
func (c *Connection) check(bad *faults.List, prefix string) {
	CheckHost(bad, prefix+"host", c.Host)
	CheckPort(bad, prefix+"port", c.Port)
	if strings.TrimSpace(c.User) == "" || strings.ContainsAny(c.User, " \t\r\n:@/") || strings.HasPrefix(c.User, "-") {
		bad.Addf(prefix+"username", "This is not the name of a user")
	}
	CheckTimeout(bad, prefix+"connect_timeout", c.ConnectTimeout)
}

// CheckTimeout adds a fault if seconds is no time to wait for a connection.
func CheckTimeout(bad *faults.List, field string, seconds int64) {
	if seconds < 1 || seconds > maxTimeout {
		bad.Addf(field, "Give a time between 1 and %d seconds", maxTimeout)
	}
}

// CheckPort adds a fault if port is no TCP port.
func CheckPort(bad *faults.List, field string, port int64) {
	if port < 1 || port > 65535 {
		bad.Addf(field, "There is no port %d: give one between 1 and 65535", port)
	}
}

// CheckHost adds a fault if host is not the name or address of a host.
func CheckHost(bad *faults.List, field, host string) {
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		bad.Addf(field, "This is a URL: give only the name or address of the host, such as %s", u.Hostname())
		return
	}
	var config *ssh.ConfigError
	if err := (&ssh.Config{Host: host, User: "any"}).Check(); errors.As(err, &config) {
		bad.Addf(field, "This is not the name or address of a host")
	}
}

// hostKey tells why no host could be known by what c, a connection, has for it (decisions 28).
func (c *Credential) hostKey() error {
	found := false
	for line := range strings.Lines(c.Connection.HostKey) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		found = true
		// Hosts before the key read like options of authorized_keys, but for a mark before them.
		_, unmarked, _ := strings.Cut(line, " ")
		if ssh.CheckPublicKey(line) != nil && (line[0] != '@' || ssh.CheckPublicKey(unmarked) != nil) {
			return fmt.Errorf("The host key of SSH connection '%s' cannot be read: give lines of type and key, as ssh-keyscan shows them", c.Name) //nolint:staticcheck // a sentence of a state
		}
	}
	if !found {
		return fmt.Errorf("SSH connection '%s' has no host key: without one no host can be told from another", c.Name)
	}
	return nil
}

// config is how the host is dialled. private is the key pair's.
func (c *Connection) config(private string) ssh.Config {
	return ssh.Config{
		User: c.User, Host: c.Host, Port: int(c.Port),
		Keys: []ssh.PrivateKey{ssh.PrivateKey(private)}, HostKeys: []string{c.HostKey},
		ConnectTimeout: time.Duration(c.ConnectTimeout) * time.Second,
	}
}
