package ssh

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Config says how a host is reached and who logs in.
type Config struct {
	User string // required
	Host string // name or address; required
	Port int    // 0 is 22

	Keys        []PrivateKey // tried first
	KeyFiles    []string     // private keys, tried next; each must exist
	AgentSocket string       // socket of an SSH agent whose keys are tried last; "" for none

	KnownHosts []string // known_hosts files; one that does not exist is empty
	HostKeys   []string // host keys accepted beside them, as known_hosts or authorized_keys lines; several in one text are fine

	ConnectTimeout time.Duration // for the TCP connection; 0 is 10 s
	LoginTimeout   time.Duration // for what follows, until commands can run; 0 is 30 s
	Keepalive      time.Duration // after so long without a sign of life the host is asked for one; 0 is 10 s
	KeepaliveCount int           // after so many such intervals the connection is lost; 0 is 3
}

// PrivateKey is a private key in PEM. It prints as a placeholder.
type PrivateKey []byte

const redacted = "[private key]"

// String keeps the key out of what is printed.
func (PrivateKey) String() string { return redacted }

// GoString keeps the key out of what is printed with %#v.
func (PrivateKey) GoString() string { return redacted }

// Format keeps the key out of what is printed with any other verb.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText keeps the key out of logs and JSON.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const defaultPort = 22

// Check tells why c cannot be used, in a *ConfigError, without dialling.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults returns c with every field set, or why it cannot be used.
func (c Config) withDefaults() (Config, error) {
	c.Port = cmp.Or(c.Port, defaultPort)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	c.LoginTimeout = cmp.Or(c.LoginTimeout, 30*time.Second)
	c.Keepalive = cmp.Or(c.Keepalive, 10*time.Second)
	c.KeepaliveCount = cmp.Or(c.KeepaliveCount, 3)
	switch {
	case c.Host == "":
		return c, &ConfigError{Field: "host", Reason: "is empty"}
	case strings.Contains(c.Host, "://"):
		return c, &ConfigError{Field: "host", Reason: fmt.Sprintf("%q is a URL: give only the name or address of the host", c.Host)}
	case strings.HasPrefix(c.Host, "-") || strings.ContainsAny(c.Host, " \t\r\n/@'\"\\,*?!|#"):
		return c, &ConfigError{Field: "host", Reason: fmt.Sprintf("%q is not the name or address of a host", c.Host)}
	case c.Port < 1 || c.Port > 65535:
		return c, &ConfigError{Field: "port", Reason: fmt.Sprintf("%d is not between 1 and 65535", c.Port)}
	case c.User == "":
		return c, &ConfigError{Field: "user", Reason: "is empty"}
	}
	return c, nil
}

// addr is host and port, as errors name them.
func (c *Config) addr() string {
	return net.JoinHostPort(strings.Trim(c.Host, "[]"), strconv.Itoa(c.Port))
}

// identity is equal for equal configurations, so that their connections can be shared.
func (c *Config) identity() [sha256.Size]byte {
	h := sha256.New()
	for _, k := range c.Keys { // Keys print as placeholders
		fmt.Fprintf(h, "%d:%s\n", len(k), []byte(k))
	}
	_ = json.NewEncoder(h).Encode(c) // a hash takes every write, and the fields are plain
	return [sha256.Size]byte(h.Sum(nil))
}
