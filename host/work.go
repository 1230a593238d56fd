package host

import (
	"context"
	"sync"
)

// work is what goes on in the background, connections included. At the end all of it is told to end, and waited for.
type work struct {
	running sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	ending bool
	units  map[*unit]bool
}

// unit is a part of it.
type unit struct {
	work *work
	stop func() // guarded by work.mu
}

func newWork() *work { return &work{units: make(map[*unit]bool)} }

// begin counts something that begins, and whose finish must be called. It tells whether it may begin.
func (w *work) begin() (*unit, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return nil, false
	}
	u := &unit{work: w}
	w.units[u] = true
	w.running.Add(1)
	return u, true
}

// onEnd says what makes the unit end; it must not wait. It is called at once if all is to end already.
func (u *unit) onEnd(stop func()) {
	u.work.mu.Lock()
	u.stop = stop
	ending := u.work.ending
	u.work.mu.Unlock()
	if ending {
		stop()
	}
}

func (u *unit) finish() {
	u.work.mu.Lock()
	delete(u.work.units, u)
	u.work.mu.Unlock()
	u.work.running.Done()
}

// start runs f in the background, unless all is to end. Of ctx only what it carries counts: f's own ends with the host.
func (w *work) start(ctx context.Context, f func(ctx context.Context)) {
	u, ok := w.begin()
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	u.onEnd(cancel)
	go func() { // end waits for it
		defer u.finish()
		defer cancel()
		f(ctx)
	}()
}

// end ends everything and waits for it.
func (w *work) end() {
	w.mu.Lock()
	w.ending = true
	var stops []func()
	for u := range w.units {
		if u.stop != nil {
			stops = append(stops, u.stop)
		}
	}
	w.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	w.running.Wait()
}
