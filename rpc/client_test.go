package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/rpc"
)

// api is a server of the clients' API that can be stopped and started again at the same place.
type api struct {
	testing.TB
	path string

	mu         sync.Mutex // guards what follows
	conns      []*rpc.Conn
	log        []string // methods and their first argument
	refuse     error    // what a log-in is answered with
	hold       chan struct{}
	held       chan struct{}
	server     *http.Server
	subscribed chan string
}

func newAPI(tb testing.TB) *api {
	a := &api{TB: tb, path: filepath.Join(tb.TempDir(), "s"), held: make(chan struct{}, 8), subscribed: make(chan string, 8)}
	a.start()
	tb.Cleanup(a.stop)
	return a
}

func (a *api) url() string { return "unix://" + a.path }

func (a *api) start() {
	a.Helper()
	l, err := net.Listen("unix", a.path)
	if err != nil {
		a.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := rpc.Accept(w, r, rpc.Options{ArrayParams: true, Handler: a.handle})
		if err != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.conns = append(a.conns, c)
	})}
	a.mu.Lock()
	a.server = s
	a.mu.Unlock()
	go func() { _ = s.Serve(l) }() // ends with stop
}

func (a *api) stop() {
	a.mu.Lock()
	conns, server := a.conns, a.server
	a.conns = nil
	a.mu.Unlock()
	_ = server.Close()
	for _, c := range conns {
		c.Close(1001, "restarting")
	}
}

func (a *api) handle(ctx context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
	var args []string
	_ = json.Unmarshal(r.Params, &args)
	what := r.Method
	if len(args) > 0 {
		what += " " + args[0]
	}
	a.mu.Lock()
	a.log = append(a.log, what)
	refuse, hold := a.refuse, a.hold
	a.mu.Unlock()
	switch r.Method {
	case "auth.login":
		return true, refuse
	case "core.subscribe":
		a.subscribed <- args[0]
		return "id", nil
	case "wait":
		a.held <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return what, nil
}

func (a *api) publish(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		_ = c.Notify(a.Context(), "collection_update", json.RawMessage(text))
	}
}

func (a *api) takeLog() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	log := a.log
	a.log = nil
	return log
}

func (a *api) setRefuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = err
}

