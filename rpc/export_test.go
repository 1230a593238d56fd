package rpc

import (
	"reflect"
	"sync"
)

// PendingCalls counts the calls of c that wait for an answer: in our table, and in that of jsonrpc2.
func PendingCalls(c *Conn) (ours, theirs int) {
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	library := reflect.ValueOf(c.rpc).Elem()
	mu := (*sync.Mutex)(library.FieldByName("mu").Addr().UnsafePointer())
	mu.Lock()
	defer mu.Unlock()
	return len(c.stream.pending), library.FieldByName("pending").Len()
}

// Cut cuts the network under c.
func Cut(c *Conn) { c.kill() }

// LiveStreams counts the byte streams that c knows.
func LiveStreams(c *Conn) int {
	c.bytes.mu.Lock()
	defer c.bytes.mu.Unlock()
	return len(c.bytes.live)
}

// Buffered is how much has come and was not read.
func (in *Input) Buffered() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.buffer.Len()
}

// ParseFrame is parse; answer is what a faulty frame is answered with.
func ParseFrame(data []byte, arrays bool) (r Request, answer []byte) {
	m, f := parse(data, arrays)
	if f != nil && f.id != nil {
		answer = f.frame()
	}
	return m.Request, answer
}
