package rpc

import (
	"context"
	"sync"
)

type afterKey struct{}

// after is what follows the answer to a request.
type after struct {
	mu   sync.Mutex // guards list
	list []func()
}

// AfterReply has f called when the answer to the request that a handler's ctx is of has been handed to the connection: what
// this end sends from then on comes behind it. f is called also when there is no answer, because the request was a
// notification or the connection is lost, and must not Close the connection.
func AfterReply(ctx context.Context, f func()) {
	if a, ok := ctx.Value(afterKey{}).(*after); ok {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.list = append(a.list, f)
	}
}

// withAfter returns a ctx for AfterReply, and what calls all that it was given.
func withAfter(ctx context.Context) (with context.Context, call func()) {
	a := &after{}
	return context.WithValue(ctx, afterKey{}, a), func() {
		a.mu.Lock()
		list := a.list
		a.list = nil
		a.mu.Unlock()
		for _, f := range list {
			f()
		}
	}
}
