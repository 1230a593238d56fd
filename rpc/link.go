package rpc

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writeChunk is how much the other end must take within the write timeout. A deadline for whole frames would cut off a slow
// line in the middle of a large one.
const writeChunk = 64 << 10

// link is the network connection under a WebSocket. It sees bytes where the WebSocket sees frames, so it is here that
// silence is measured, and progress in writing.
type link struct {
	net.Conn
	timeout time.Duration // for each writeChunk
	begun   time.Time
	heard   atomic.Int64 // when the last byte came, nanoseconds after begun
	ready   atomic.Bool  // the handshake is done, or was given up
}

func newLink(c net.Conn, timeout time.Duration) *link {
	return &link{Conn: c, timeout: timeout, begun: time.Now()}
}

// keep ends the time in which abandon may end the handshake. It is false if it has.
func (l *link) keep() bool { return l.ready.CompareAndSwap(false, true) }

// abandon ends a handshake under way.
func (l *link) abandon() {
	if l.keep() {
		_ = l.Close()
	}
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(int64(time.Since(l.begun)))
	}
	return n, err
}

func (l *link) silence() time.Duration {
	return time.Since(l.begun) - time.Duration(l.heard.Load())
}

func (l *link) Write(p []byte) (int, error) {
	written := 0
	for {
		chunk := p[written:min(len(p), written+writeChunk)]
		if err := l.Conn.SetWriteDeadline(time.Now().Add(l.timeout)); err != nil {
			return written, err
		}
		n, err := l.Conn.Write(chunk)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// SetWriteDeadline does nothing: the WebSocket's deadlines are for whole frames, see Write.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// peerUID asks the kernel who is at the other end of a Unix socket.
func (l *link) peerUID() (uid int, ok bool) {
	socket, ok := l.Conn.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, false
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || asked != nil {
		return 0, false
	}
	return int(peer.Uid), true
}

// hijacker puts a link under the WebSocket that is made of an HTTP request.
type hijacker struct {
	http.ResponseWriter
	timeout time.Duration
	link    *link
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.link = newLink(conn, h.timeout)
	return h.link, buffers, nil
}
