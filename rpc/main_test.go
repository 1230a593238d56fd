package rpc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/zferry/zferry/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// serve accepts connections with o until the test ends, and gives them out on conns.
func serve(tb testing.TB, o rpc.Options) (url string, conns <-chan *rpc.Conn) {
	tb.Helper()
	accepted := make(chan *rpc.Conn, 64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := rpc.Accept(w, r, o)
		if err != nil {
			return
		}
		accepted <- c
	}))
	tb.Cleanup(func() {
		s.Close()
		for len(accepted) > 0 {
			(<-accepted).Close(0, "")
		}
	})
	return "ws" + strings.TrimPrefix(s.URL, "http"), accepted
}

// pair connects two ends. Both are closed when the test ends.
func pair(tb testing.TB, server, client rpc.Options) (s, c *rpc.Conn) {
	tb.Helper()
	url, conns := serve(tb, server)
	c, err := rpc.Dial(tb.Context(), url, rpc.DialOptions{}, client)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close(0, "") })
	s = <-conns
	tb.Cleanup(func() { s.Close(0, "") })
	return s, c
}

// peer is the other end of a connection, frame by frame.
type peer struct {
	testing.TB
	*websocket.Conn
}

// dialRaw connects without package rpc.
func dialRaw(tb testing.TB, url string) *peer {
	tb.Helper()
	dialer := websocket.Dialer{WriteBufferSize: 1 << 20}
	ws, resp, err := dialer.DialContext(tb.Context(), url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	tb.Cleanup(func() { _ = ws.Close() })
	return &peer{tb, ws}
}

func (p *peer) send(text string) {
	p.Helper()
	if err := p.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		p.Fatal(err)
	}
}

// next is the next text frame.
func (p *peer) next() string {
	p.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.Fatal(err)
	}
	kind, data, err := p.ReadMessage()
	if err != nil || kind != websocket.TextMessage {
		p.Fatalf("no text frame: kind %d, %v", kind, err)
	}
	return string(data)
}

// closed waits for the closing frame.
func (p *peer) closed() (code int, reason string) {
	p.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.Fatal(err)
	}
	for {
		_, _, err := p.ReadMessage()
		if err == nil {
			continue
		}
		e := new(websocket.CloseError)
		if !asClose(err, &e) {
			p.Fatalf("no closing frame: %v", err)
		}
		return e.Code, e.Text
	}
}

func asClose(err error, to **websocket.CloseError) bool {
	e, ok := err.(*websocket.CloseError) //nolint:errorlint // gorilla gives it as it is
	*to = e
	return ok
}

// equalJSON compares texts as JSON, numbers to the digit.
func equalJSON(tb testing.TB, got, want string) {
	tb.Helper()
	if g, w := canonical(tb, got), canonical(tb, want); g != w {
		tb.Errorf("got  %s\nwant %s", g, w)
	}
}

func canonical(tb testing.TB, text string) string {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("%v in %q", err, text)
	}
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// echo answers with the params, ping with pong, and fails otherwise.
func echo(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
	switch r.Method {
	case "echo":
		return r.Params, nil
	case "ping":
		return "pong", nil
	}
	return nil, rpc.ErrMethodNotFound
}
