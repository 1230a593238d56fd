package rpc

import (
	"context"
	"encoding/json"

	"github.com/gorilla/websocket"
)

// What follows is for a protocol on a Conn that is not JSON-RPC. Frames, limits, calls and their slots stay the same; what a
// frame says is left to Options.Frame.

// Carry has the Handler carry out r, as if it had come as JSON-RPC, and sends the frame that answer makes of what came of it,
// nil for none. Without an id nothing is answered. It does not wait, so that Options.Frame may call it, and tells whether
// there was room for the call.
func (c *Conn) Carry(ctx context.Context, r Request, answer func(result json.RawMessage, err error) []byte) (room bool) {
	return c.calls.start(ctx, func(ctx context.Context) {
		c.carry(ctx, r, func(ctx context.Context, result json.RawMessage, err error) {
			data := answer(result, err)
			if data == nil {
				return
			}
			if err := c.sendText(ctx, data, func() { ReleaseSlot(ctx) }); err != nil {
				c.o.Log.Debug("answer not sent", "method", r.Method, "err", err)
			}
		})
	})
}

// Reply sends a frame at once, for Options.Frame, which must not wait.
func (c *Conn) Reply(data []byte) { c.writer.answer(frame{websocket.TextMessage, data}) }

// Send sends a frame, and waits as Notify does.
func (c *Conn) Send(ctx context.Context, data []byte) error { return c.sendText(ctx, data, func() {}) }

// sendText takes the writer's turn, calls before and hands the frame over.
func (c *Conn) sendText(ctx context.Context, data []byte, before func()) error {
	if err := c.writer.acquire(ctx); err != nil {
		return c.because(err)
	}
	before()
	c.writer.out <- frame{websocket.TextMessage, data}
	return nil
}
