package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/zferry/zferry/rpc"
)

// TestConcurrency holds 1.5: 10 calls run, 10 more wait, and the next is refused.
func TestConcurrency(t *testing.T) {
	var running, most atomic.Int32
	started, finish := make(chan struct{}, 32), make(chan struct{})
	url, _ := serve(t, rpc.Options{
		ArrayParams: true, MaxCalls: 10, MaxQueued: 20,
		Handler: func(ctx context.Context, _ *rpc.Conn, _ rpc.Request) (any, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			started <- struct{}{}
			select {
			case <-finish:
			case <-ctx.Done():
			}
			return nil, nil
		},
	})
	p := dialRaw(t, url)
	for id := range 20 {
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"wait","id":%d}`, id))
	}
	for range 10 {
		<-started
	}
	// A notification counts, but is not told.
	p.send(`{"jsonrpc":"2.0","method":"wait"}`)
	p.send(`{"jsonrpc":"2.0","method":"wait","id":"21st"}`)
	equalJSON(t, p.next(),
		`{"jsonrpc":"2.0","error":{"code":-32000,"message":"Maximum number of concurrent calls (20) has exceeded"},"id":"21st"}`)

	for range 20 {
		finish <- struct{}{}
		if got := p.next(); !strings.Contains(got, `"result":null`) {
			t.Errorf("got %s", got)
		}
	}
	if got := most.Load(); got != 10 {
		t.Errorf("%d calls ran at once", got)
	}
	p.send(`{"jsonrpc":"2.0","method":"wait","id":"again"}`)
	finish <- struct{}{}
	equalJSON(t, p.next(), `{"jsonrpc":"2.0","result":null,"id":"again"}`)
}

// TestReleaseSlot: a call that waits for a job holds no slot (decision 30, item 5).
func TestReleaseSlot(t *testing.T) {
	released, finish := make(chan struct{}), make(chan struct{})
	url, _ := serve(t, rpc.Options{
		ArrayParams: true, MaxCalls: 1, MaxQueued: 1,
		Handler: func(ctx context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
			if r.Method == "ping" {
				return "pong", nil
			}
			rpc.ReleaseSlot(ctx)
			rpc.ReleaseSlot(ctx)
			released <- struct{}{}
			<-finish
			return "done", nil
		},
	})
	p := dialRaw(t, url)
	for id := range 5 {
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"job","id":%d}`, id))
		<-released
		p.send(sentinel) // takes the slot, and gives it back before its answer
		equalJSON(t, p.next(), `{"jsonrpc":"2.0","result":"pong","id":"sentinel"}`)
	}
	close(finish)
	for range 5 {
		if got := p.next(); !strings.Contains(got, `"done"`) {
			t.Errorf("got %s", got)
		}
	}
	p.send(sentinel)
	equalJSON(t, p.next(), `{"jsonrpc":"2.0","result":"pong","id":"sentinel"}`)
}

// TestSlotBeforeAnswer: a client with as many calls as it may have can make another as soon as one is answered.
func TestSlotBeforeAnswer(t *testing.T) {
	url, _ := serve(t, rpc.Options{ArrayParams: true, MaxCalls: 10, MaxQueued: 20, Handler: echo})
	p := dialRaw(t, url)
	for range 20 {
		p.send(sentinel)
	}
	for range 2000 {
		if got := p.next(); !strings.Contains(got, "pong") {
			t.Fatal(got)
		}
		p.send(sentinel)
	}
}

