package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

const (
	handshakeTimeout = 20 * time.Second
	// clientBuffer is what a client can send as one frame; gorilla splits longer messages.
	clientBuffer = 256 << 10
)

// Accept makes the connection of an HTTP request. After an error the request has been answered. The connection outlives the
// request. Requests of any origin are accepted: a browser brings nothing along that would log it in.
func Accept(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	h := &hijacker{ResponseWriter: w, timeout: cmp.Or(o.WriteTimeout, writeTimeout)}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		CheckOrigin:      func(*http.Request) bool { return true },
	}
	ws, err := upgrader.Upgrade(h, r, nil)
	if err != nil {
		return nil, fmt.Errorf("accept %s: %w", r.RemoteAddr, err)
	}
	return newConn(r.Context(), ws, h.link, o), nil
}

// Dial connects to unix:///path/to.sock, ws:// or wss://. A Unix socket may have ?path=/plugin/v1 for the path of the
// request, which is /api/current otherwise. ctx is for dialling only; the connection outlives it.
func Dial(ctx context.Context, address string, d DialOptions, o Options) (*Conn, error) {
	target, network, socket, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var l *link
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, _, host string) (net.Conn, error) {
			var nd net.Dialer
			conn, err := nd.DialContext(ctx, network, cmp.Or(socket, host))
			if err != nil {
				return nil, err
			}
			l = newLink(conn, cmp.Or(o.WriteTimeout, writeTimeout))
			// gorilla heeds a deadline of ctx while it waits for the answer, but not its end.
			context.AfterFunc(ctx, l.abandon)
			return l, nil
		},
		TLSClientConfig: d.TLS,
		WriteBufferSize: clientBuffer,
	}
	ws, resp, err := dialer.DialContext(ctx, target, d.Header)
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case errors.Is(err, websocket.ErrBadHandshake):
		return nil, fmt.Errorf("dial %s: the server answered %s", address, resp.Status)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("dial %s: %w", address, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("dial %s: %w", address, err)
	case !l.keep():
		_ = ws.Close()
		return nil, fmt.Errorf("dial %s: %w", address, context.Cause(ctx))
	}
	return newConn(ctx, ws, l, o), nil
}

// parseURL tells what to ask for and where to connect: to socket, if there is one, else to the URL's host.
func parseURL(address string) (target, network, socket string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", "", fmt.Errorf("dial: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss":
		return address, "tcp", "", nil
	case "unix":
		if u.Host != "" || u.Path == "" {
			return "", "", "", fmt.Errorf("dial %s: a Unix socket is given as unix:///path/to.sock", address)
		}
		path := url.URL{Scheme: "ws", Host: "localhost", Path: cmp.Or(u.Query().Get("path"), "/api/current")}
		return path.String(), "unix", u.Path, nil
	}
	return "", "", "", fmt.Errorf("dial %s: the URL must begin with unix://, ws:// or wss://", address)
}
