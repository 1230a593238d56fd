package rpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
)

// window is how much the writer of a stream may send ahead of its reader.
const window = 512 << 10

// Input is the reading end of a byte stream.
type Input struct {
	id   uint32
	conn *Conn

	mu      sync.Mutex // guards what follows
	arrived sync.Cond  // something below has changed
	begun   bool       // the first credit was given
	buffer  bytes.Buffer
	credit  uint32 // what the writer may still send
	read    uint32 // since the last credit
	err     error  // what Read gives after the buffer
}

// NewInput reads stream id. For a stream of the other end the first credit goes out at once, for one of ours with the
// Call that names it. A stream that was opened must be read to its end or closed.
func (c *Conn) NewInput(id uint32) *Input {
	in := &Input{id: id, conn: c}
	in.arrived.L = &in.mu
	c.bytes.open(id, in)
	if id%2 != c.bytes.parity {
		in.begin()
	}
	return in
}

// ID is the number of the stream.
func (in *Input) ID() uint32 { return in.id }

// begin gives the first credit.
func (in *Input) begin() {
	in.mu.Lock()
	first := !in.begun && in.err == nil
	in.begun = true
	if first {
		in.credit = window
	}
	in.mu.Unlock()
	if first {
		in.give(window)
	}
}

// give tells the writer of credit that was booked before. If it cannot be told the connection is closed, and Read says so.
func (in *Input) give(n uint32) {
	_ = in.conn.bytes.send(kindCredit, in.id, nil, binary.BigEndian.AppendUint32(nil, n)...)
}

// Read gives what the writer sent, io.EOF after its end, *AbortError when it gave up, and ErrClosed when the connection was
// lost.
func (in *Input) Read(p []byte) (int, error) {
	in.begin()
	n, more, err := in.take(p)
	if more > 0 {
		in.give(more)
	}
	return n, err
}

// take waits for data, and books new credit when much was read.
func (in *Input) take(p []byte) (n int, more uint32, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(p) == 0 {
		return 0, 0, nil
	}
	for in.buffer.Len() == 0 {
		if in.err != nil {
			return 0, 0, in.err
		}
		in.arrived.Wait()
	}
	n, _ = in.buffer.Read(p)
	in.read += uint32(n)
	if in.read >= window/2 && in.err == nil {
		more, in.read = in.read, 0
		in.credit += more
	}
	return n, more, nil
}

// Close says, before the end, that no more is wanted.
func (in *Input) Close() error {
	in.Abort("")
	return nil
}

// Abort is Close with a reason for the writer.
func (in *Input) Abort(reason string) {
	in.mu.Lock()
	over, told := in.err != nil, in.begun
	in.failLocked(fmt.Errorf("stream %d: %w", in.id, io.ErrClosedPipe))
	in.mu.Unlock()
	if over {
		return
	}
	in.conn.bytes.drop(in.id)
	if !told {
		return // no call has named it, so to the other end there is no such stream
	}
	_ = in.conn.bytes.send(kindAbort, in.id, nil, []byte(cut(reason, maxReason))...) // the connection may be closed
}

// receive implements receiver.
func (in *Input) receive(kind byte, payload []byte) (over bool, fault string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer in.arrived.Broadcast()
	switch kind {
	case kindData:
		if uint32(len(payload)) > in.credit {
			return false, fmt.Sprintf("data for stream %d beyond the credit", in.id)
		}
		in.credit -= uint32(len(payload))
		if in.err == nil { // else it was on its way while this end gave up
			in.buffer.Write(payload)
		}
		return false, ""
	case kindEnd:
		if in.err == nil {
			in.err = io.EOF
		}
		return true, ""
	case kindAbort:
		in.failLocked(&AbortError{Reason: strings.ToValidUTF8(string(payload), "?")})
		return true, ""
	}
	return false, fmt.Sprintf("credit for stream %d from its writer", in.id)
}

// abort implements receiver.
func (in *Input) abort(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.failLocked(err)
}

// failLocked ends the stream, if it has not ended. What was not read is lost.
func (in *Input) failLocked(err error) {
	if in.err == nil {
		in.err = err
	}
	in.buffer = bytes.Buffer{}
	in.arrived.Broadcast()
}

// AbortError says that the other end gave up a byte stream.
type AbortError struct{ Reason string }

func (e *AbortError) Error() string {
	if e.Reason == "" {
		return "stream aborted by the other end"
	}
	return "stream aborted by the other end: " + e.Reason
}
