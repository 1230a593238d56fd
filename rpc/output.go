package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Output is the writing end of a byte stream.
type Output struct {
	id     uint32
	conn   *Conn
	buffer []byte // of the frame on its way; belongs to who has the writer's turn

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // something below has changed
	credit  uint64
	err     error
}

// NewOutput writes stream id. It must be closed or aborted. A stream of ours may be used when the Call that names it is under
// way; until then the other end knows nothing of it.
func (c *Conn) NewOutput(id uint32) *Output {
	out := &Output{id: id, conn: c}
	out.changed.L = &out.mu
	c.bytes.open(id, out)
	return out
}

// ID is the number of the stream.
func (out *Output) ID() uint32 { return out.id }

// Write waits for the reader's credit. It gives *AbortError when the reader wants no more, and ErrClosed when the connection
// was lost. Only one goroutine may write; others may Abort meanwhile.
func (out *Output) Write(p []byte) (written int, err error) {
	if out.buffer == nil {
		out.buffer = make([]byte, 0, maxBinary)
	}
	for written < len(p) {
		n, err := out.reserve(len(p) - written)
		if err != nil {
			return written, err
		}
		if err := out.conn.bytes.send(kindData, out.id, out.buffer, p[written:written+n]...); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// reserve waits until something may be sent, and tells how much.
func (out *Output) reserve(want int) (int, error) {
	out.mu.Lock()
	defer out.mu.Unlock()
	for out.credit == 0 && out.err == nil {
		out.changed.Wait()
	}
	if out.err != nil {
		return 0, out.err
	}
	n := min(uint64(want), out.credit, maxData)
	out.credit -= n
	return int(n), nil
}

// Close sends the end: all was written. It does not wait for the reader.
func (out *Output) Close() error { return out.end(kindEnd, "") }

// Abort says that there will be no more, though it is not the end. After Close it does nothing.
func (out *Output) Abort(reason string) { _ = out.end(kindAbort, cut(reason, maxReason)) }

func (out *Output) end(kind byte, reason string) error {
	out.mu.Lock()
	err := out.err
	out.failLocked(fmt.Errorf("stream %d: %w", out.id, io.ErrClosedPipe))
	out.mu.Unlock()
	if err != nil {
		return err
	}
	out.conn.bytes.drop(out.id)
	return out.conn.bytes.send(kind, out.id, nil, []byte(reason)...)
}

// receive implements receiver.
func (out *Output) receive(kind byte, payload []byte) (over bool, fault string) {
	out.mu.Lock()
	defer out.mu.Unlock()
	defer out.changed.Broadcast()
	switch kind {
	case kindCredit:
		out.credit += uint64(binary.BigEndian.Uint32(payload))
		return false, ""
	case kindAbort:
		out.failLocked(&AbortError{Reason: strings.ToValidUTF8(string(payload), "?")})
		return true, ""
	}
	return false, fmt.Sprintf("stream %d is written by this end only", out.id)
}

// abort implements receiver.
func (out *Output) abort(err error) {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.failLocked(err)
}

// failLocked ends the stream, if it has not ended.
func (out *Output) failLocked(err error) {
	if out.err == nil {
		out.err = err
	}
	out.changed.Broadcast()
}
