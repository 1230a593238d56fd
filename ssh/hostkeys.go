package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys knows which key a host must show.
type hostKeys struct {
	addr  string
	file  string // where a new key would be added
	db    *knownhosts.HostKeyDB
	fixed []xssh.PublicKey
}

// hostKeys reads what the configuration accepts, anew for each login, so that a corrected file counts at once.
func (c *Config) hostKeys() (*hostKeys, error) {
	h := &hostKeys{addr: c.addr()}
	var files []string
	for _, f := range c.KnownHosts {
		if h.file == "" {
			h.file = f
		}
		if _, err := os.Stat(f); err == nil {
			files = append(files, f)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("known hosts: %w", err)
		}
	}
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	h.db = db
	for _, text := range c.HostKeys {
		keys, err := parseHostKeys(text)
		if err != nil {
			return nil, err
		}
		h.fixed = append(h.fixed, keys...)
	}
	return h, nil
}

// parseHostKeys reads lines "type key [comment]" or "hosts type key [comment]". They were given for one host, so the
// names in them do not matter.
func parseHostKeys(text string) ([]xssh.PublicKey, error) {
	var keys []xssh.PublicKey
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, _, _, err := xssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			_, _, key, _, _, err = xssh.ParseKnownHosts([]byte(line))
		}
		if err != nil {
			return nil, &ConfigError{Field: "host key", Reason: fmt.Sprintf("%.20q... is not a line of type and key", line)}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// algorithms are those of the keys that are known, those given for this host first, so that the host shows one of them and
// not another it has; all of them if none is known.
func (h *hostKeys) algorithms() []string {
	var known []string
	for _, k := range h.fixed {
		if k.Type() == xssh.KeyAlgoRSA {
			known = append(known, xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256)
		} else {
			known = append(known, k.Type())
		}
	}
	known = append(known, h.db.HostKeyAlgorithms(h.addr)...)
	// ssh-rsa alone names signatures with SHA-1, which are not taken any more.
	known = slices.DeleteFunc(known, func(a string) bool { return a == xssh.KeyAlgoRSA })
	if len(known) == 0 {
		return allAlgorithms()
	}
	return known
}

// allAlgorithms are in OpenSSH's order, so that an unknown host shows the same key to us as to ssh.
func allAlgorithms() []string {
	return []string{
		xssh.KeyAlgoED25519, xssh.KeyAlgoECDSA256, xssh.KeyAlgoECDSA384, xssh.KeyAlgoECDSA521, xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256,
	}
}

// check is the callback of a handshake.
func (h *hostKeys) check(name string, remote net.Addr, key xssh.PublicKey) error {
	for _, k := range h.fixed {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return nil
		}
	}
	err := h.db.HostKeyCallback()(name, remote, key)
	if revoked := (*xknownhosts.RevokedError)(nil); errors.As(err, &revoked) {
		return h.refuse(ErrHostKeyRevoked, key, []xknownhosts.KnownKey{revoked.Revoked})
	}
	unknown := (*xknownhosts.KeyError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return h.unexpected(key, unknown.Want)
	}
	return fmt.Errorf("host key of %s: %w", h.addr, err) // a certificate that does not fit
}

// unexpected is the error for a key that is none of those known.
func (h *hostKeys) unexpected(key xssh.PublicKey, known []xknownhosts.KnownKey) error {
	if len(known)+len(h.fixed) == 0 {
		return h.refuse(ErrUnknownHost, key, nil)
	}
	return h.refuse(ErrHostKeyChanged, key, known)
}

func (h *hostKeys) refuse(kind error, key xssh.PublicKey, known []xknownhosts.KnownKey) error {
	e := &HostKeyError{
		Addr: h.addr, Kind: kind, Type: key.Type(), Have: xssh.FingerprintSHA256(key),
		File: h.file, Line: knownhosts.Line([]string{h.addr}, key),
	}
	for _, k := range known {
		e.Want = append(e.Want, xssh.FingerprintSHA256(k.Key))
		e.Where = append(e.Where, fmt.Sprintf("%s:%d", k.Filename, k.Line))
	}
	if errors.Is(kind, ErrHostKeyChanged) {
		for _, k := range h.fixed {
			e.Want = append(e.Want, xssh.FingerprintSHA256(k))
			e.Where = append(e.Where, "configured")
		}
	}
	return e
}

// known lists every key that is known for the host.
func (h *hostKeys) known() []xknownhosts.KnownKey {
	// A key that cannot be known makes the database list those that are.
	err := h.db.HostKeyCallback()(h.addr, &net.TCPAddr{IP: net.IPv4zero}, strangeKey{})
	if e := (*xknownhosts.KeyError)(nil); errors.As(err, &e) {
		return e.Want
	}
	return nil
}

// strangeKey is a key that no host has.
type strangeKey struct{}

func (strangeKey) Type() string                         { return "strange" }
func (strangeKey) Marshal() []byte                      { return []byte("strange") }
func (strangeKey) Verify([]byte, *xssh.Signature) error { return errors.New("strange key") }