// TestFrameLimit holds 1.5: what is too large closes the connection, with words that depend on the log-in.
func TestFrameLimit(t *testing.T) {
	anonymous := rpc.FrameLimit{Size: 8192, Characters: true, Code: 1007, Reason: "Anonymous connection max message length is 8 kB"}
	known := rpc.FrameLimit{Size: 65536, Characters: true, Code: 1009, Reason: "Max message length is 64 kB"}
	tests := []struct {
		name       string
		login      bool
		characters int
		fill       string
		code       int
		reason     string
	}{
		{"anonymous, at the limit", false, 8192, "x", 0, ""},
		{"anonymous, beyond", false, 8193, "x", 1007, "Anonymous connection max message length is 8 kB"},
		{"anonymous, far beyond", false, 5 << 20, "x", 1007, "Anonymous connection max message length is 8 kB"},
		{"anonymous, characters of four bytes", false, 8192, "😀", 0, ""},
		{"anonymous, too many characters of four bytes", false, 8193, "😀", 1007, "Anonymous connection max message length is 8 kB"},
		{"logged in, at the limit", true, 65536, "x", 0, ""},
		{"logged in, beyond", true, 65537, "x", 1009, "Max message length is 64 kB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, conns := serve(t, rpc.Options{ArrayParams: true, MaxFrame: anonymous, Handler: func(_ context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
				if r.Method == "login" {
					c.SetMaxFrame(known)
				}
				return len(r.Params), nil
			}})
			p := dialRaw(t, url)
			c := <-conns
			if tt.login {
				p.send(`{"jsonrpc":"2.0","method":"login","id":1}`)
				p.next()
			}
			const envelope = `{"jsonrpc":"2.0","method":"x","id":1,"params":[""]}`
			p.send(strings.Replace(envelope, `""`, `"`+strings.Repeat(tt.fill, tt.characters-len(envelope))+`"`, 1))
			if tt.code == 0 {
				p.next()
				return
			}
			if code, reason := p.closed(); code != tt.code || reason != tt.reason {
				t.Errorf("closed with %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
			<-c.Done()
			if want := fmt.Sprintf("connection closed: %s (%d)", tt.reason, tt.code); c.Err().Error() != want {
				t.Errorf("got error %q, want %q", c.Err(), want)
			}
		})
	}
}

// TestFrameLimitDefault: bytes, 16 MiB, 1009.
func TestFrameLimitDefault(t *testing.T) {
	url, _ := serve(t, rpc.Options{})
	p := dialRaw(t, url)
	p.send(strings.Repeat(" ", 16<<20))
	p.next()
	p.send(strings.Repeat(" ", 16<<20+1))
	if code, reason := p.closed(); code != 1009 || reason != "A frame may have 16777216 bytes at most" {
		t.Errorf("closed with %d %q", code, reason)
	}
}

func TestFrameKinds(t *testing.T) {
	tests := []struct {
		name   string
		kind   int
		data   string
		code   int
		reason string
	}{
		{"binary", websocket.BinaryMessage, "{}", 1003, "Invalid websocket message type: <WSMsgType.BINARY: 2>"},
		{"not UTF-8", websocket.TextMessage, "\"\xff\"", 1007, "Invalid UTF-8 text message"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, _ := serve(t, rpc.Options{ArrayParams: true})
			p := dialRaw(t, url)
			if err := p.WriteMessage(tt.kind, []byte(tt.data)); err != nil {
				t.Fatal(err)
			}
			if code, reason := p.closed(); code != tt.code || reason != tt.reason {
				t.Errorf("closed with %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
		})
	}
}

// TestFragments: a message may come in several frames, with a ping between them.
func TestFragments(t *testing.T) {
	url, _ := serve(t, rpc.Options{ArrayParams: true, Handler: echo})
	p := dialRaw(t, url)
	w, err := p.NextWriter(websocket.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20+5000) // gorilla's buffer has 1 MiB
	for i, part := range []string{`{"jsonrpc":"2.0","method":"echo","id":1,"params":["`, long, `"]}`} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := p.WriteControl(websocket.PingMessage, []byte("still there?"), time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	pong := ""
	p.SetPongHandler(func(data string) error {
		pong = data
		return nil
	})
	equalJSON(t, p.next(), `{"jsonrpc":"2.0","result":["`+long+`"],"id":1}`)
	p.send(sentinel)
	p.next()
	if pong != "still there?" {
		t.Errorf("got pong %q", pong)
	}
}
