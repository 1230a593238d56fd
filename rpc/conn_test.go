package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zferry/zferry/rpc"
)

func TestCallErrors(t *testing.T) {
	_, c := pair(t, rpc.Options{Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
		switch r.Method {
		case "call":
			return nil, rpc.Errorf(rpc.ENOSPC, "no room")
		case "wrapped":
			return nil, fmt.Errorf("write: %w", rpc.Errorf(rpc.EROFS, "read-only"))
		case "args":
			return nil, rpc.ArgErrors{{Attribute: "data.name", Message: "Field required"}}
		case "found":
			return nil, rpc.NotFound("Replication", 7)
		case "closing":
			return "last", &rpc.Closing{Code: 1008, Reason: "go away"}
		}
		return nil, rpc.ErrMethodNotFound
	}}, rpc.Options{})
	for method, want := range map[string]string{
		"call": "[ENOSPC] no room", "wrapped": "[EROFS] read-only", "args": "[EINVAL] data.name: Field required\n", "found": "[ENOENT] None: Replication 7 does not exist",
		"none": "Method does not exist (-32601)",
	} {
		err := c.Call(t.Context(), method, nil, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", method, err, want)
		}
		if got := errors.Is(err, rpc.ErrMethodNotFound); got != (method == "none") {
			t.Errorf("%s: is ErrMethodNotFound: %v", method, got)
		}
	}

	// The answer comes before the connection is closed.
	var result string
	if err := c.Call(t.Context(), "closing", nil, &result); err != nil || result != "last" {
		t.Errorf("got %q, %v", result, err)
	}
	<-c.Done()
	closed, ok := errors.AsType[*rpc.CloseError](c.Err())
	if !ok || !closed.ByPeer || closed.Code != 1008 || closed.Reason != "go away" {
		t.Errorf("closed with %v", c.Err())
	}
	err := c.Call(t.Context(), "call", nil, nil)
	if !errors.Is(err, rpc.ErrClosed) || errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	if want := "connection is closed: the other end closed the connection: go away (1008)"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := c.Notify(t.Context(), "call", nil); !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("notify: %v", err)
	}
}

// TestClosingRefusal: a host that refuses a registration answers and then closes.
func TestClosingRefusal(t *testing.T) {
	_, c := pair(t, rpc.Options{Handler: func(context.Context, *rpc.Conn, rpc.Request) (any, error) {
		return nil, &rpc.Closing{Err: rpc.Errorf(rpc.EACCES, "wrong token")}
	}}, rpc.Options{})
	err := c.Call(t.Context(), "plugin.register", nil, nil)
	if err == nil || err.Error() != "[EACCES] wrong token" {
		t.Errorf("got %v", err)
	}
	<-c.Done()
	if want := "the other end closed the connection (1000)"; c.Err().Error() != want {
		t.Errorf("got %q, want %q", c.Err(), want)
	}
}

func TestPanic(t *testing.T) {
	var log lockedBuffer
	_, c := pair(t, rpc.Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
			if r.Method == "ping" {
				return "pong", nil
			}
			return []int{}[len(r.Method)], nil
		},
	}, rpc.Options{})
	err := c.Call(t.Context(), "bad", nil, nil)
	if err == nil || err.Error() != "[EFAULT] internal error in bad" {
		t.Errorf("got %v", err)
	}
	if data := string(rpc.ToWire(err).Data); strings.Contains(data, "goroutine") || strings.Contains(data, "out of range") {
		t.Errorf("the answer tells of the panic: %s", data)
	}
	if text := log.String(); !strings.Contains(text, "index out of range") || !strings.Contains(text, "conn_test.go") {
		t.Errorf("the log does not tell of the panic: %s", text)
	}
	if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestLogHasNoSecrets: what is logged, and what jsonrpc2 would log, tells nothing of params and results.
