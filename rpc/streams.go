package rpc

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// The kinds of frames of a byte stream.
const (
	kindData   = 1
	kindCredit = 2
	kindEnd    = 3
	kindAbort  = 4
)

const (
	streamHeader = 5 // kind and number
	maxData      = 64 << 10
	maxBinary    = streamHeader + maxData
	maxReason    = 1024 // bytes of the reason of an abort
	// maxEarly streams may be known from a frame only; maxEnded numbers of ended streams are remembered.
	maxEarly = 1024
	maxEnded = 1024
)

// streams are the byte streams of a connection.
type streams struct {
	c      *Conn
	parity uint32 // of the numbers that this end chooses

	mu    sync.Mutex // guards what follows; before the locks of streams
	last  uint32     // that this end chose
	live  map[uint32]receiver
	early []uint32 // of live, those that nobody here has opened yet, the oldest first
	ended numbers
	lost  error // the connection is closed
}

// receiver takes the frames of one stream and tells what is wrong with one, or nothing. It must not wait.
type receiver interface {
	receive(kind byte, payload []byte) (over bool, fault string)
	abort(err error)
}

func newStreams(c *Conn, odd bool) *streams {
	s := &streams{c: c, live: map[uint32]receiver{}}
	if odd {
		s.parity = 1
	}
	return s
}

// NextStream is a number for a byte stream that this end opens.
func (c *Conn) NextStream() uint32 {
	s := c.bytes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == 0 && s.parity == 1 {
		s.last = 1
	} else {
		s.last += 2 // never 0, which can mean none
	}
	return s.last
}

// frame takes a binary frame and tells what is wrong with it, or nothing.
func (s *streams) frame(data []byte) (fault string) {
	if len(data) < streamHeader {
		return "frame of a stream is too short"
	}
	kind, id, payload := data[0], binary.BigEndian.Uint32(data[1:]), data[streamHeader:]
	switch {
	case kind < kindData || kind > kindAbort:
		return fmt.Sprintf("frame of unknown kind %d", kind)
	case kind == kindData && len(payload) == 0, kind == kindCredit && len(payload) != 4, kind == kindEnd && len(payload) != 0:
		return fmt.Sprintf("frame of stream %d has %d bytes", id, len(payload))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known := s.live[id]
	if !known {
		if s.ended.has(id) || s.lost != nil {
			return ""
		}
		ours := id%2 == s.parity
		switch {
		case ours && id <= s.last && id > 0:
			return "" // ended long ago
		case ours:
			return fmt.Sprintf("stream %d was not opened", id)
		}
		// The other end opened it with a call that its handler has not looked at yet.
		r = s.awaitLocked(id)
	}
	over, fault := r.receive(kind, payload)
	if over {
		delete(s.live, id)
		s.ended.add(id)
	}
	return fault
}

// awaitLocked keeps what comes for a stream until it is opened here. Calls that were refused never open theirs; so when there
// are many the oldest is given up.
func (s *streams) awaitLocked(id uint32) receiver {
	for len(s.early) >= maxEarly {
		if _, unopened := s.live[s.early[0]].(*early); unopened {
			delete(s.live, s.early[0])
			s.ended.add(s.early[0])
		}
		s.early = s.early[1:]
	}
	e := &early{id: id}
	s.live[id] = e
	s.early = append(s.early, id)
	return e
}

// open puts r in place of what has come early for it.
func (s *streams) open(id uint32, r receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.live[id]
	waiting, unopened := before.(*early)
	switch {
	case s.lost != nil:
		r.abort(s.lost)
		return
	case known && !unopened, s.ended.has(id):
		r.abort(fmt.Errorf("stream %d was opened before", id))
		return
	}
	s.live[id] = r
	if unopened && waiting.pass(r) {
		delete(s.live, id)
		s.ended.add(id)
	}
}

// drop forgets a stream that this end has ended.
func (s *streams) drop(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, live := s.live[id]; live {
		delete(s.live, id)
		s.ended.add(id)
	}
}

// close aborts all streams, because the connection is closed.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = s.c.because(ErrClosed)
	for _, r := range s.live {
		r.abort(s.lost)
	}
	clear(s.live)
}

// send sends a frame of a stream, which is made in buffer when the frame before was written.
func (s *streams) send(kind byte, id uint32, buffer []byte, payload ...byte) error {
	if _, err := s.c.writer.acquireUntil(nil); err != nil {
		return s.c.because(err)
	}
	buffer = append(buffer[:0], kind)
	buffer = binary.BigEndian.AppendUint32(buffer, id)
	buffer = append(buffer, payload...)
	s.c.writer.out <- frame{websocket.BinaryMessage, buffer}
	return nil
}

// cut shortens a text to so many bytes, and leaves no half of a character.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
		for len(text) > 0 && !utf8.ValidString(text[max(0, len(text)-utf8.UTFMax):]) {
			text = text[:len(text)-1]
		}
	}
	return strings.ToValidUTF8(text, "?")
}

// numbers remembers the last maxEnded numbers. The zero value remembers none.
type numbers struct {
	set  map[uint32]bool
	ring []uint32
	next int
}

func (n *numbers) has(id uint32) bool { return n.set[id] }

func (n *numbers) add(id uint32) {
	if n.set == nil {
		n.set = map[uint32]bool{}
	}
	if len(n.ring) < maxEnded {
		n.ring = append(n.ring, id)
	} else {
		delete(n.set, n.ring[n.next])
		n.ring[n.next] = id
		n.next = (n.next + 1) % maxEnded
	}
	n.set[id] = true
}

// early is a stream of the other end that nobody here has opened yet.
type early struct {
	id     uint32
	credit uint32
	ended  bool
	gone   *AbortError
}

func (e *early) receive(kind byte, payload []byte) (over bool, fault string) {
	switch kind {
	case kindData:
		return false, fmt.Sprintf("data for stream %d beyond the credit", e.id)
	case kindCredit:
		sum := uint64(e.credit) + uint64(binary.BigEndian.Uint32(payload))
		e.credit = uint32(min(sum, 1<<32-1))
	case kindEnd:
		e.ended = true
	case kindAbort:
		e.gone = &AbortError{Reason: string(payload)}
	}
	return false, ""
}

func (e *early) abort(error) {}

// pass tells r what has come, and whether the stream is over.
func (e *early) pass(r receiver) (over bool) {
	if e.credit > 0 {
		r.receive(kindCredit, binary.BigEndian.AppendUint32(nil, e.credit))
	}
	if e.ended {
		r.receive(kindEnd, nil)
	}
	if e.gone != nil {
		r.receive(kindAbort, []byte(e.gone.Reason))
	}
	return e.ended || e.gone != nil
}
