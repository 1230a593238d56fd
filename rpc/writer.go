package rpc

import (
	"context"

	"github.com/gorilla/websocket"
)

// frame is a message for the WebSocket.
type frame struct {
	kind int
	data []byte
}

// writer is the only one that writes to the WebSocket, one frame after another. Nobody writes while holding a lock, and
// the reading goroutine never waits for it: two ends that both wait for the other to read would stand still for ever.
type writer struct {
	turn chan struct{} // holds a value while nobody has a frame on its way
	out  chan frame    // takes the frame of the one who took turn, without waiting
	// urgent is for what the connection itself says: pings, pongs, answers to frames that are no calls.
	urgent  chan frame
	closing <-chan struct{}
}

const maxUrgent = 64

func newWriter(closing <-chan struct{}) *writer {
	w := &writer{
		turn:    make(chan struct{}, 1),
		out:     make(chan frame, 1),
		urgent:  make(chan frame, maxUrgent),
		closing: closing,
	}
	w.turn <- struct{}{}
	return w
}

// acquire waits for the turn to give out a frame. The turn comes back by itself when the frame was written; who has none
// after all calls release.
func (w *writer) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	given, err := w.acquireUntil(ctx.Done())
	if err == nil && !given {
		return context.Cause(ctx)
	}
	return err
}

// acquireUntil is acquire with a channel that ends the wait; nil is none.
func (w *writer) acquireUntil(done <-chan struct{}) (given bool, err error) {
	select {
	case <-w.turn:
	case <-done:
		return false, nil
	case <-w.closing:
		return false, ErrClosed
	}
	select {
	case <-w.closing:
		w.release()
		return false, ErrClosed
	default:
		return true, nil
	}
}

func (w *writer) release() { w.turn <- struct{}{} }

// answer queues an urgent frame. It waits only for an end that asks a lot and does not read.
func (w *writer) answer(f frame) {
	select {
	case w.urgent <- f:
	case <-w.closing:
	}
}

// control queues a ping or pong, or drops it when so many frames wait that the other end hears from us anyway.
func (w *writer) control(kind int, data []byte) {
	select {
	case w.urgent <- frame{kind, data}:
	default:
	}
}

// run writes until closing, and then what was handed over before. It returns the error of a write.
func (w *writer) run(ws *websocket.Conn) error {
	for {
		select {
		case f := <-w.out:
			if err := write(ws, f); err != nil {
				return err
			}
			w.release()
		case f := <-w.urgent:
			if err := write(ws, f); err != nil {
				return err
			}
		case <-w.closing:
			return w.drain(ws)
		}
	}
}

func (w *writer) drain(ws *websocket.Conn) error {
	for {
		select {
		case f := <-w.out:
			if err := write(ws, f); err != nil {
				return err
			}
		case f := <-w.urgent:
			if err := write(ws, f); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func write(ws *websocket.Conn, f frame) error { return ws.WriteMessage(f.kind, f.data) }