func TestLogHasNoSecrets(t *testing.T) {
	const secret = "hunter2"
	var log lockedBuffer
	o := rpc.Options{
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
			switch r.Method {
			case "panic":
				panic("told to")
			case "fail":
				return nil, errors.New("no: " + secret)
			}
			return r.Params, nil
		},
	}
	s, c := pair(t, o, o)
	for _, end := range []*rpc.Conn{s, c} {
		for _, method := range []string{"echo", "panic", "fail"} {
			_ = end.Call(t.Context(), method, []string{secret}, nil)
		}
	}
	url, _ := serve(t, o)
	p := dialRaw(t, url)
	for _, frame := range []string{
		`{"method":"` + secret + `"}`, `{"id":7,"result":"` + secret + `"}`, `{"id":"x","error":"` + secret + `"}`, secret, `["` + secret + `"]`,
	} {
		p.send(frame)
	}
	p.send(`{"jsonrpc":"2.0","method":"echo","id":"last","params":[]}`)
	for !strings.Contains(p.next(), "last") {
	}
	if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "panic") {
		t.Errorf("the log says %s", text)
	}
}

// TestCancel: a call whose context ends returns at once and leaves nothing behind, on either side of the seam.
func TestCancel(t *testing.T) {
	cause := errors.New("had enough")
	entered, finish := make(chan struct{}, 1), make(chan struct{})
	s, c := pair(t, rpc.Options{Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
		if r.Method == "wait" {
			entered <- struct{}{}
			<-finish
		}
		return "late", nil
	}}, rpc.Options{Handler: echo})
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { // ends with the handler
			<-entered
			cancel(cause)
		}()
		if err := c.Call(ctx, "wait", nil, nil); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	}
	// What jsonrpc2 reads next it reads after it has forgotten the calls.
	if err := s.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	if ours, theirs := rpc.PendingCalls(c); ours != 0 || theirs != 0 {
		t.Errorf("%d and %d calls are remembered", ours, theirs)
	}
	close(finish) // the answers that come now are passed over
	var got string
	if err := c.Call(t.Context(), "other", nil, &got); err != nil || got != "late" {
		t.Errorf("got %q, %v", got, err)
	}

	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(done, "other", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if ours, _ := rpc.PendingCalls(c); ours != 0 {
		t.Errorf("%d calls are remembered", ours)
	}
}

// TestOutcomeUnknown: a call under way when the link drops says so, and says it across a further connection too.
func TestOutcomeUnknown(t *testing.T) {
	var s *rpc.Conn
	ready := make(chan struct{})
	s, c := pair(t, rpc.Options{Handler: func(ctx context.Context, _ *rpc.Conn, _ rpc.Request) (any, error) {
		<-ready
		rpc.Cut(s)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}, rpc.Options{})
	close(ready)
	err := c.Call(t.Context(), "pool.create", nil, nil)
	if !errors.Is(err, rpc.ErrOutcomeUnknown) || errors.Is(err, rpc.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	if want := "[ECONNRESET] outcome unknown: connection lost: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want it to begin with %q", err, want)
	}
	if err := rpc.FromWire(rpc.ToWire(err)); !errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("after the wire: %v", err)
	}
	if err := rpc.FromWire(rpc.ToWire(rpc.Errorf(rpc.ECONNRESET, "other"))); errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Error("any ECONNRESET is taken for an unknown outcome")
	}
}

// TestNotified: notifications are handed on in order, and those before the end are not lost.
func TestNotified(t *testing.T) {
	const n = 2000
	var got []string
	done := make(chan struct{})
	url, _ := serve(t, rpc.Options{Notified: func(ctx context.Context, _ *rpc.Conn, r rpc.Request) {
		if ctx.Err() != nil {
			t.Error("context has ended")
		}
		if got = append(got, string(r.Params)); len(got) == n {
			close(done)
		}
	}})
	c, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := c.Notify(t.Context(), "n", []int{i}); err != nil {
			t.Fatal(err)
		}
	}
	c.Close(0, "")
	<-done
	for i, params := range got {
		if want := "[" + strconv.Itoa(i) + "]"; params != want {
			t.Fatalf("at %d: %s", i, params)
		}
	}
}

// lockedBuffer is a log that is read while others write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
