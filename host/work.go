package host

import (
	"context"
	"sync"
)

// work is what goes on in the background, connections included, and is waited for at the end.
type work struct {
	context func() context.Context // ends when all of it is to end
	stop    context.CancelCauseFunc

	mu      sync.Mutex // guards ending
	ending  bool
	running sync.WaitGroup
}

func newWork(ctx context.Context) *work {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	return &work{context: func() context.Context { return ctx }, stop: stop}
}

// begin counts something that has begun, whose end calls finish. It tells whether it may begin.
func (w *work) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ending {
		w.running.Add(1)
	}
	return !w.ending
}

func (w *work) finish() { w.running.Done() }

// start runs f in the background, unless everything is to end.
func (w *work) start(f func(ctx context.Context)) {
	if !w.begin() {
		return
	}
	go func() { // end waits for it
		defer w.finish()
		f(w.context())
	}()
}

// end ends everything and waits for it.
func (w *work) end(cause error) {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	w.stop(cause)
	w.running.Wait()
}
