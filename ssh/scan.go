package ssh

import (
	"context"
	"errors"
	"net"
	"strings"

	xssh "golang.org/x/crypto/ssh"
)

// errScanned ends the handshake of a scan: the key has been seen, and nobody logs in.
var errScanned = errors.New("scanned")

// ScanHostKeys asks a host for its keys, one of each type, and returns a line "type key" for each. Nothing vouches for them:
// a person compares the fingerprints. Of c it uses the host, the port and the times. Errors: *ConfigError, *DialError, the
// cause of ctx.
func ScanHostKeys(ctx context.Context, c Config) ([]string, error) {
	c.User = "scan"
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.ConnectTimeout+c.LoginTimeout, &DialError{
		Addr: c.addr(), Kind: ErrTimeout, Reason: "did not show its keys in time",
	})
	defer cancel()
	var lines []string
	for _, algorithms := range [][]string{
		{xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256},
		{xssh.KeyAlgoECDSA256, xssh.KeyAlgoECDSA384, xssh.KeyAlgoECDSA521},
		{xssh.KeyAlgoED25519},
	} {
		line, err := scanOne(ctx, &c, algorithms)
		if err != nil {
			return nil, err
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, &DialError{Addr: c.addr(), Reason: "has no host key of a known type"}
	}
	return lines, nil
}

// scanOne returns the host's key for one of the algorithms, or "" if it has none.
func scanOne(ctx context.Context, c *Config, algorithms []string) (string, error) {
	a := attempt{cfg: c, ids: &identities{}}
	line := ""
	_, _, err := a.handshake(ctx, algorithms, func(_ string, _ net.Addr, key xssh.PublicKey) error {
		line = strings.TrimSpace(string(xssh.MarshalAuthorizedKey(key)))
		return errScanned
	})
	switch {
	case line != "" || errors.As(err, new(*xssh.AlgorithmNegotiationError)):
		return line, nil
	case err == nil:
		err = errors.New("no key was shown")
	}
	return "", a.explain(ctx, err)
}
