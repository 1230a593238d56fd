package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

// stream is what jsonrpc2 sees of the connection. jsonrpc2 knows unsigned ids only, sorts the keys of params, and cannot
// forget a call; so it gets ids of ours and empty envelopes, and the stream keeps what they stand for.
type stream struct {
	in      chan []byte // what jsonrpc2 reads next
	out     *writer
	closing <-chan struct{}

	mu       sync.Mutex          // guards what follows
	last     uint64              // the last id given out, for either direction
	requests map[uint64]Request  // on their way to Handle
	pending  map[uint64]*pending // calls of ours that were not answered yet

	sending *outgoing // the message on its way; belongs to who has the writer's turn
}

// outgoing is a message of ours that jsonrpc2 is about to write.
type outgoing struct {
	id     json.RawMessage // stands in place of the message's own, if not nil
	handed bool            // it was given to the writer, and with it the turn
}

// pending is a call of ours.
type pending struct {
	answered chan struct{} // closed when the next two are set
	result   json.RawMessage
	err      error
}

func newStream(out *writer, closing <-chan struct{}) *stream {
	return &stream{
		in: make(chan []byte, 16), out: out, closing: closing,
		requests: map[uint64]Request{}, pending: map[uint64]*pending{},
	}
}

// ReadObject implements jsonrpc2.ObjectStream.
func (s *stream) ReadObject(v any) error {
	select {
	case envelope := <-s.in:
		return json.Unmarshal(envelope, v)
	case <-s.closing:
		return io.EOF
	}
}

// WriteObject implements jsonrpc2.ObjectStream. Whoever made jsonrpc2 call it has the writer's turn.
func (s *stream) WriteObject(obj any) error {
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	if s.sending.id != nil {
		if data, err = replaceID(data, s.sending.id); err != nil {
			return err
		}
	}
	s.sending.handed = true
	s.out.out <- frame{websocket.TextMessage, data}
	return nil
}

// Close implements jsonrpc2.ObjectStream. The connection closes itself.
func (s *stream) Close() error { return nil }

// replaceID puts the caller's id in place of ours, which jsonrpc2 writes as the first member.
func replaceID(data []byte, id json.RawMessage) ([]byte, error) {
	const begin = `{"id":`
	rest, ok := bytes.CutPrefix(data, []byte(begin))
	comma := bytes.IndexByte(rest, ',')
	if !ok || comma < 0 {
		return nil, fmt.Errorf("jsonrpc2 wrote a message of unknown form")
	}
	swapped := make([]byte, 0, len(data)+len(id))
	swapped = append(swapped, begin...)
	swapped = append(swapped, id...)
	return append(swapped, rest[comma:]...), nil
}

// deliver gives an envelope to jsonrpc2, which never takes long to read the next.
func (s *stream) deliver(envelope string, id uint64) {
	select {
	case s.in <- fmt.Appendf(nil, envelope, id):
	case <-s.closing:
	}
}

// request passes on a request of the other end.
func (s *stream) request(r Request) {
	s.mu.Lock()
	s.last++
	id := s.last
	s.requests[id] = r
	s.mu.Unlock()
	s.deliver(`{"id":%d,"method":"-"}`, id)
}

// take gives what jsonrpc2's request stands for.
func (s *stream) take(req *jsonrpc2.Request) Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests[req.ID.Num]
	delete(s.requests, req.ID.Num)
	return r
}

// expect makes an id for a call.
func (s *stream) expect() (jsonrpc2.ID, *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	p := &pending{answered: make(chan struct{})}
	s.pending[s.last] = p
	return jsonrpc2.ID{Num: s.last}, p
}

// answer passes on an answer, and tells whether a call waited for it.
func (s *stream) answer(id uint64, result json.RawMessage, err error) bool {
	p := s.unexpect(id)
	if p == nil {
		return false
	}
	p.result, p.err = result, err
	close(p.answered)
	s.forget(id)
	return true
}

// unexpect ends the wait for an answer; one that comes later is passed over.
func (s *stream) unexpect(id uint64) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	delete(s.pending, id)
	return p
}

// forget makes jsonrpc2 forget a call, by an answer.
func (s *stream) forget(id uint64) { s.deliver(`{"id":%d,"result":null}`, id) }
