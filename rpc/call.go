package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/sourcegraph/jsonrpc2"
)

// Call calls a method of the other end and stores its result in what result points to, unless that is nil; numbers in an
// any become json.Number. Its errors are those of FromWire; ErrClosed, if the connection was closed before; ErrOutcomeUnknown,
// if it was lost meanwhile; or the cause of ctx, and then nothing is known of the outcome either. opened are the streams that
// params names and this end reads: their first credit follows the call.
func (c *Conn) Call(ctx context.Context, method string, params, result any, opened ...*Input) error {
	encoded, err := encode(method, params)
	if err != nil {
		return err
	}
	id, p := c.stream.expect()
	err = c.send(ctx, nil, func() error {
		_, err := c.rpc.DispatchCall(ctx, method, encoded, jsonrpc2.PickID(id))
		return err
	})
	if err != nil {
		c.stream.unexpect(id.Num)
		return err
	}
	for _, in := range opened {
		in.begin()
	}
	select {
	case <-p.answered:
	case <-ctx.Done():
		if c.stream.unexpect(id.Num) != nil {
			c.stream.forget(id.Num)
			return context.Cause(ctx)
		}
		<-p.answered // just now
	case <-c.closing:
		if c.stream.unexpect(id.Num) != nil {
			return Errorf(ErrOutcomeUnknown.Errno, "%s: %v", ErrOutcomeUnknown.Reason, c.Err())
		}
		<-p.answered
	}
	if p.err != nil || result == nil {
		return p.err
	}
	d := json.NewDecoder(bytes.NewReader(p.result))
	d.UseNumber() // a GUID does not fit a float64
	if err := d.Decode(result); err != nil {
		return fmt.Errorf("%s: result: %w", method, err)
	}
	return nil
}

// Notify sends a notification. It waits until the other end has taken most of what was sent before, WriteTimeout at most for
// each frame: who tells many should have a goroutine for each.
func (c *Conn) Notify(ctx context.Context, method string, params any) error {
	encoded, err := encode(method, params)
	if err != nil {
		return err
	}
	return c.send(ctx, nil, func() error { return c.rpc.Notify(ctx, method, encoded) })
}

// encode makes JSON of params, before anybody waits for it. nil is no params.
func encode(method string, params any) (any, error) {
	if params == nil {
		return nil, nil
	}
	data, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("%s: params: %w", method, err)
	}
	if len(data) > maxFrame-len(method)-100 { // the envelope
		return nil, fmt.Errorf("%s: params have %d bytes, more than a frame may have", method, len(data))
	}
	return json.RawMessage(data), nil
}
