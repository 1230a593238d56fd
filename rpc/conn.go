package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

const (
	maxFrame     = 16 << 20 // bytes of a text frame, if nothing else was said; also of those that we send
	writeTimeout = 20 * time.Second
	linger       = time.Second // how long the other end has to answer a closing frame
	maxNotified  = 256         // notifications that wait for Options.Notified
)

// Conn is a WebSocket over which both ends call each other. All methods may be used by many goroutines.
type Conn struct {
	o      Options
	ws     *websocket.Conn
	link   *link
	writer *writer
	stream *stream
	rpc    *jsonrpc2.Conn
	calls  *calls
	bytes  *streams
	limit  atomic.Pointer[FrameLimit]

	notified     chan Request
	stopHandlers context.CancelCauseFunc
	stopNotified context.CancelCauseFunc

	tasks sync.WaitGroup // our own goroutines
	done  chan struct{}  // closed when all goroutines have ended

	mu      sync.Mutex    // guards what follows
	closing chan struct{} // closed when err is set
	err     error
	goodbye []byte      // the closing frame
	killer  *time.Timer // closes the link when the other end does not answer goodbye
}

// newConn takes over ws, which lies on l.
func newConn(ctx context.Context, ws *websocket.Conn, l *link, o Options) *Conn {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx = context.WithoutCancel(ctx) // of dialling, or of the HTTP request
	handling, stopHandlers := context.WithCancelCause(ctx)
	notifying, stopNotified := context.WithCancelCause(ctx)
	c := &Conn{
		o: o, ws: ws, link: l,
		calls:    &calls{max: o.MaxCalls, limit: o.MaxQueued},
		notified: make(chan Request, maxNotified),
		closing:  make(chan struct{}), done: make(chan struct{}),
		stopHandlers: stopHandlers, stopNotified: stopNotified,
	}
	c.writer = newWriter(c.closing)
	c.stream = newStream(c.writer, c.closing)
	c.bytes = newStreams(c, o.OddStreams)
	c.SetMaxFrame(o.MaxFrame)
	ws.SetPingHandler(func(data string) error {
		c.writer.control(websocket.PongMessage, []byte(data))
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // fail answers it
	// Ends when ctx does or the stream says so.
	c.rpc = jsonrpc2.NewConn(handling, c.stream, server{c}, jsonrpc2.SetLogger(silent{}))

	c.tasks.Go(c.write)
	c.tasks.Go(func() { c.read(handling) })
	c.tasks.Go(func() { c.notify(notifying) })
	if o.PingAfter > 0 {
		c.tasks.Go(c.watch)
	}
	go c.finish() // ends with the others
	return c
}

// silent keeps jsonrpc2 from writing to standard error.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Close closes the connection with a WebSocket close code (0: 1000), cancels the handlers and waits for them and for all
// goroutines of the connection. It may be called again, and need not be called when Done is closed.
func (c *Conn) Close(code int, reason string) {
	c.Hangup(code, reason)
	<-c.done
}

// Hangup is Close without waiting; a handler may call it.
func (c *Conn) Hangup(code int, reason string) {
	if code == 0 {
		code = websocket.CloseNormalClosure
	}
	if c.fail(ErrClosed, code, reason) {
		c.stopNotified(ErrClosed)
	}
}

// Done is closed as soon as the connection cannot be used any more. Handlers may still be on their way out.
func (c *Conn) Done() <-chan struct{} { return c.closing }

// Err tells why Done is closed, and is nil before: ErrClosed after Close here, *CloseError, or what happened to the network.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// SetMaxFrame changes the limit for the frames to come. Without a connection, which a call that came otherwise does not have,
// it does nothing.
func (c *Conn) SetMaxFrame(m FrameLimit) {
	if c == nil {
		return
	}
	if m.Size == 0 {
		m.Size = maxFrame
	}
	if m.Code == 0 {
		m.Code = websocket.CloseMessageTooBig
	}
	if m.Reason == "" {
		m.Reason = fmt.Sprintf("A frame may have %d bytes at most", m.Size)
	}
	c.limit.Store(&m)
}

// PeerUID is the user that the process at the other end of a Unix socket had when it connected.
func (c *Conn) PeerUID() (uid int, ok bool) { return c.link.peerUID() }

// RemoteAddr is the other end's address, such as "127.0.0.1:50112", and "@" or empty for a Unix socket.
func (c *Conn) RemoteAddr() string { return c.link.RemoteAddr().String() }

// refusePeer closes the connection because of what the other end did.
func (c *Conn) refusePeer(code int, reason string) {
	c.fail(&CloseError{Code: code, Reason: reason}, code, reason)
}

// fail closes the connection because of err, if it is not closing yet.
func (c *Conn) fail(err error, code int, reason string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	c.goodbye = closingFrame(code, reason)
	c.killer = time.AfterFunc(linger, c.kill)
	c.stopHandlers(err) // first: when closing is closed jsonrpc2 cancels them too, and knows no cause
	close(c.closing)
	return true
}

// kill closes the network connection, whoever reads or writes it.
func (c *Conn) kill() { _ = c.link.Close() }

// closingFrame cuts the reason to what a control frame holds.
func closingFrame(code int, reason string) []byte {
	const most = 123
	return websocket.FormatCloseMessage(code, cut(reason, most))
}

// lost closes the connection because reading or writing failed.
func (c *Conn) lost(operation string, err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		if closed.Code != websocket.CloseAbnormalClosure {
			c.fail(&CloseError{Code: closed.Code, Reason: closed.Text, ByPeer: true}, closed.Code, "")
			return
		}
		err = io.ErrUnexpectedEOF // which is how gorilla says that there was no closing frame
	}
	c.fail(fmt.Errorf("connection lost: %s: %w", operation, err), websocket.CloseGoingAway, "")
}

// write writes until the connection is closing, and then says so.
func (c *Conn) write() {
	if err := c.writer.run(c.ws); err != nil {
		c.lost("write", err)
		c.kill()
		return
	}
	c.mu.Lock()
	goodbye := c.goodbye
	c.mu.Unlock()
	_ = c.ws.WriteControl(websocket.CloseMessage, goodbye, time.Time{}) // the other end may be gone
}

// watch pings a silent end, and gives it up when it stays silent. Only a ping that had its time tells that: after a pause of this
// machine any end seems to have been silent for long.
func (c *Conn) watch() {
	timer := time.NewTimer(c.o.PingAfter)
	defer timer.Stop()
	var asked time.Time // when a ping was sent that nothing has come after; zero if none was
	for {
		select {
		case <-timer.C:
		case <-c.closing:
			return
		}
		silence := c.link.silence()
		switch {
		case !asked.IsZero() && silence >= time.Since(asked):
			c.fail(fmt.Errorf("connection lost: nothing heard for %v", silence.Round(time.Millisecond)),
				websocket.CloseGoingAway, "nothing heard")
			return
		case silence >= c.o.PingAfter:
			asked = time.Now()
			c.writer.control(websocket.PingMessage, nil)
			timer.Reset(c.o.PingAfter)
		default:
			asked = time.Time{}
			timer.Reset(c.o.PingAfter - silence)
		}
	}
}

// finish ends what the connection has begun, when it is closing.
func (c *Conn) finish() {
	<-c.closing
	c.bytes.close()
	_ = c.rpc.Close()
	c.tasks.Wait()
	c.mu.Lock()
	c.killer.Stop()
	c.mu.Unlock()
	_ = c.ws.Close()
	c.calls.wait()
	c.stopNotified(ErrClosed) // frees the context
	close(c.done)
}
