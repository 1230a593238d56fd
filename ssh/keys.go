package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// identities are the keys of one login.
type identities struct {
	signers []xssh.Signer
	offered []string // fingerprint and origin of each signer
	skipped []string // what could not be used, and why
	seen    map[string]bool
	agent   net.Conn // nil, or the agent that signs for some of them
}

// Close ends the conversation with the agent.
func (ids *identities) Close() {
	if ids.agent != nil {
		_ = ids.agent.Close()
	}
}

// identities reads all keys of the configuration. The caller closes what it returns.
func (c *Config) identities(ctx context.Context) (*identities, error) {
	ids := &identities{seen: map[string]bool{}}
	var locked []*KeyError // protected by a passphrase
	lockedKeys := map[string]bool{}
	add := func(name string, pem []byte, public []byte) error {
		signer, err := xssh.ParsePrivateKey(pem)
		if missing := (*xssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
			key := missing.PublicKey
			if key == nil && public != nil {
				key, _, _, _, _ = xssh.ParseAuthorizedKey(public)
			}
			if key != nil {
				lockedKeys[string(key.Marshal())] = true
			}
			locked = append(locked, &KeyError{Name: name, Err: ErrPassphrase})
			return nil
		}
		if err != nil {
			return &KeyError{Name: name, Err: errors.New("is not a private key that can be read (RSA, ECDSA or Ed25519, in PEM)")}
		}
		ids.add(signer, name)
		return nil
	}
	for i, k := range c.Keys {
		if err := add(fmt.Sprintf("key %d", i+1), k, nil); err != nil {
			return nil, err
		}
	}
	for _, file := range c.KeyFiles {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		public, _ := os.ReadFile(file + ".pub") // older formats name the public key nowhere else
		if err := add(file, pem, public); err != nil {
			return nil, err
		}
	}
	if c.AgentSocket != "" {
		if err := ids.askAgent(ctx, c.AgentSocket, lockedKeys); err != nil {
			ids.skipped = append(ids.skipped, err.Error())
		}
	}
	return ids.complete(c, locked)
}

// complete decides whether there is a key to log in with. A protected key that the agent holds too has been added; one
// that it does not hold is an error only if nothing else could work.
func (ids *identities) complete(c *Config, locked []*KeyError) (*identities, error) {
	if len(ids.signers) > 0 {
		for _, e := range locked {
			ids.skipped = append(ids.skipped, e.Name+" (protected by a passphrase)")
		}
		return ids, nil
	}
	ids.Close()
	if len(locked) > 0 {
		return nil, locked[0]
	}
	reason := "none is given"
	if c.AgentSocket != "" {
		reason = "the SSH agent holds none"
	}
	if len(ids.skipped) > 0 {
		reason = ids.skipped[0]
	}
	return nil, &KeyError{Name: fmt.Sprintf("no key to log in to %s with", c.addr()), Err: errors.New(reason)}
}

func (ids *identities) add(s xssh.Signer, origin string) {
	wire := string(s.PublicKey().Marshal())
	if ids.seen[wire] {
		return
	}
	ids.seen[wire] = true
	ids.signers = append(ids.signers, s)
	ids.offered = append(ids.offered, fmt.Sprintf("%s %s (%s)", s.PublicKey().Type(), xssh.FingerprintSHA256(s.PublicKey()), origin))
}

// askAgent adds the keys of an agent, those in first before the others: the user has named them, and a host takes only a
// few attempts.
func (ids *identities) askAgent(ctx context.Context, socket string, first map[string]bool) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("the SSH agent at %s does not answer", socket)
	}
	ids.agent = conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		return fmt.Errorf("the SSH agent at %s lists no keys: %w", socket, err)
	}
	for _, named := range []bool{true, false} {
		for _, s := range signers {
			if first[string(s.PublicKey().Marshal())] == named {
				ids.add(s, "agent")
			}
		}
	}
	return nil
}
