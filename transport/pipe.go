package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

var (
	// ErrBroken is what the receiving end reads in place of a clean end when the sending end failed.
	ErrBroken = errors.New("the sending end failed")

	errReaderGone = errors.New("the receiving end stopped reading")
)

// PipeError tells how the two ends of a broken stream fared.
type PipeError struct {
	Send    error // nil if the sending end succeeded
	Receive error // nil if the receiving end succeeded
	// First is the end that failed first. What the other says is mostly an echo, so it is kept for the log only.
	First End
}

// End is one end of a stream.
type End string

// The ends of a stream.
const (
	SendEnd    End = "send"
	ReceiveEnd End = "receive"
)

// Error gives the words of the end that failed first.
func (e *PipeError) Error() string { return e.Cause().Error() }

// Cause is the error of the end that failed first.
func (e *PipeError) Cause() error {
	if e.First == SendEnd {
		return e.Send
	}
	return e.Receive
}

// Unwrap lets errors.Is and errors.As look at the end that failed first: the other end's error is an echo and must not
// decide what is done.
func (e *PipeError) Unwrap() error { return e.Cause() }

// Meter counts the bytes of a stream. The zero value is ready; it may be read at any time.
type Meter struct{ n atomic.Int64 }

// Bytes is how many bytes the receiving end has taken so far.
func (m *Meter) Bytes() int64 { return m.n.Load() }

type meteredReader struct {
	*buffer
	meter *Meter
}

func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.buffer.Read(p)
	r.meter.n.Add(int64(n))
	return n, err
}

// Pipe runs send and receive at once and carries what send writes to receive, counted by m. If send fails, receive reads
// ErrBroken and not io.EOF, so that half a stream never passes for a whole one; if receive ends, send's next write fails.
// The reader that receive gets has a Close that frees a blocked Read. Pipe returns when both have returned: nil, the cause
// of ctx if that ended first, or a *PipeError.
func Pipe(ctx context.Context, m *Meter, send func(context.Context, io.Writer) error, receive func(context.Context, io.Reader) error) error {
	buf := newBuffer(bufferSize)
	stop := context.AfterFunc(ctx, func() { buf.closeRead(context.Cause(ctx)) })
	defer stop()

	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first End
		res   PipeError
	)
	note := func(end End, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && first == "" {
			first = end
		}
	}
	sendCtx, stopSend := context.WithCancelCause(ctx)
	defer stopSend(nil)
	wg.Go(func() {
		res.Send = send(sendCtx, buf)
		if !errors.Is(res.Send, errReaderGone) {
			note(SendEnd, res.Send)
		}
		if res.Send != nil {
			buf.closeWrite(fmt.Errorf("%w: %w", ErrBroken, res.Send))
			return
		}
		buf.closeWrite(io.EOF)
	})
	wg.Go(func() {
		res.Receive = receive(ctx, meteredReader{buf, m})
		note(ReceiveEnd, res.Receive)
		buf.closeRead(errReaderGone)
		if res.Receive != nil {
			stopSend(errReaderGone) // a silent sender would not notice
		}
	})
	wg.Wait()

	switch {
	case res.Send == nil && res.Receive == nil && buf.drained():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case res.Receive == nil && errors.Is(res.Send, errReaderGone), res.Send == nil && res.Receive == nil:
		res.Receive, first = errors.New("the receiving end finished before the end of the stream"), ReceiveEnd
	}
	res.First = first
	return &res
}
