package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// patience is how long tests wait for what must come.
const patience = 20 * time.Second

// testHost is a host that serves in a folder of its own.
type testHost struct {
	*Host
	t      testing.TB
	dir    string
	logs   *lockedBuffer
	addr   Addresses
	cancel context.CancelCauseFunc
	done   chan error
}

// serve starts a host that ends with the test.
func serve(t testing.TB, adjust ...func(*Config)) *testHost {
	t.Helper()
	return serveIn(t, shortDir(t), adjust...)
}

// shortDir is a folder whose path is short enough for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zh") //nolint:usetesting // its path would be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serveIn(t testing.TB, dir string, adjust ...func(*Config)) *testHost {
	t.Helper()
	h := &testHost{t: t, dir: dir, logs: &lockedBuffer{}, done: make(chan error, 1)}
	ready := make(chan Addresses, 1)
	c := Config{
		Dir: dir, Listen: "127.0.0.1:0", Sockets: []string{filepath.Join(dir, "clients.sock")}, Version: "1.2.3",
		Log:    slog.New(slog.NewJSONHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready:  func(a Addresses) { ready <- a },
		limits: limits{probe: time.Second},
	}
	for _, a := range adjust {
		a(&c)
	}
	var err error
	if h.Host, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(t.Context()))
	go func() { h.done <- h.Run(ctx) }()
	t.Cleanup(func() { h.stop(nil) })
	if h.addr = h.Addresses(); c.Ready == nil {
		return h
	}
	select {
	case h.addr = <-ready:
	case <-time.After(patience):
		t.Fatal("the host is not ready")
	}
	return h
}

// stop ends the host. A second call does nothing.
func (h *testHost) stop(cause error) {
	h.t.Helper()
	h.cancel(cause)
	if h.done == nil {
		return
	}
	if err := <-h.done; err != nil {
		h.t.Errorf("run: %v", err)
	}
	h.done = nil
}

// lockedBuffer is a log for many goroutines.
type lockedBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("did not come: %s", what)
		}
	}
}

// adminKey is the API key of the first start.
func (h *testHost) adminKey() string {
	h.t.Helper()
	text, err := os.ReadFile(h.addr.KeyFile)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// userKey makes a user with roles and gives an API key.
func (h *testHost) userKey(name string, roles ...string) string {
	h.t.Helper()
	if _, err := h.store.AddUser(h.t.Context(), state.User{Name: name, Roles: roles}); err != nil {
		h.t.Fatal(err)
	}
	_, key, err := h.store.AddKey(h.t.Context(), name, "test")
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

// testClient is a client over TCP, if nothing else is said.
type testClient struct {
	*rpc.Conn
	t      testing.TB
	events chan rpc.Event
}

// dial connects a client that is not logged in.
func (h *testHost) dial(url string) *testClient {
	h.t.Helper()
	c := &testClient{t: h.t, events: make(chan rpc.Event, 100_000)}
	var err error
	c.Conn, err = rpc.Dial(h.t.Context(), url, rpc.DialOptions{}, rpc.Options{
		Notified: func(_ context.Context, _ *rpc.Conn, r rpc.Request) {
			var e rpc.Event
			if err := json.Unmarshal(r.Params, &e); err != nil || r.Method != "collection_update" {
				h.t.Errorf("notification %s %s: %v", r.Method, r.Params, err)
			}
			c.events <- e
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close(0, "") })
	return c
}

func (h *testHost) socketURL() string { return "unix://" + h.addr.Sockets[0] }

// login connects a client and logs it in.
func (h *testHost) login(key string) *testClient {
	h.t.Helper()
	c := h.dial(h.addr.Client)
	var ok bool
	if c.must("auth.login_with_api_key", &ok, key); !ok {
		h.t.Fatal("the API key was refused")
	}
	return c
}

func (c *testClient) call(method string, result any, params ...any) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if params == nil {
		params = []any{}
	}
	return c.Call(ctx, method, params, result)
}

// must makes a call that has to succeed.
func (c *testClient) must(method string, result any, params ...any) {
	c.t.Helper()
	if err := c.call(method, result, params...); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// fails makes a call that has to fail, with an error of this code, errno and text.
func (c *testClient) fails(code int, errno rpc.Errno, reason, method string, params ...any) {
	c.t.Helper()
	var result json.RawMessage
	err := c.call(method, &result, params...)
	if err == nil {
		c.t.Errorf("%s gave %s", method, result)
		return
	}
	checkError(c.t, method, err, code, errno, reason)
}

func checkError(t testing.TB, what string, err error, code int, errno rpc.Errno, reason string) {
	t.Helper()
	wire := rpc.ToWire(err)
	var data struct {
		Error  rpc.Errno
		Reason string
	}
	if len(wire.Data) > 0 {
		if err := json.Unmarshal(wire.Data, &data); err != nil {
			t.Fatal(err)
		}
	} else {
		data.Reason = wire.Message
	}
	if wire.Code != code || data.Error != errno || data.Reason != reason {
		t.Errorf("%s: error %d, errno %d, %q; want %d, %d, %q", what, wire.Code, data.Error, data.Reason, code, errno, reason)
	}
}

func (c *testClient) subscribe(collection string) (id string) {
	c.t.Helper()
	c.must("core.subscribe", &id, collection)
	return id
}

// event waits for the next event.
func (c *testClient) event() rpc.Event {
	c.t.Helper()
	select {
	case e := <-c.events:
		return e
	case <-time.After(patience):
		c.t.Fatal("no event")
	case <-c.Done():
		c.t.Fatalf("no event: %v", c.Err())
	}
	return rpc.Event{}
}

// jobEvent waits for the next event and tells what it says of a job.
func (c *testClient) jobEvent() (said string) {
	c.t.Helper()
	e := c.event()
	if e.Collection != jobsCollection {
		c.t.Fatalf("event of %s", e.Collection)
	}
	var job wireJob
	if err := json.Unmarshal(e.Fields, &job); err != nil {
		c.t.Fatal(err)
	}
	if string(e.ID) != fmt.Sprint(job.ID) {
		c.t.Errorf("event with id %s is about job %d", e.ID, job.ID)
	}
	return fmt.Sprintf("%s %d %s", e.Msg, job.ID, job.State)
}

// jobEvents compares the next events.
func (c *testClient) jobEvents(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.jobEvent(); got != w {
			c.t.Errorf("event %q, want %q", got, w)
		}
	}
}

// quiet makes sure that no event has come or is on its way: it asks for something, whose answer comes behind all that was sent
// before.
func (c *testClient) quiet() {
	c.t.Helper()
	c.must("core.ping", nil)
	select {
	case e := <-c.events:
		c.t.Errorf("event %s %s %s", e.Msg, e.Collection, e.Fields)
	default:
	}
}

// closed waits for the end of the connection and checks the words with which the host closed it.
func (c *testClient) closed(code int, reason string) {
	c.t.Helper()
	checkClosed(c.t, c.Conn, code, reason)
}

func checkClosed(t testing.TB, c *rpc.Conn, code int, reason string) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("the connection is still there")
	}
	e, ok := errors.AsType[*rpc.CloseError](c.Err())
	if !ok || e.Code != code || e.Reason != reason || !e.ByPeer {
		t.Errorf("closed with %v; want %d %q", c.Err(), code, reason)
	}
}
