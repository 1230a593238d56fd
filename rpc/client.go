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
	"time"
)

const (
	firstWait   = 100 * time.Millisecond // before the first try to replace a lost connection; it doubles
	longestWait = 5 * time.Second
	clientPing  = 20 * time.Second
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

// connection gives a connection that was alive just now.
func (c *Client) connection(ctx context.Context) (*Conn, error) {
	for {
		c.mu.Lock()
		conn, begun, refused, changed := c.conn, c.begun, c.refused, c.changed
		c.mu.Unlock()
		switch {
		case !begun:
			if err := c.connectFirst(ctx); err != nil {
				return nil, err
			}
			continue
		case conn != nil && conn.Err() == nil:
			return conn, nil
		case refused != nil:
			return nil, refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.closed:
			return nil, ErrClosed
		}
	}
}

// connectFirst makes the first connection, unless there is one already.
func (c *Client) connectFirst(ctx context.Context) error {
	select {
	case <-c.first:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { c.first <- struct{}{} }()
	life, err := c.begin(ctx)
	if life == nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(life, func() { cancel(context.Cause(life)) })()
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	c.set(conn, nil)
	c.keeper.Go(func() { c.keep(life, conn) })
	return nil
}

// begin makes the context of the connections, unless there is one or the client is closed.
func (c *Client) begin(ctx context.Context) (context.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed:
		return nil, ErrClosed
	default:
	}
	if c.begun {
		return nil, nil
	}
	if c.end != nil {
		c.end(nil) // of the last try
	}
	var life context.Context
	life, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	return life, nil
}

// connect makes a connection that is logged in and subscribed.
func (c *Client) connect(ctx context.Context) (*Conn, error) {
	conn, err := Dial(ctx, c.o.URL, DialOptions{TLS: c.o.TLS, Header: c.o.Header},
		Options{Notified: c.notified, PingAfter: clientPing, Log: c.o.Log})
	if err != nil {
		return nil, err
	}
	if err := c.prepare(ctx, conn); err != nil {
		// If the connection is alive, it was the server that said no.
		if conn.Err() == nil {
			err = &refusal{err}
		}
		conn.Close(0, "")
		return nil, err
	}
	return conn, nil
}

// refusal is an error that another try would bring again.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func (c *Client) prepare(ctx context.Context, conn *Conn) error {
	if c.o.Login != nil {
		if err := c.o.Login(ctx, conn); err != nil {
			return err
		}
	}
	c.mu.Lock()
	collections := slices.Clone(c.collections)
	c.mu.Unlock()
	for _, name := range collections {
		if err := conn.Call(ctx, "core.subscribe", []any{name}, nil); err != nil {
			return err
		}
	}
	return nil
}

// set tells calls that wait of a connection, or that there is none.
func (c *Client) set(conn *Conn, refused error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.refused = conn, refused
	c.begun = true
	close(c.changed)
	c.changed = make(chan struct{})
}

// keep replaces the connection whenever it is lost, until life ends.
func (c *Client) keep(life context.Context, conn *Conn) {
	for {
		select {
		case <-conn.Done():
			c.o.Log.Info("connection lost", "err", conn.Err())
		case <-life.Done():
		}
		c.set(nil, nil)
		conn.Close(0, "")
		if conn = c.replace(life); conn == nil {
			return
		}
		c.set(conn, nil)
		if c.o.OnReconnect != nil {
			c.o.OnReconnect()
		}
	}
}

// replace tries to connect until it succeeds; nil says that life has ended.
func (c *Client) replace(life context.Context) *Conn {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		select {
		case <-time.After(wait):
		case <-life.Done():
			return nil
		}
		conn, err := c.connect(life)
		if err == nil {
			return conn
		}
		refused, ok := errors.AsType[*refusal](err)
		if ok {
			err = refused.error
			c.set(nil, err)
		} else {
			c.set(nil, nil)
		}
		c.o.Log.Debug("no connection yet", "err", err)
	}
}

// notified takes the notifications of the server.
func (c *Client) notified(_ context.Context, _ *Conn, r Request) {
	var e Event
	if r.Method != "collection_update" || c.o.OnEvent == nil || json.Unmarshal(r.Params, &e) != nil {
		return
	}
	c.o.OnEvent(e)
}
