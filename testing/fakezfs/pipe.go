package fakezfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// gatedWriter writes through a gate.
type gatedWriter struct {
	w    io.Writer
	gate *gate
}

func (g *gatedWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n, err := g.gate.pass(len(p))
		if err != nil {
			return written, err
		}
		n, err = g.w.Write(p[:n])
		g.gate.moved(n)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// gatedReader reads through a gate. An input that breaks is like a kill.
type gatedReader struct {
	r    io.Reader
	gate *gate
}

func (g *gatedReader) Read(p []byte) (int, error) {
	n, err := g.gate.pass(len(p))
	if err != nil {
		return 0, err
	}
	n, err = g.r.Read(p[:n])
	g.gate.moved(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errKilled
	}
	return n, err
}

// contextReader ends a read when ctx ends. The read that is abandoned then goes on in a goroutine of its own until its
// source says something or is closed; what it reads is lost. It may still write to its buffer then, so whoever is told
// that ctx ended must not touch that again; commands of this package are done by then.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader takes none
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	return until(c.ctx, func() (int, error) { return c.r.Read(p) })
}

// contextWriter ends a write when ctx ends, in the same way and on the same condition.
type contextWriter struct {
	ctx context.Context //nolint:containedctx // io.Writer takes none
	w   io.Writer
}

func (c *contextWriter) Write(p []byte) (int, error) {
	return until(c.ctx, func() (int, error) { return c.w.Write(p) })
}

func until(ctx context.Context, move func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	// Ends when move does; nobody waits for it once ctx has ended.
	go func() {
		n, err := move()
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return bytes.NewReader(nil)
	}
	return r
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
