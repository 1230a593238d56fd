package plugin

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// TestCallBehindTheReply: a host may call as soon as it has replied to the registration, before the plugin has read the reply.
func TestCallBehindTheReply(t *testing.T) {
	known := false
	l := &link{handler: func(context.Context, *rpc.Conn, rpc.Request) (any, error) { return known, nil }}
	ready := make(chan struct{})
	answer := make(chan any, 1)
	handler := l.gated(ready)
	go func() { // ends with the answer
		result, err := handler(t.Context(), nil, rpc.Request{Method: "plugin.call"})
		if err != nil {
			result = err
		}
		answer <- result
	}()
	select {
	case got := <-answer:
		t.Fatalf("answered %v before the registration was done", got)
	case <-time.After(10 * time.Millisecond):
	}
	known = true
	close(ready)
	if got := <-answer; got != true {
		t.Errorf("answered %v", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.gated(make(chan struct{}))(ctx, nil, rpc.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a link that is lost gives %v", err)
	}
}
