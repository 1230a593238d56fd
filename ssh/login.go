package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// Ciphers lists those that are offered to a host, the preferred first: AES-GCM is the fastest wherever the processor knows
// AES, and in both sizes runs at the speed of the copies around it; chacha20 has no assembly on amd64 and comes last.
func Ciphers() []string {
	return []string{
		xssh.CipherAES128GCM, xssh.CipherAES256GCM, xssh.CipherAES256CTR, xssh.CipherAES128CTR, xssh.CipherChaCha20Poly1305,
	}
}

// rekeyThreshold is after how many bytes new keys are agreed on: GCM is safe for 2^32 packets with one key, and OpenSSH
// itself goes on for 64 GiB with AES. x/crypto's 1 GiB would stop a fast stream every two seconds.
const rekeyThreshold = 32 << 30

// A server that has too many logins under way drops new ones, at random, before it says a word. Then a login is tried
// anew after these waits.
func dropWaits() []time.Duration { return []time.Duration{200 * time.Millisecond, time.Second} }

// errDropped is a server that closed the connection before it said what it is.
var errDropped = errors.New("connection closed at once")

// login connects and logs in, and gives up when ctx ends.
func login(ctx context.Context, c *Config) (*conn, error) {
	waits := dropWaits()
	for {
		l := attempt{cfg: c}
		conn, err := l.do(ctx)
		if err == nil || !errors.Is(err, errDropped) || len(waits) == 0 {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(waits[0]):
			waits = waits[1:]
		}
	}
}

// attempt is one attempt to log in, and how far it came.
type attempt struct {
	cfg      *Config
	keys     *hostKeys
	ids      *identities
	greeted  bool     // the host showed a host key: it is an SSH server
	accepted bool     // and the key was right
	methods  []string // the host would take
}

func (a *attempt) do(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.cfg.ConnectTimeout+a.cfg.LoginTimeout, &DialError{
		Addr: a.cfg.addr(), Kind: ErrTimeout,
		Reason: fmt.Sprintf("login was not done within %v: the host or what is between is very slow, or it is no SSH server", a.cfg.LoginTimeout),
	})
	defer cancel()
	var err error
	if a.keys, err = a.cfg.hostKeys(); err != nil {
		return nil, err
	}
	if a.ids, err = a.cfg.identities(ctx); err != nil {
		return nil, err
	}
	defer a.ids.Close()

	client, wire, err := a.handshake(ctx, a.keys.algorithms(), a.check)
	if mismatch := (*xssh.AlgorithmNegotiationError)(nil); errors.As(err, &mismatch) && !a.greeted {
		if changed := a.look(ctx); changed != nil {
			err = changed
		}
	}
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return newConn(a.cfg, client, wire), nil
}

func (a *attempt) check(name string, remote net.Addr, key xssh.PublicKey) error {
	a.greeted = true
	err := a.keys.check(name, remote, key)
	a.accepted = err == nil
	return err
}

// look asks a host that has none of the known types of keys any more for the key that it has, so that the error can name
// both. It accepts none.
func (a *attempt) look(ctx context.Context) error {
	var changed error
	_, _, _ = a.handshake(ctx, allAlgorithms(), func(_ string, _ net.Addr, key xssh.PublicKey) error {
		changed = a.keys.unexpected(key, a.keys.known())
		return changed
	})
	return changed
}

// handshake connects and logs in. An error of connecting is a *DialError.
func (a *attempt) handshake(ctx context.Context, algorithms []string, check xssh.HostKeyCallback) (*xssh.Client, *wire, error) {
	addr := a.cfg.addr()
	tcp, err := (&net.Dialer{Timeout: a.cfg.ConnectTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, a.dialError(err)
	}
	w := newWire(tcp)
	// A deadline in the past wakes every read and write, which then fail.
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	config := &xssh.ClientConfig{
		Config:            xssh.Config{Ciphers: Ciphers(), RekeyThreshold: rekeyThreshold},
		User:              a.cfg.User,
		Auth:              []xssh.AuthMethod{xssh.PublicKeys(a.ids.signers...)},
		HostKeyCallback:   check,
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-zferry",
		AuthCallback: func(c *xssh.ClientAuthContext) (xssh.AuthMethod, error) {
			a.methods = c.AllowedMethods
			return nil, nil //nolint:nilnil // stands for: go on as configured
		},
	}
	conn, channels, requests, err := xssh.NewClientConn(w, addr, config)
	if err != nil {
		_ = w.Close()
		stop()
		return nil, nil, err
	}
	if !stop() {
		_ = conn.Close()
		return nil, nil, context.Cause(ctx)
	}
	return xssh.NewClient(conn, channels, requests), w, nil
}

// explain says what a failed attempt means to a person.
func (a *attempt) explain(ctx context.Context, err error) error {
	addr := a.cfg.addr()
	var hostKey *HostKeyError
	var dial *DialError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &hostKey):
		return hostKey
	case errors.As(err, &dial):
		return dial
	case a.greeted && !a.accepted:
		return err
	case a.accepted && refusal(err):
		e := &AuthError{Addr: addr, User: a.cfg.User, Keys: a.ids.offered, Methods: a.methods, Skipped: a.ids.skipped}
		if !strings.Contains(err.Error(), "unable to authenticate") {
			e.Reason = reason(err)
		}
		return e
	case a.accepted:
		return &LostError{Addr: addr, Err: fmt.Errorf("during the login: %w", err)}
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return &DialError{
			Addr: addr, Err: errDropped,
			Reason: "closes the connection at once: it refuses this machine, has too many logins under way (MaxStartups), or is no SSH server",
		}
	case errors.As(err, new(*xssh.AlgorithmNegotiationError)):
		return &DialError{Addr: addr, Err: err, Reason: "shares no algorithm with us: " + reason(err)}
	}
	return &DialError{Addr: addr, Err: err, Reason: "does not answer like an SSH server, is the port right? " + reason(err)}
}

// refusal tells a host that does not want the login from a connection that broke.
func refusal(err error) bool {
	text := err.Error()
	return slices.ContainsFunc([]string{"unable to authenticate", "ssh: disconnect", "too many authentication"}, func(s string) bool {
		return strings.Contains(text, s)
	})
}

// reason is what is left of an error of x/crypto/ssh without its prefixes.
func reason(err error) string {
	text := err.Error()
	for _, p := range []string{"ssh: handshake failed: ", "ssh: ", "disconnect, reason "} {
		text = strings.TrimPrefix(text, p)
	}
	return text
}

func (a *attempt) dialError(err error) error {
	e := &DialError{Addr: a.cfg.addr(), Err: err}
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && !dns.Timeout():
		e.Kind, e.Reason = ErrNoSuchHost, fmt.Sprintf("no address is known for the name %q", a.cfg.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind, e.Reason = ErrRefused, "connection refused: no SSH server listens on this port there"
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Kind, e.Reason = ErrTimeout, fmt.Sprintf("no answer within %v: the host is down, or a firewall is between", a.cfg.ConnectTimeout)
	default:
		e.Reason = "cannot be reached: " + plain(err)
	}
	return e
}

// plain is the cause of an error of connecting, without addresses, which the caller names.
func plain(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
