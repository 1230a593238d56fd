package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

func TestCallErrors(t *testing.T) {
	_, c := pair(t, rpc.Options{Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
		switch r.Method {
		case "call":
			return nil, rpc.Errorf(rpc.ENOSPC, "no room")
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
		"call": "[ENOSPC] no room", "args": "[EINVAL] data.name: Field required\n", "found": "[ENOENT] None: Replication 7 does not exist",
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
			var m map[string]int
			m["x"]++
			return nil, nil
		},
	}, rpc.Options{})
	err := c.Call(t.Context(), "bad", nil, nil)
	if err == nil || err.Error() != "[EFAULT] internal error in bad" {
		t.Errorf("got %v", err)
	}
	if data := string(rpc.ToWire(err).Data); strings.Contains(data, "goroutine") || strings.Contains(data, "nil map") {
		t.Errorf("the answer tells of the panic: %s", data)
	}
	if text := log.String(); !strings.Contains(text, "assignment to entry in nil map") || !strings.Contains(text, "conn_test.go") {
		t.Errorf("the log does not tell of the panic: %s", text)
	}
	if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Errorf("afterwards: %v", err)
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

// TestClose: it may be called by many and again, cancels handlers and waits for them.
func TestClose(t *testing.T) {
	entered, left := make(chan struct{}), false
	s, c := pair(t, rpc.Options{Handler: func(ctx context.Context, _ *rpc.Conn, _ rpc.Request) (any, error) {
		close(entered)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, rpc.ErrClosed) {
			t.Errorf("cancelled with %v", cause)
		}
		left = true
		return nil, nil
	}}, rpc.Options{})
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "wait", nil, nil) }()
	<-entered
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s.Close(1001, "")
			if !left {
				t.Error("did not wait for the handler")
			}
		})
	}
	wg.Wait()
	s.Close(0, "")
	if !errors.Is(s.Err(), rpc.ErrClosed) {
		t.Errorf("got %v", s.Err())
	}
	if err := <-result; !errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	c.Close(0, "")
	if closed, ok := errors.AsType[*rpc.CloseError](c.Err()); !ok || closed.Code != 1001 {
		t.Errorf("got %v", c.Err())
	}
}

// TestHangup: a handler may do that, and Close of what was hung up waits.
func TestHangup(t *testing.T) {
	s, c := pair(t, rpc.Options{Handler: func(_ context.Context, c *rpc.Conn, _ rpc.Request) (any, error) {
		c.Hangup(1008, strings.Repeat("ä", 100)) // a control frame holds 123 bytes
		return nil, nil
	}}, rpc.Options{})
	_ = c.Notify(t.Context(), "x", nil)
	<-c.Done()
	closed, ok := errors.AsType[*rpc.CloseError](c.Err())
	if !ok || closed.Code != 1008 || closed.Reason != strings.Repeat("ä", 61) {
		t.Errorf("got %v", c.Err())
	}
	s.Close(0, "")
}

// TestSilence: a silent end is pinged, and given up when it stays silent.
func TestSilence(t *testing.T) {
	for _, answers := range []bool{true, false} {
		url, conns := serve(t, rpc.Options{PingAfter: 50 * time.Millisecond})
		p := dialRaw(t, url)
		pings := 0
		pong := p.PingHandler()
		p.SetPingHandler(func(data string) error {
			if pings++; !answers {
				return nil
			}
			if pings == 4 {
				p.send(`{"jsonrpc":"2.0","method":"x","id":1}`) // has the answer end the test
			}
			return pong(data)
		})
		c := <-conns
		if answers {
			p.next()
			if pings < 4 || c.Err() != nil {
				t.Errorf("%d pings, %v", pings, c.Err())
			}
			continue
		}
		if code, reason := p.closed(); code != 1001 || reason != "nothing heard" || pings != 1 {
			t.Errorf("closed with %d %q after %d pings", code, reason, pings)
		}
		if !strings.HasPrefix(c.Err().Error(), "connection lost: nothing heard for ") {
			t.Errorf("got %v", c.Err())
		}
	}
}

