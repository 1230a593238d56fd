package rpc

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAfterReply: what a handler sends after its reply never overtakes it.
func TestAfterReply(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, Options{Handler: func(ctx context.Context, c *Conn, q Request) (any, error) {
			AfterReply(ctx, func() { _ = c.Notify(ctx, "event", []any{1}) })
			AfterReply(ctx, func() { _ = c.Notify(ctx, "event", []any{2}) })
			if q.Method == "fails" {
				return nil, Errorf(EFAULT, "as asked")
			}
			return "answer", nil
		}})
		if err == nil {
			<-c.Done()
		}
	}))
	defer server.Close()
	events := make(chan string, 4)
	c, err := Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), DialOptions{}, Options{
		Notified: func(_ context.Context, _ *Conn, q Request) { events <- string(q.Params) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(0, "")
	for _, method := range []string{"works", "fails"} {
		var result json.RawMessage
		err := c.Call(t.Context(), method, []any{}, &result)
		if (err != nil) != (method == "fails") {
			t.Fatalf("%s: %v", method, err)
		}
		for _, want := range []string{"[1]", "[2]"} {
			if got := <-events; got != want {
				t.Errorf("%s: event %s, want %s", method, got, want)
			}
		}
	}
}