// TestClientReconnects: after the server restarts the client logs in again and subscribes anew, before anything else.
func TestClientReconnects(t *testing.T) {
	a := newAPI(t)
	events, back := make(chan rpc.Event, 8), make(chan struct{}, 8)
	c := rpc.NewClient(rpc.ClientOptions{
		URL:         a.url(),
		Login:       func(ctx context.Context, c *rpc.Conn) error { return c.Call(ctx, "auth.login", []string{"admin"}, nil) },
		OnEvent:     func(e rpc.Event) { events <- e },
		OnReconnect: func() { back <- struct{}{} },
	})
	defer c.Close()
	if err := c.Subscribe(t.Context(), "core.get_jobs"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := c.Call(t.Context(), "zfs", []any{"x"}, &got); err != nil || got != "zfs x" {
		t.Fatal(got, err)
	}
	want := []string{"auth.login admin", "core.subscribe core.get_jobs", "zfs x"}
	if diff := cmp.Diff(want, a.takeLog()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	a.publish(`{"msg":"changed","collection":"core.get_jobs","id":7,"fields":{"id":7}}`)
	e := <-events
	if e.Msg != "changed" || e.Collection != "core.get_jobs" || string(e.ID) != "7" || string(e.Fields) != `{"id":7}` {
		t.Errorf("got %+v", e)
	}

	// A call under way when the server goes is not repeated.
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "wait", nil, nil) }()
	<-a.held
	a.stop()
	if err := <-result; !errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	// While it is away calls wait, as long as they may.
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Call(short, "x", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	a.takeLog()
	go func() { result <- c.Call(t.Context(), "zfs", []any{"y"}, &got) }()
	a.start()
	if err := <-result; err != nil || got != "zfs y" {
		t.Errorf("got %q, %v", got, err)
	}
	<-back
	want = []string{"auth.login admin", "core.subscribe core.get_jobs", "zfs y"}
	if diff := cmp.Diff(want, a.takeLog()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	a.publish(`{"msg":"removed","collection":"core.get_jobs","id":7}`)
	if e := <-events; e.Msg != "removed" || e.Fields != nil {
		t.Errorf("got %+v", e)
	}
	if len(back) > 0 {
		t.Error("reconnected twice")
	}
}

func TestClientFirst(t *testing.T) {
	c := rpc.NewClient(rpc.ClientOptions{URL: "unix:///nowhere/s"})
	if err := c.Call(t.Context(), "x", nil, nil); err == nil || err.Error() != "dial unix:///nowhere/s: dial unix /nowhere/s: connect: no such file or directory" {
		t.Errorf("got %v", err)
	}
	c.Close()
	c.Close()
	if err := c.Call(t.Context(), "x", nil, nil); !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("got %v", err)
	}

	// A server that is not there at first may be there at the next call; and many first calls make one connection.
	a := newAPI(t)
	a.setRefuse(rpc.Errorf(rpc.EACCES, "wrong key"))
	c = rpc.NewClient(rpc.ClientOptions{URL: a.url(), Login: func(ctx context.Context, c *rpc.Conn) error {
		return c.Call(ctx, "auth.login", nil, nil)
	}})
	defer c.Close()
	if err := c.Call(t.Context(), "x", nil, nil); err == nil || err.Error() != "[EACCES] wrong key" {
		t.Errorf("got %v", err)
	}
	a.setRefuse(nil)
	a.takeLog()
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if err := c.Call(t.Context(), "x", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if log := a.takeLog(); len(log) != 11 || log[0] != "auth.login" {
		t.Errorf("got %v", log)
	}
}

// TestClientRefused: a log-in that is refused after a restart is told to those who wait.
func TestClientRefused(t *testing.T) {
	a, back := newAPI(t), make(chan struct{}, 1)
	c := rpc.NewClient(rpc.ClientOptions{
		URL:         a.url(),
		Login:       func(ctx context.Context, c *rpc.Conn) error { return c.Call(ctx, "auth.login", nil, nil) },
		OnReconnect: func() { back <- struct{}{} },
	})
	defer c.Close()
	if err := c.Call(t.Context(), "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	a.setRefuse(rpc.Errorf(rpc.EACCES, "key was revoked"))
	a.stop()
	a.start()
	var err error
	for err = c.Call(t.Context(), "x", nil, nil); errors.Is(err, rpc.ErrOutcomeUnknown); err = c.Call(t.Context(), "x", nil, nil) {
	}
	call, ok := errors.AsType[*rpc.CallError](err)
	if !ok || call.Errno != rpc.EACCES {
		t.Errorf("got %v", err)
	}
	a.setRefuse(nil)
	<-back // it tries again by itself
	if err := c.Call(t.Context(), "x", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestClientClose: it ends calls, and waits while the first connection is being made.
func TestClientClose(t *testing.T) {
	entered := make(chan struct{})
	a := newAPI(t)
	c := rpc.NewClient(rpc.ClientOptions{URL: a.url(), Login: func(ctx context.Context, _ *rpc.Conn) error {
		close(entered)
		<-ctx.Done()
		return context.Cause(ctx)
	}})
	result := make(chan error, 2)
	go func() { result <- c.Call(t.Context(), "x", nil, nil) }()
	<-entered
	c.Close()
	if err := <-result; !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("got %v", err)
	}

	c = rpc.NewClient(rpc.ClientOptions{URL: a.url()})
	go func() { result <- c.Call(t.Context(), "wait", nil, nil) }()
	<-a.held
	c.Close()
	if err := <-result; !errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
}
