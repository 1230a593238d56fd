package rpc

import (
	"context"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// What TrueNAS says when a binary frame comes, to the letter.
const binaryRefused = "Invalid websocket message type: <WSMsgType.BINARY: 2>"

var errTooLarge = errors.New("frame is too large")

// read reads frames until there are no more. When the connection is closing it throws them away and waits for the other
// end's closing frame: to close with data unread would reset the connection, and the other end might miss why.
func (c *Conn) read(ctx context.Context) {
	defer close(c.notified)
	var binary []byte
	for {
		kind, r, err := c.ws.NextReader()
		if err != nil {
			c.lost("read", err)
			return
		}
		select {
		case <-c.closing:
			continue
		default:
		}
		switch {
		case kind == websocket.TextMessage:
			err = c.readText(ctx, r)
		case !c.o.Streams:
			c.refusePeer(websocket.CloseUnsupportedData, binaryRefused)
		default:
			if binary == nil {
				binary = make([]byte, maxBinary+1)
			}
			err = c.readBinary(r, binary)
		}
		if err != nil {
			c.lost("read", err)
			return
		}
	}
}

// readText reads a text frame and does what it says. Its error is one of the network.
func (c *Conn) readText(ctx context.Context, r io.Reader) error {
	data, err := c.limit.Load().read(r)
	switch {
	case errors.Is(err, errTooLarge):
		limit := c.limit.Load()
		c.refusePeer(limit.Code, limit.Reason)
		return nil
	case err != nil:
		return err
	case !utf8.Valid(data):
		c.refusePeer(websocket.CloseInvalidFramePayloadData, "Invalid UTF-8 text message")
		return nil
	case c.o.Frame != nil:
		c.guard(Request{Method: "a frame"}, func() { c.o.Frame(ctx, c, data) })
		return nil
	}
	m, fault := parse(data, c.o.ArrayParams)
	switch {
	case fault != nil && fault.id != nil:
		c.writer.answer(frame{websocket.TextMessage, fault.frame()})
	case fault != nil:
		c.o.Log.Debug("frame passed over", "reason", fault.err.Message)
	case m.answer:
		if !c.stream.answer(m.id, m.result, m.err) {
			c.o.Log.Debug("answer to no call", "id", m.id)
		}
	case m.ID == nil && c.o.Notified != nil:
		select {
		case c.notified <- m.Request:
		case <-c.closing:
		}
	default:
		c.stream.request(m.Request)
	}
	return nil
}

// read reads a frame, or gives errTooLarge.
func (m *FrameLimit) read(r io.Reader) ([]byte, error) {
	most := m.Size
	if m.Characters {
		most *= utf8.UTFMax
	}
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	size := int64(len(data))
	if m.Characters && size > m.Size && size <= most {
		size = int64(utf8.RuneCount(data))
	}
	if size > m.Size {
		return nil, errTooLarge
	}
	return data, nil
}

// readBinary reads a frame of a byte stream. Its error is one of the network.
func (c *Conn) readBinary(r io.Reader, buffer []byte) error {
	n, err := io.ReadFull(r, buffer)
	switch {
	case err == nil:
		c.refusePeer(websocket.CloseMessageTooBig, "binary frame is too large")
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	default:
		if fault := c.bytes.frame(buffer[:n]); fault != "" {
			c.refusePeer(websocket.CloseProtocolError, fault)
		}
	}
	return nil
}

// notify hands notifications on, in order. What came before the other end closed is still handed on afterwards.
func (c *Conn) notify(ctx context.Context) {
	for r := range c.notified {
		if ctx.Err() == nil {
			c.guard(r, func() { c.o.Notified(ctx, c, r) })
		}
	}
}
