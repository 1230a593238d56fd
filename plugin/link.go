package plugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
)

const (
	firstRedial = 100 * time.Millisecond
	lastRedial  = 5 * time.Second
	dialTime    = 20 * time.Second // to connect and register
	silence     = 20 * time.Second // after which the host is pinged
)

// errNowhere is a link that does not know where its host is.
var errNowhere = errors.New("no host is known")

// link is the connection to the host's WebSocket: it dials, registers, and does so again when the connection is lost
// (docs/host-protocol.md).
type link struct {
	// settings gives the URL and a registration token, anew for each try; errNowhere if there is none yet.
	settings func() (boundary.Settings, error)
	handler  rpc.Handler
	// registration is the parameters of plugin.register, without token and secret.
	registration func() map[string]any
	registered   func(ctx context.Context, first, step int64) error // before anything is sent
	outbox       *outbox
	log          *slog.Logger

	secret string        // of the last registration; used by run alone
	wake   chan struct{} // holds a value when settings have changed

	mu    sync.Mutex // guards the field below
	alone time.Time  // since when there is no host; zero while there is one
}

// welcome is the result of plugin.register.
type welcome struct {
	Secret string `json:"reconnect_secret"`
	Jobs   struct {
		First int64 `json:"first"`
		Step  int64 `json:"step"`
	} `json:"jobs"`
	Host struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"host"`
}

// run keeps the connection until ctx ends.
func (l *link) run(ctx context.Context) {
	wait := firstRedial
	for ctx.Err() == nil {
		served, err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		var refused *rpc.CallError
		switch {
		case served:
			l.log.Warn("the connection to the host was lost", "err", err)
			wait = firstRedial
		case errors.Is(err, errNowhere):
			wait = lastRedial
		case errors.As(err, &refused) && refused.Errno != rpc.EACCES:
			// It will not be another answer before something changes there.
			l.log.Error("the host refuses this plugin", "err", err)
			wait = time.Minute
		default:
			l.log.Debug("the host cannot be reached", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			wait = firstRedial
		case <-time.After(wait):
			wait = min(2*wait, lastRedial)
		}
	}
}

// changed says that settings gives something new: it is tried at once.
func (l *link) changed() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// orphaned tells for how long there has been no host.
func (l *link) orphaned() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alone.IsZero() {
		return 0
	}
	return time.Since(l.alone)
}

func (l *link) setAlone(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alone = since
}

// once connects, registers and serves until the connection is lost or settings have changed.
func (l *link) once(ctx context.Context) (served bool, err error) {
	conn, err := l.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(0, "")
	l.setAlone(time.Time{})
	defer func() { l.setAlone(time.Now()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-conn.Done():
			cancel(conn.Err())
		case <-l.wake:
			l.changed() // for run, which dials at once
			cancel(errors.New("another host is to be used"))
		}
	})
	err = l.outbox.serve(ctx, conn)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	wg.Wait()
	return true, err
}

// dial connects and registers.
func (l *link) dial(ctx context.Context) (*rpc.Conn, error) {
	s, err := l.settings()
	if err != nil {
		return nil, err
	}
	options, err := dialOptions(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	ready := make(chan struct{})
	conn, err := rpc.Dial(ctx, pluginURL(s.URL), options, rpc.Options{
		Handler: l.gated(ready), PingAfter: silence, Streams: true, OddStreams: true, Log: l.log,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the host: %w", err)
	}
	w, err := l.register(ctx, conn, s.Token)
	if err != nil {
		conn.Close(0, "")
		return nil, err
	}
	l.secret = w.Secret
	if err := l.registered(ctx, w.Jobs.First, w.Jobs.Step); err != nil {
		conn.Close(0, "")
		return nil, err
	}
	close(ready)
	l.log.Info("registered with the host", "host", w.Host.Name, "version", w.Host.Version)
	return conn, nil
}

// gated answers calls once the link is ready: a host may call right behind its reply, before what stands in that is known.
func (l *link) gated(ready <-chan struct{}) rpc.Handler {
	return func(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
		select {
		case <-ready:
			return l.handler(ctx, c, r)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// register tries the secret of the last registration, and the token if there is none or the host has forgotten it: after a
// refusal the host closes the connection, so the token has its turn with the next one.
func (l *link) register(ctx context.Context, conn *rpc.Conn, token string) (w welcome, err error) {
	params := l.registration()
	proof := "token"
	if l.secret != "" {
		proof, token = "secret", l.secret
	}
	params[proof] = token
	err = conn.Call(ctx, "plugin.register", params, &w)
	if refused, ok := errors.AsType[*rpc.CallError](err); ok && refused.Errno == rpc.EACCES {
		l.secret = ""
	}
	if err != nil {
		return w, fmt.Errorf("register with the host: %w", err)
	}
	return w, nil
}

// pluginURL is the address with the path that the protocol lays down for a Unix socket.
func pluginURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" || u.Query().Has("path") {
		return address
	}
	u.RawQuery = url.Values{"path": {"/plugin/v1"}}.Encode()
	return u.String()
}

// checkURL tells why an address cannot be a host's.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the host's URL: %w", errors.Unwrap(err))
	}
	switch u.Scheme {
	case "unix", "wss":
		return nil
	case "ws":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
		return errors.New("the host's URL: ws is taken for loopback addresses only, because nothing would protect what goes over the network: use wss")
	}
	return fmt.Errorf("the host's URL: %q is none of unix, wss and ws", u.Scheme)
}

func dialOptions(s boundary.Settings) (rpc.DialOptions, error) {
	if err := checkURL(s.URL); err != nil {
		return rpc.DialOptions{}, err
	}
	if s.CAPEM == "" {
		return rpc.DialOptions{}, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(s.CAPEM)) {
		return rpc.DialOptions{}, errors.New("the host's certificates: none can be read")
	}
	return rpc.DialOptions{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, nil
}

// registrationOf lists what the plugin offers.
func registrationOf(r *rpc.Registry, events map[string][]string) (offered []map[string]any, listed []map[string]any) {
	for _, m := range r.Methods() {
		offered = append(offered, map[string]any{
			"name": m.Name, "description": m.Description, "roles": orEmpty(m.Roles), "job": m.Job, "abortable": m.Abortable, "logs": m.Logs, "read_roles": orEmpty(m.ReadRoles),
		})
	}
	for name, roles := range events {
		listed = append(listed, map[string]any{"name": name, "roles": orEmpty(roles)})
	}
	return offered, listed
}

func orEmpty(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// pluginCall is the parameters of plugin.call.
type pluginCall struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Caller rpc.Caller      `json:"caller"`
	Output *uint32         `json:"output"`
	Input  *uint32         `json:"input"`
}
