package rpc

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"
)

// Request is a call or a notification of the other end.
type Request struct {
	Method string
	Params json.RawMessage // as they came; nil if there were none
	ID     json.RawMessage // as it came, "null" included; nil for a notification
}

// Handler answers a request. Its result is marshalled as JSON, json.RawMessage as it is; its error goes through ToWire; both
// are dropped for a notification. Each request has a goroutine of its own, and ctx ends with the connection. A handler may
// call and notify the other end, but must not Close the connection, which would wait for the handler: see Closing and
// Hangup. A panic is logged and answered with an error.
type Handler func(ctx context.Context, c *Conn, r Request) (any, error)

// Options is how a connection behaves.
type Options struct {
	// Handler answers what the other end asks; nil: every method does not exist.
	Handler Handler
	// Notified, if not nil, gets the notifications in Handler's place: one after another, in the order in which they came.
	// While it runs nothing else is read for long, so it must be quick and must not wait for the other end.
	Notified func(ctx context.Context, c *Conn, r Request)

	// Frame, if not nil, gets all text frames, one after another: what is spoken is not JSON-RPC. It must not wait. See Conn.Carry.
	Frame func(ctx context.Context, c *Conn, data []byte)

	MaxFrame FrameLimit // of text frames; SetMaxFrame changes it
	// MaxCalls requests are carried out at once, and MaxQueued are under way at most, the former included; what is beyond that
	// is refused with -32000. 0 is no limit. See ReleaseSlot.
	MaxCalls, MaxQueued int
	// ArrayParams makes this the serving end of the clients' API: params must be an array, and what has no method is a
	// faulty request. Otherwise params may be an object too, and results and errors are answers to our calls.
	ArrayParams bool

	// PingAfter is the silence after which a ping is sent; when it lasts as long again the connection is lost. 0 is never.
	PingAfter time.Duration
	// WriteTimeout is how long the other end may refuse to read before the connection is lost; 0 is 20 seconds.
	WriteTimeout time.Duration

	// Streams allows binary frames, which carry byte streams; otherwise one closes the connection. The streams that this end
	// opens have odd numbers if OddStreams is set, else even ones; the other end must have the opposite.
	Streams, OddStreams bool

	Log *slog.Logger // nil drops what is logged
}

// FrameLimit is how large a text frame may be, and with which words the connection is closed by a larger one.
type FrameLimit struct {
	Size       int64  // bytes; 0 is 16 MiB
	Characters bool   // Size counts characters, not bytes
	Code       int    // WebSocket close code; 0 is 1009
	Reason     string // "" says which size is allowed
}

// DialOptions is what Dial needs beyond the URL.
type DialOptions struct {
	TLS    *tls.Config // for wss; nil trusts the system's certificates
	Header http.Header // more headers of the request
}
