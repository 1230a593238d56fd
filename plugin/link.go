package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
)

const (
	firstRedial = 100 * time.Millisecond
	lastRedial  = 5 * time.Second
)

// linkTimes are how long a link waits.
type linkTimes struct {
	dial    time.Duration // to connect and register
	silence time.Duration // after which the host is pinged
	write   time.Duration // for a host that does not read
	refused time.Duration // before it asks again a host that has refused it
}

func usualTimes() linkTimes {
	return linkTimes{dial: 20 * time.Second, silence: 20 * time.Second, write: 20 * time.Second, refused: time.Minute}
}

// errForgotten is a host that does not take the reconnect secret any more.
var errForgotten = errors.New("the reconnect secret is refused")

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
	times        linkTimes

	secret string        // of the last registration; used by run alone
	said   string        // the trouble that was logged last; likewise
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
		switch {
		case served:
			l.log.Warn("the connection to the host was lost", "err", err)
			wait, l.said = firstRedial, ""
		case errors.Is(err, errNowhere):
			wait = lastRedial
		case errors.Is(err, errForgotten):
			l.log.Info("the host was restarted or has forgotten this plugin, which will show it a token", "err", err)
		case refused(err):
			l.log.Error("the host refuses this plugin", "err", err, "again_in", l.times.refused)
			wait = l.times.refused
		default:
			l.unreachable(ctx, err)
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

// refused tells whether err is the host's answer to a registration, and one that stays the same until something changes there.
// A connection that is lost under a call gives a *rpc.CallError too, and is no answer.
func refused(err error) bool {
	answer, ok := errors.AsType[*rpc.CallError](err)
	return ok && answer.Errno != rpc.EACCES && !errors.Is(err, rpc.ErrOutcomeUnknown)
}

// unreachable logs why there is no connection, for all to see only when it is something new: it is tried every few seconds.
func (l *link) unreachable(ctx context.Context, err error) {
	level := slog.LevelDebug
	if text := err.Error(); text != l.said {
		level, l.said = slog.LevelWarn, text
	}
	l.log.Log(ctx, level, "the host cannot be reached", "err", err)
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
	err = l.outbox.serve(ctx, fitting{conn, l.log})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	wg.Wait()
	return true, err
}

// fitting leaves out, with a line in the log, what no frame can carry: it must not cost the connection, each time anew.
type fitting struct {
	conn *rpc.Conn
	log  *slog.Logger
}

const maxNotification = 16<<20 - 1000 // the frame, without what is around the parameters

// Notify implements notifier.
func (f fitting) Notify(ctx context.Context, method string, params any) error {
	data, err := json.Marshal(params)
	if err == nil && len(data) > maxNotification {
		err = fmt.Errorf("it has %d bytes, more than a frame may have", len(data))
	}
	if err != nil {
		f.log.Error("the host is not told", "method", method, "err", err)
		return nil
	}
	return f.conn.Notify(ctx, method, json.RawMessage(data))
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
	ctx, cancel := context.WithTimeout(ctx, l.times.dial)
	defer cancel()
	ready := make(chan struct{})
	conn, err := rpc.Dial(ctx, pluginURL(s.URL), options, rpc.Options{
		Handler: l.gated(ready), PingAfter: l.times.silence, WriteTimeout: l.times.write, Streams: true, OddStreams: true, Log: l.log,
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
	if answer, ok := errors.AsType[*rpc.CallError](err); ok && answer.Errno == rpc.EACCES && l.secret != "" {
		l.secret = ""
		err = fmt.Errorf("%w: %w", errForgotten, err)
	}
	if err != nil {
		return w, fmt.Errorf("register with the host: %w", err)
	}
	return w, nil
}

// registrationOf lists what the plugin offers.
func registrationOf(r *rpc.Registry, events map[string][]string) (offered []map[string]any, listed []map[string]any) {
	for _, m := range r.Methods() {
		offered = append(offered, map[string]any{
			"name": m.Name, "description": m.Description, "roles": orEmpty(m.Roles), "job": m.Job, "abortable": m.Abortable, "logs": m.Logs, "read_roles": orEmpty(m.ReadRoles),
			"output": m.Output, "accepts": m.Accepts(), "returns": m.Returns(),
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
