package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/plugin/boundary"
)

// patience is how long tests wait for what must come.
const patience = 20 * time.Second

// badHost does with each connection what a test says.
type badHost struct {
	t *testing.T

	mu       sync.Mutex // guards the fields below
	url      string
	behave   func(c *badConn)
	accepted int
	open     map[*websocket.Conn]bool
}

// badConn is one of its connections, after the upgrade.
type badConn struct {
	*websocket.Conn
	t *testing.T
}

type wireFrame struct {
	JSONRPC string          `json:"jsonrpc,omitempty"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Code int             `json:"code"`
		Data json.RawMessage `json:"data"`
	} `json:"error,omitempty"`
}

func (c *badConn) write(text string) {
	_ = c.WriteMessage(websocket.TextMessage, []byte(text)) // the plugin may have gone
}

// next is the next frame, empty when the connection is lost.
func (c *badConn) next() (f wireFrame) {
	kind, text, err := c.ReadMessage()
	for err == nil && kind == websocket.BinaryMessage {
		kind, text, err = c.ReadMessage()
	}
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return wireFrame{}
	}
	return f
}

// linger reads until the connection is lost.
func (c *badConn) linger() {
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

func (c *badConn) refuse(errno int) {
	f := c.next()
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32001,"message":"Method call error","data":{"error":%d,"errname":"E","reason":"[E] no, not you","trace":null,"extra":null}}}`, f.ID, errno))
}

