package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/gorilla/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

// server carries out what the other end asks.
type server struct{ c *Conn }

// Handle implements jsonrpc2.Handler. It is called by the loop that reads, and must not wait.
func (s server) Handle(ctx context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) {
	c, r := s.c, s.c.stream.take(req)
	started := c.calls.start(ctx, func(ctx context.Context) { c.serve(ctx, r) })
	if started || r.ID == nil {
		return
	}
	text := fmt.Sprintf("Maximum number of concurrent calls (%d) has exceeded", c.o.MaxQueued)
	f := &fault{r.ID, &Error{Code: CodeTooManyCalls, Message: text}}
	c.writer.answer(frame{websocket.TextMessage, f.frame()})
}

// serve runs the handler and answers.
func (c *Conn) serve(ctx context.Context, r Request) {
	c.carry(ctx, r, func(ctx context.Context, result json.RawMessage, err error) { c.reply(ctx, r, result, ToWire(err)) })
}

// carry runs the handler and calls answer, if somebody waits for one.
func (c *Conn) carry(ctx context.Context, r Request, answer func(ctx context.Context, result json.RawMessage, err error)) {
	ctx, replied := withAfter(ctx)
	defer replied()
	result, err := c.invoke(ctx, r)
	end, closing := errors.AsType[*Closing](err)
	if closing {
		err = end.Err
	}
	// Nobody waits for what a handler says because its connection is closed.
	if r.ID != nil && ctx.Err() == nil {
		answer(context.WithoutCancel(ctx), result, err) // closing the connection ends the wait for the turn
	}
	if closing {
		c.Hangup(end.Code, end.Reason)
	}
}

// invoke runs the handler and makes JSON of its result.
func (c *Conn) invoke(ctx context.Context, r Request) (result json.RawMessage, err error) {
	err = ErrMethodNotFound
	if c.o.Handler == nil {
		return nil, err
	}
	if !c.guard(r, func() {
		var v any
		if v, err = c.o.Handler(ctx, c, r); r.ID == nil {
			return
		}
		if end, closing := errors.AsType[*Closing](err); err != nil && (!closing || end.Err != nil) {
			return
		}
		var fault error
		if result, fault = json.Marshal(v); fault != nil {
			err = unserializable(fault.Error())
		} else if len(result) > maxFrame-len(r.ID)-100 { // the envelope
			err = unserializable(fmt.Sprintf("result has %d bytes, more than a frame may have", len(result)))
		}
	}) {
		err = Errorf(EFAULT, "internal error in %s", r.Method)
	}
	return result, err
}

// guard runs f and tells whether it returned. The stack of a panic goes to the log and nowhere else.
func (c *Conn) guard(r Request, f func()) (returned bool) {
	defer func() {
		if returned {
			return
		}
		// A runtime.Goexit comes here too, with nothing to recover.
		c.o.Log.Error("handler panicked", "method", r.Method, "panic", fmt.Sprint(recover()), "stack", string(debug.Stack()))
	}()
	f()
	return true
}

// reply answers r.
func (c *Conn) reply(ctx context.Context, r Request, result json.RawMessage, fault *Error) {
	response := &jsonrpc2.Response{Result: &result}
	if fault != nil {
		response.Result = nil
		response.Error = &jsonrpc2.Error{Code: int64(fault.Code), Message: fault.Message}
		if fault.Data != nil {
			response.Error.Data = &fault.Data
		}
	}
	err := c.send(ctx, r.ID, func() error {
		// Before the answer, so that a client may call again as soon as it has it; and not before the turn, so that one who
		// does not read cannot have more answers wait than it has slots.
		ReleaseSlot(ctx)
		return c.rpc.SendResponse(ctx, response)
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		c.o.Log.Error("answer not sent", "method", r.Method, "err", err)
	}
}

// send takes the writer's turn and calls do, which makes jsonrpc2 send one message. id, if not nil, stands in place of the
// message's own.
func (c *Conn) send(ctx context.Context, id json.RawMessage, do func() error) error {
	if err := c.writer.acquire(ctx); err != nil {
		return c.because(err)
	}
	message := &outgoing{id: id}
	c.stream.sending = message
	err := do()
	if !message.handed {
		c.writer.release()
	}
	if errors.Is(err, jsonrpc2.ErrClosed) {
		err = ErrClosed
	}
	return c.because(err)
}

// because adds to ErrClosed why the connection was closed.
func (c *Conn) because(err error) error {
	if !errors.Is(err, ErrClosed) {
		return err
	}
	if cause := c.Err(); cause != nil && !errors.Is(cause, ErrClosed) {
		return fmt.Errorf("%w: %v", ErrClosed, cause)
	}
	return err
}
