package rpc

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	firstWait   = 100 * time.Millisecond // before the first try to replace a lost connection; it doubles
	longestWait = 5 * time.Second
	clientPing  = 20 * time.Second
)

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