func (c *badConn) welcome(secret string, first, step int64) (params json.RawMessage) {
	f := c.next()
	if f.Method != "plugin.register" {
		return nil
	}
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"reconnect_secret":"%s","jobs":{"first":%d,"step":%d},"host":{"name":"bad","version":"1"}}}`, f.ID, secret, first, step))
	return f.Params
}

// ask calls a method of the plugin and gives its answer.
func (c *badConn) ask(method, params string) wireFrame {
	c.write(`{"jsonrpc":"2.0","id":"q","method":"` + method + `","params":` + params + `}`)
	for {
		if f := c.next(); f.Method == "" {
			return f
		}
	}
}

func newBadHost(t *testing.T) *badHost {
	t.Helper()
	dir, err := os.MkdirTemp("", "zb") //nolint:usetesting // its path would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	h := &badHost{t: t, url: "unix://" + l.Addr().String(), open: make(map[*websocket.Conn]bool)}
	var working sync.WaitGroup
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		working.Add(1)
		defer working.Done()
		h.serve(w, r)
	})}
	done := make(chan struct{})
	go func() { // ends with the server
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		h.mu.Lock()
		for ws := range h.open {
			_ = ws.Close()
		}
		h.mu.Unlock()
		working.Wait()
	})
	return h
}

func (h *badHost) serve(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	h.mu.Lock()
	h.accepted++
	h.open[ws] = true
	behave := h.behave
	h.mu.Unlock()
	behave(&badConn{ws, h.t})
}

func (h *badHost) become(behave func(*badConn)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.behave = behave
}

// moves gives the plugin another address, and tells the last one.
func (h *badHost) moves(url string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.url
	if url != "" {
		h.url = url
	}
	return before
}

func (h *badHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accepted
}

// lines is a log.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// linked is a plugin that works for a bad host.
type linked struct {
	*Plugin
	dir string
	log *lines
}

// linkTo opens a plugin, and runs it until the end of the test.
func linkTo(t *testing.T, h *badHost, times linkTimes) *linked {
	t.Helper()
	dir, log := t.TempDir(), new(lines)
	tokens := 0
	p, err := Open(t.Context(), Config{
		Dir: dir, ZFS: "/nonexistent/zfs", Version: "1", Level: new(slog.LevelVar),
		Log: slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}),
		Settings: func() (boundary.Settings, error) {
			tokens++
			return boundary.Settings{URL: h.moves(""), Token: fmt.Sprintf("token-%d", tokens)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.link.times = times
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // the cleanup waits for it
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &linked{p, dir, log}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("did not come: %s", what)
		}
	}
}

func files(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// noLeaks looks at the end of the test for goroutines and files that are left. It is to be called before all else.
func noLeaks(t *testing.T) {
	before, ignored := files(t), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, ignored)
		if after := files(t); after > before {
			t.Errorf("%d files are open, were %d", after, before)
		}
	})
}

func quickTimes() linkTimes {
	return linkTimes{dial: 300 * time.Millisecond, silence: 20 * time.Second, write: 300 * time.Millisecond, refused: 150 * time.Millisecond}
}

// works wants the plugin to serve the next connection as if nothing had been.
func (h *badHost) works(p *linked) {
	h.t.Helper()
	answers := make(chan wireFrame, 1)
	h.become(func(c *badConn) {
		if c.welcome("secret", 1, 16) == nil {
			return
		}
		select {
		case answers <- c.ask("plugin.health", "{}"):
		default:
		}
		c.linger()
	})
	select {
	case got := <-answers:
		if !strings.Contains(string(got.Result), `"status":"ok"`) {
			h.t.Errorf("health is answered with %+v", got)
		}
	case <-time.After(patience):
		h.t.Errorf("the plugin does not come back; its log:\n%s", p.log)
	}
}

// TestHostileHost has hosts that do not do as docs/host-protocol.md says: the plugin lives on, says what is wrong, and serves the next
// host that does.
func TestHostileHost(t *testing.T) {
	tests := []struct {
		name   string
		behave func(c *badConn)
		want   string // in the log
	}{
		{"closes at once", func(*badConn) {}, "level=WARN msg=\"the host cannot be reached\" err=\"register with the host"},
		{"closes instead of an answer", func(c *badConn) { c.next() }, "level=WARN msg=\"the host cannot be reached\" err=\"register with the host: [ECONNRESET] outcome unknown"},
		{"never answers", (*badConn).linger, "context deadline exceeded"},
		{"text that is no JSON", func(c *badConn) { c.write("}{"); c.linger() }, "register with the host"},
		{"binary garbage", func(c *badConn) {
			_ = c.WriteMessage(websocket.BinaryMessage, []byte("garbage"))
			c.linger()
		}, "register with the host"},
		{"a batch", func(c *badConn) { c.write(`[{"jsonrpc":"2.0","id":1,"result":{}}]`); c.linger() }, "register with the host"},
		{"an answer to nobody", func(c *badConn) { c.write(`{"jsonrpc":"2.0","id":4711,"result":{}}`); c.linger() }, "context deadline exceeded"},
		{"another kind of answer", func(c *badConn) {
			c.write(`{"jsonrpc":"2.0","id":` + string(c.next().ID) + `,"result":"welcome"}`)
			c.linger()
		}, "plugin.register: result"},
		{"an endless frame", func(c *badConn) { c.write(`"` + strings.Repeat("x", 17<<20) + `"`); c.linger() }, "A frame may have 16777216 bytes at most"},
		{"no series", func(c *badConn) { c.welcome("s", 1, 0); c.linger() }, "level=WARN msg=\"the host cannot be reached\" err=\"register with the host: job ids from 1 by 0 make no series"},
		{"negative series", func(c *badConn) { c.welcome("s", -3, 16); c.linger() }, "job ids from -3 by 16 make no series"},
		{"series without end", func(c *badConn) { c.welcome("s", 1<<62, 1<<62); c.linger() }, "job ids from 4611686018427387904 by 4611686018427387904 are too far apart"},
		{"registration 13", func(c *badConn) { c.refuse(13) }, "level=WARN msg=\"the host cannot be reached\" err=\"register with the host: [E] no, not you"},
		{"registration 17", func(c *badConn) { c.refuse(17) }, "level=ERROR msg=\"the host refuses this plugin\" err=\"register with the host: [E] no, not you"},
		{"registration 93", func(c *badConn) { c.refuse(93) }, "level=ERROR msg=\"the host refuses this plugin\""},
		{"registration 22", func(c *badConn) { c.refuse(22) }, "level=ERROR msg=\"the host refuses this plugin\""},
		{"calls before it answers", func(c *badConn) {
			c.write(`{"jsonrpc":"2.0","id":1,"method":"plugin.call","params":{}}`)
			c.refuse(13)
		}, "[E] no, not you"},
		{"cuts the line in a frame", func(c *badConn) { _ = c.NetConn().Close() }, "register with the host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			h := newBadHost(t)
			h.become(tt.behave)
			times := quickTimes()
			if tt.name == "an endless frame" {
				times.dial = patience
			}
			p := linkTo(t, h, times)
			eventually(t, "two tries", func() bool { return h.count() >= 2 })
			if !strings.Contains(p.log.String(), tt.want) {
				t.Errorf("the log has no %q:\n%s", tt.want, p.log)
			}
			if n := strings.Count(p.log.String(), "level=WARN"); n > 3 {
				t.Errorf("%d warnings about the same:\n%s", n, p.log)
			}
			for _, secret := range []string{"token-1", "token-2", "secret"} {
				if strings.Contains(p.log.String(), secret) {
					t.Errorf("the log has %q:\n%s", secret, p.log)
				}
			}
			h.works(p)
		})
	}
}

// TestNoHost has what is no WebSocket at the other end, or nothing.
func TestNoHost(t *testing.T) {
	for name, answer := range map[string]string{
		"no HTTP": "SSH-2.0-OpenSSH_9.9\r\n", "not found": "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "nothing": "",
		"another upgrade": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			h := newBadHost(t)
			path := strings.TrimPrefix(h.moves(""), "unix://") + "2"
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			tries := make(chan struct{}, 1000)
			done := make(chan struct{})
			go func() { // ends with the listener
				defer close(done)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					tries <- struct{}{}
					_, _ = conn.Write([]byte(answer)) // the plugin may have gone
					_ = conn.Close()
				}
			}()
			good := h.moves("unix://" + path)
			p := linkTo(t, h, quickTimes())
			for range 3 {
				<-tries
			}
			_ = l.Close()
			<-done
			h.moves(good)
			h.works(p)
		})
	}
}

// TestProofs follows the proofs that the plugin shows: the secret of the last registration, and a new token when that is refused.
func TestProofs(t *testing.T) {
	noLeaks(t)
	h := newBadHost(t)
	proofs := make(chan string, 100)
	var n int
	h.become(func(c *badConn) { // one connection at a time
		n++
		if n == 3 {
			params := c.next()
			proofs <- proofIn(params.Params)
			c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32001,"message":"m","data":{"error":13,"reason":"[EACCES] no"}}}`, params.ID))
			return
		}
		proofs <- proofIn(c.welcome(fmt.Sprintf("secret-%d", n), 1, 16))
	})
	p := linkTo(t, h, quickTimes())
	want := []string{"token token-2", "secret secret-1", "secret secret-2", "token token-5", "secret secret-4"} // token-1 was read by Open
	for _, w := range want {
		select {
		case got := <-proofs:
			if got != w {
				t.Errorf("proof %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("no registration with %q", w)
		}
	}
	h.become((*badConn).linger)
	// Neither the log nor the state has any of them.
	texts := map[string]string{"log": p.log.String()}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			text, err := os.ReadFile(filepath.Join(p.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			texts[e.Name()] = string(text)
		}
	}
	for where, text := range texts {
		for _, proof := range want {
			if _, secret, _ := strings.Cut(proof, " "); strings.Contains(text, secret) {
				t.Errorf("%s has %q", where, secret)
			}
		}
	}
}

func proofIn(params json.RawMessage) string {
	var p map[string]any
	if json.Unmarshal(params, &p) != nil {
		return "none"
	}
	token, hasToken := p["token"]
	secret, hasSecret := p["secret"]
	switch {
	case hasToken && !hasSecret:
		return fmt.Sprint("token ", token)
	case hasSecret && !hasToken:
		return fmt.Sprint("secret ", secret)
	}
	return "both or none"
}

// TestHostStopsReading: a host that reads nothing keeps nothing in the plugin from going on, and loses its connection.
func TestHostStopsReading(t *testing.T) {
	noLeaks(t)
	h := newBadHost(t)
	release := make(chan struct{})
	h.become(func(c *badConn) {
		c.welcome("secret", 1, 16)
		<-release
	})
	p := linkTo(t, h, quickTimes())
	eventually(t, "a registration", func() bool { return strings.Contains(p.log.String(), "registered with the host") })
	began := time.Now()
	for range 20 {
		p.outbox.event(methods.Event{Name: "replication.query", Msg: "changed", ID: 1, Fields: strings.Repeat("x", 1<<20)})
	}
	j, err := p.jobs.Start(t.Context(), jobs.Spec{Method: "a.job", Run: func(context.Context, *jobs.Handle) (any, error) { return nil, nil }})
	if err == nil {
		_, err = p.jobs.Wait(t.Context(), j.ID)
	}
	if err != nil || time.Since(began) > 50*time.Second {
		t.Errorf("a job beside a host that does not read: %v after %v", err, time.Since(began))
	}
	eventually(t, "the loss of the connection", func() bool { return strings.Contains(p.log.String(), "the connection to the host was lost") })
	close(release)
	// The next host is told of the job.
	told := make(chan string, 100)
	h.become(func(c *badConn) {
		c.welcome("secret", 1, 16)
		for {
			f := c.next()
			if f.Method == "" {
				return
			}
			told <- f.Method + string(f.Params)
		}
	})
	for {
		select {
		case got := <-told:
			if strings.Contains(got, `"id":1,`) && strings.Contains(got, "SUCCESS") && strings.HasPrefix(got, "plugin.job") {
				return
			}
		case <-time.After(patience):
			t.Fatalf("the next host is not told of the job:\n%s", p.log)
		}
	}
}

// TestOversizedEvent: what no frame can carry is left out, and does not cost the connection.
func TestOversizedEvent(t *testing.T) {
	noLeaks(t)
	h := newBadHost(t)
	told := make(chan string, 100)
	h.become(func(c *badConn) {
		c.welcome("secret", 1, 16)
		for {
			f := c.next()
			if f.Method == "" {
				return
			}
			if f.Method == "plugin.event" {
				told <- string(f.Params)
			}
		}
	})
	p := linkTo(t, h, linkTimes{dial: patience, silence: patience, write: patience, refused: patience})
	eventually(t, "a registration", func() bool { return strings.Contains(p.log.String(), "registered with the host") })
	eventually(t, "that it is open", func() bool { p.outbox.mu.Lock(); defer p.outbox.mu.Unlock(); return p.outbox.open })
	p.outbox.event(methods.Event{Name: "replication.query", Msg: "changed", ID: 1, Fields: strings.Repeat("x", 17<<20)})
	p.outbox.event(methods.Event{Name: "replication.query", Msg: "changed", ID: 2})
	select {
	case got := <-told:
		if !strings.Contains(got, `"id":2`) {
			t.Errorf("told %.100s", got)
		}
	case <-time.After(patience):
		t.Fatalf("the event after it does not come:\n%.2000s", p.log)
	}
	if h.count() != 1 || !strings.Contains(p.log.String(), "more than a frame may have") {
		t.Errorf("%d connections:\n%.2000s", h.count(), p.log)
	}
}

// TestHostsCalls has a host call what it should not, or in ways it should not.
func TestHostsCalls(t *testing.T) {
	noLeaks(t)
	h := newBadHost(t)
	tests := []struct{ method, params, want string }{
		{"plugin.nonsense", `{}`, `"code":-32601`},
		{"plugin.call", `{"method":"no.such","params":[]}`, `"code":-32601`},
		{"plugin.call", `{"method":"replication.query","params":{"filters":[]}}`, `params are not an array`},
		{"plugin.call", `[]`, `"code":-32001`},
		{"plugin.call", `"text"`, `"code":-32600`},
		{"plugin.call", `{"method":7}`, `"code":-32001`},
		{"plugin.call", `{"method":"replication.query","params":[],"output":2}`, `neither writes nor reads`},
		{"plugin.configure", `{"log_level":"LOUD"}`, `none of DEBUG`},
		{"plugin.configure", `{}`, `"result":{}`},
		{"plugin.jobs.get", `{"id":4711}`, `Job with id 4711 does not exist`},
		{"plugin.jobs.get", `{"id":"x"}`, `"code":-32001`},
		{"plugin.jobs.abort", `{"id":-1}`, `Job with id -1 does not exist`},
		{"plugin.jobs.log", `{"id":4711}`, `the number of a byte stream is needed`},
		{"plugin.jobs.log", `{"id":4711,"output":2}`, `Job with id 4711 does not exist`},
		{"plugin.jobs.list", `{"id":1}`, `"result":{"jobs":[]}`},
		{"plugin.drain", `{"seconds":1e300}`, `"result":{"interrupted":[]}`},
		{"plugin.health", `{}`, `"draining":true`},
		{"plugin.call", `{"method":"replication.run","params":[1],"caller":{"session":"s"}}`, `no new run`},
		{"plugin.drain", `{"seconds":-1}`, `"result":{"interrupted":[]}`},
	}
	answers := make(chan wireFrame)
	h.become(func(c *badConn) {
		c.welcome("secret", 1, 16)
		for _, tt := range tests {
			answers <- c.ask(tt.method, tt.params)
		}
		c.linger()
	})
	p := linkTo(t, h, linkTimes{dial: patience, silence: patience, write: patience, refused: patience})
	for _, tt := range tests {
		select {
		case got := <-answers:
			text, err := json.Marshal(got)
			if err != nil || !bytes.Contains(text, []byte(tt.want)) {
				t.Errorf("%s %s is answered with %s, %v; want %s in it", tt.method, tt.params, text, err, tt.want)
			}
		case <-time.After(patience):
			t.Fatalf("%s %s is not answered:\n%s", tt.method, tt.params, p.log)
		}
	}
}

// TestDrainTime: what is no time is none.
func TestDrainTime(t *testing.T) {
	noLeaks(t)
	p := linkTo(t, newQuietHost(t), quickTimes())
	if err := p.registered(t.Context(), 1, 16); err != nil {
		t.Fatal(err)
	}
	begun, stuck := make(chan struct{}), make(chan struct{})
	defer close(stuck)
	j, err := p.jobs.Start(t.Context(), jobs.Spec{Method: "a.job", Run: func(context.Context, *jobs.Handle) (any, error) {
		close(begun)
		<-stuck
		return nil, errors.New("late")
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	got, err := p.serveDrain(ctx, nil, json.RawMessage(`{"seconds":1e300}`))
	if text := fmt.Sprint(got); err != nil || text != fmt.Sprintf("map[interrupted:[%d]]", j.ID) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("drained: %v, %v after %v", got, err, time.Since(began))
	}
}

// newQuietHost registers nobody.
func newQuietHost(t *testing.T) *badHost {
	h := newBadHost(t)
	h.become((*badConn).linger)
	return h
}
