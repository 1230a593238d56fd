package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
)

// TestFrame speaks a protocol of its own: a frame is the name of a method, and an answer what came of it.
func TestFrame(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	url, _ := serve(t, rpc.Options{
		MaxCalls: 1, MaxQueued: 2, MaxFrame: rpc.FrameLimit{Size: 100, Reason: "too long"},
		Frame: func(ctx context.Context, c *rpc.Conn, data []byte) {
			r := rpc.Request{Method: string(data), ID: json.RawMessage("1")}
			if r.Method == "notified" {
				r.ID = nil
			}
			if r.Method == "panic" {
				panic("in the loop that reads")
			}
			if !c.Carry(ctx, r, func(result json.RawMessage, err error) []byte {
				switch {
				case r.Method == "silent":
					return nil
				case err != nil:
					return []byte("error " + err.Error())
				}
				return []byte("result " + string(result))
			}) {
				c.Reply([]byte("full"))
			}
		},
		Handler: func(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
			switch r.Method {
			case "wait":
				running <- struct{}{}
				<-finish
				return "waited", nil
			case "fail":
				return nil, errors.New("why")
			case "unhinged":
				panic("in a handler")
			case "event":
				rpc.AfterReply(ctx, func() {
					if err := c.Send(ctx, []byte("behind")); err != nil {
						t.Error(err)
					}
				})
				return nil, nil
			case "close":
				return "last", &rpc.Closing{Code: 4000, Reason: "asked"}
			}
			return r.Method, nil
		},
	})
	p := dialRaw(t, url)
	p.send("wait")
	<-running
	p.send("queued")
	p.send("one too many")
	hears := func(want string) {
		t.Helper()
		if got := p.next(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	hears("full")
	finish <- struct{}{}
	hears(`result "waited"`)
	hears(`result "queued"`)
	for _, tt := range []struct{ frame, want string }{
		{"fail", "error why"},
		{"unhinged", "error [EFAULT] internal error in unhinged"},
		{"event", "result null"},
	} {
		p.send(tt.frame)
		hears(tt.want)
	}
	hears("behind")
	for _, unanswered := range []string{"notified", "silent", "panic"} {
		p.send(unanswered)
	}
	for p.send("again"); ; p.send("again") { // the two before may still be under way
		if got := p.next(); got != "full" {
			if got != `result "again"` {
				t.Errorf("got %s", got)
			}
			break
		}
	}
	p.send("close")
	hears(`result "last"`)
	closedWith(t, p, 4000, "asked")

	p = dialRaw(t, url)
	p.send(strings.Repeat("x", 101))
	closedWith(t, p, 1009, "too long")
}

func closedWith(t *testing.T, p *peer, code int, reason string) {
	t.Helper()
	if gotCode, got := p.closed(); gotCode != code || got != reason {
		t.Errorf("closed with %d %q, want %d %q", gotCode, got, code, reason)
	}
}
