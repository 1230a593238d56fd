package rpc

import (
	"context"
	"sync"
)

// calls runs the handlers of a connection: some at once, some waiting, and no more.
type calls struct {
	max   int // at once; 0 is no limit
	limit int // at once and waiting; 0 is no limit

	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	held    int        // slots held
	waiting []func()
	stopped bool
}

type slotKey struct{}

// slot is the right to run. It is given back once, by the handler's end or before.
type slot struct {
	once sync.Once
	c    *calls
}

func (s *slot) release() { s.once.Do(s.c.next) }

// ReleaseSlot gives the slot of MaxCalls and MaxQueued that a handler's ctx holds to the next request, while the handler goes
// on: for one that waits long, such as for the end of a job. More than once is once.
func ReleaseSlot(ctx context.Context) {
	if s, ok := ctx.Value(slotKey{}).(*slot); ok {
		s.release()
	}
}

// start runs f, now or when it is its turn, and tells whether there was room for it.
func (c *calls) start(ctx context.Context, f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return true // nobody is there to be told
	}
	if c.limit > 0 && c.held+len(c.waiting) >= c.limit {
		return false
	}
	s := &slot{c: c}
	run := func() {
		defer s.release()
		f(context.WithValue(ctx, slotKey{}, s))
	}
	if c.max > 0 && c.held >= c.max {
		c.waiting = append(c.waiting, run)
		return true
	}
	c.held++
	c.running.Go(run)
	return true
}

// next gives a slot that was given back to the one that has waited longest.
func (c *calls) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.held--
		return
	}
	run := c.waiting[0]
	c.waiting = c.waiting[1:]
	c.running.Go(run)
}

// wait starts nothing more, and waits for what runs.
func (c *calls) wait() {
	c.mu.Lock()
	c.stopped = true
	c.waiting = nil
	c.mu.Unlock()
	c.running.Wait()
}