// TestStuckReader: an end that does not read is given up, and holds up nobody else meanwhile.
func TestStuckReader(t *testing.T) {
	url, conns := serve(t, rpc.Options{WriteTimeout: 300 * time.Millisecond, Handler: echo})
	stuck := dialRaw(t, url)
	s := <-conns
	other, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(0, "")

	big := strings.Repeat("x", 1<<20)
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() { // ends when the connection is given up
			for {
				if err := s.Notify(t.Context(), "n", []string{big}); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for s.Err() == nil {
		if err := other.Call(t.Context(), "ping", nil, nil); err != nil {
			t.Fatal(err)
		}
		// A caller who cannot wait need not.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := s.Call(ctx, "ping", nil, nil); err == nil {
			t.Error("called an end that does not read")
		}
		cancel()
	}
	for range cap(failed) {
		if err := <-failed; !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if !strings.Contains(s.Err().Error(), "connection lost: write: ") {
		t.Errorf("got %v", s.Err())
	}
	s.Close(0, "")
	_ = stuck.Close()
}

// TestCloseStuck: to close what does not read takes a second, not the write timeout.
func TestCloseStuck(t *testing.T) {
	url, conns := serve(t, rpc.Options{WriteTimeout: time.Hour})
	dialRaw(t, url)
	s := <-conns
	go func() { // ends with Close
		for s.Notify(t.Context(), "n", strings.Repeat("x", 1<<20)) == nil {
		}
	}()
	begun := time.Now()
	s.Close(0, "")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conns, paths := make(chan *rpc.Conn, 2), make(chan string, 2)
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		if c, err := rpc.Accept(w, r, rpc.Options{Handler: echo}); err == nil {
			conns <- c
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	defer serving.Wait()
	defer server.Close()
	for query, want := range map[string]string{"": "/api/current", "?path=/plugin/v1": "/plugin/v1"} {
		c, err := rpc.Dial(t.Context(), "unix://"+path+query, rpc.DialOptions{}, rpc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := <-conns
		if got := <-paths; got != want {
			t.Errorf("path %s, want %s", got, want)
		}
		for _, end := range []*rpc.Conn{s, c} {
			if uid, ok := end.PeerUID(); !ok || uid != os.Getuid() {
				t.Errorf("peer is %d, %v", uid, ok)
			}
		}
		if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
			t.Error(err)
		}
		c.Close(0, "")
		s.Close(0, "")
	}
	s, _ := pair(t, rpc.Options{}, rpc.Options{})
	if uid, ok := s.PeerUID(); ok {
		t.Errorf("the peer over TCP is %d", uid)
	}
	if !strings.HasPrefix(s.RemoteAddr(), "127.0.0.1:") {
		t.Errorf("remote address %s", s.RemoteAddr())
	}
}

func TestDialErrors(t *testing.T) {
	refusing := func(tb testing.TB, answer http.HandlerFunc) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: patience, Handler: answer}
		go func() { _ = s.Serve(l) }() // ends with Close
		tb.Cleanup(func() { _ = s.Close() })
		return "ws://" + l.Addr().String()
	}
	notFound := refusing(t, http.NotFound)
	tests := []struct{ url, want string }{
		{"http://127.0.0.1/", "dial http://127.0.0.1/: the URL must begin with unix://, ws:// or wss://"},
		{"unix://s", "dial unix://s: a Unix socket is given as unix:///path/to.sock"},
		{"unix:///nowhere/s", "dial unix:///nowhere/s: dial unix /nowhere/s: connect: no such file or directory"},
		{notFound, "dial " + notFound + ": the server answered 404 Not Found"},
	}
	for _, tt := range tests {
		_, err := rpc.Dial(t.Context(), tt.url, rpc.DialOptions{}, rpc.Options{})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.url, err, tt.want)
		}
	}

	// A server that takes the connection and says nothing holds Dial no longer than its context.
	ctx, cancel := context.WithCancel(t.Context())
	silent, release := make(chan struct{}), make(chan struct{})
	url := refusing(t, func(http.ResponseWriter, *http.Request) {
		close(silent)
		<-release
	})
	go func() { // ends when the server has the request
		<-silent
		cancel()
	}()
	if _, err := rpc.Dial(ctx, url, rpc.DialOptions{}, rpc.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
}

// TestDialOutlives: the connection lives on when the context of dialling ends.
func TestDialOutlives(t *testing.T) {
	url, _ := serve(t, rpc.Options{Handler: echo})
	ctx, cancel := context.WithCancel(t.Context())
	c, err := rpc.Dial(ctx, url, rpc.DialOptions{}, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(0, "")
	cancel()
	if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestNoFilesLeft: connections that were closed, cut off or refused leave no file descriptor behind.
func TestNoFilesLeft(t *testing.T) {
	url, conns := serve(t, rpc.Options{ArrayParams: true, MaxFrame: rpc.FrameLimit{Size: 100}})
	round := func() {
		for i := range 6 {
			c, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := <-conns
			switch i % 3 {
			case 0:
				rpc.Cut(c)
			case 1:
				_ = c.Notify(t.Context(), strings.Repeat("x", 200), nil)
			default:
				s.Close(0, "")
			}
			<-s.Done()
			<-c.Done()
			s.Close(0, "")
			c.Close(0, "")
		}
	}
	round()
	before := openFiles(t)
	for range 5 {
		round()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files, %d before", after, before)
	}
}

func openFiles(tb testing.TB) int {
	tb.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(list)
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
