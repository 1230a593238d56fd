package rpc

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
)

// Event is a collection_update of the clients' API.
type Event struct {
	Msg        string          `json:"msg"` // "added", "changed", "removed"
	Collection string          `json:"collection"`
	ID         json.RawMessage `json:"id,omitempty"`
	Fields     json.RawMessage `json:"fields,omitempty"`
	Extra      json.RawMessage `json:"extra,omitempty"`
}

// ClientOptions is how a Client reaches its server.
type ClientOptions struct {
	URL    string // see Dial
	TLS    *tls.Config
	Header http.Header
	// Login runs on each new connection before anything else; nil does nothing.
	Login func(ctx context.Context, c *Conn) error
	// OnEvent gets the events of the subscriptions, one after another. It must be quick and must not wait for a call.
	OnEvent func(Event)
	// OnReconnect is called when a lost connection has been replaced and subscriptions were made anew: events may have been
	// missed. It must be quick and must not wait for a call.
	OnReconnect func()
	Log         *slog.Logger // nil drops what is logged
}

// Client is a program's lasting link to a server of the clients' API: it connects at the first call, and when the connection
// is lost it connects again, logs in and subscribes anew.
type Client struct {
	o      ClientOptions
	first  chan struct{} // holds a value while nobody makes the first connection
	closed chan struct{}
	keeper sync.WaitGroup

	mu          sync.Mutex              // guards what follows
	end         context.CancelCauseFunc // ends what is under way; nil before the first call
	collections []string
	conn        *Conn         // nil before the first connection, and while a lost one is replaced
	begun       bool          // there was a connection
	refused     error         // what the server said to the last try to replace it, if it said something
	changed     chan struct{} // closed, and replaced, when conn or refused has changed
}

// NewClient connects to nothing yet. Close must be called.
func NewClient(o ClientOptions) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, first: make(chan struct{}, 1), closed: make(chan struct{}), changed: make(chan struct{})}
	c.first <- struct{}{}
	return c
}

// Call calls a method. The first call tries once to connect; while a lost connection is being replaced calls wait as long as
// ctx allows, unless the server refuses the log-in. A call that was under way when the connection was lost gives
// ErrOutcomeUnknown and is not repeated.
func (c *Client) Call(ctx context.Context, method string, params []any, result any) error {
	if params == nil {
		params = []any{}
	}
	for {
		conn, err := c.connection(ctx)
		if err != nil {
			return err
		}
		// ErrClosed: it was not sent, and the next connection may do.
		if err := conn.Call(ctx, method, params, result); !errors.Is(err, ErrClosed) {
			return err
		}
	}
}

// Subscribe asks for the events of a collection, from now on and after each reconnect.
func (c *Client) Subscribe(ctx context.Context, collection string) error {
	if _, err := c.connection(ctx); err != nil { // the first would subscribe for us
		return err
	}
	c.mu.Lock()
	c.collections = append(c.collections, collection)
	c.mu.Unlock()
	for {
		err := c.Call(ctx, "core.subscribe", []any{collection}, nil)
		if errors.Is(err, ErrOutcomeUnknown) {
			continue // twice is once
		}
		if err != nil {
			c.mu.Lock()
			if i := slices.Index(c.collections, collection); i >= 0 {
				c.collections = slices.Delete(c.collections, i, i+1)
			}
			c.mu.Unlock()
		}
		return err
	}
}

// Close ends the connection and waits for all goroutines. OnEvent is not called afterwards. It may be called again.
func (c *Client) Close() {
	c.mu.Lock()
	end := c.end
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	c.mu.Unlock()
	if end != nil {
		end(ErrClosed)
	}
	c.keeper.Wait()
}

// notified takes the notifications of the server.
func (c *Client) notified(_ context.Context, _ *Conn, r Request) {
	var e Event
	if r.Method != "collection_update" || c.o.OnEvent == nil || json.Unmarshal(r.Params, &e) != nil {
		return
	}
	c.o.OnEvent(e)
}
