package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zferry/zferry/rpc"
)

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conns, paths := make(chan *rpc.Conn, 2), make(chan string, 2)
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		if c, err := rpc.Accept(w, r, rpc.Options{Handler: echo}); err == nil {
			conns <- c
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	defer serving.Wait()
	defer server.Close()
	for query, want := range map[string]string{"": "/api/current", "?path=/plugin/v1": "/plugin/v1"} {
		c, err := rpc.Dial(t.Context(), "unix://"+path+query, rpc.DialOptions{}, rpc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := <-conns
		if got := <-paths; got != want {
			t.Errorf("path %s, want %s", got, want)
		}
		for _, end := range []*rpc.Conn{s, c} {
			if uid, ok := end.PeerUID(); !ok || uid != os.Getuid() {
				t.Errorf("peer is %d, %v", uid, ok)
			}
		}
		if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
			t.Error(err)
		}
		c.Close(0, "")
		s.Close(0, "")
	}
	s, _ := pair(t, rpc.Options{}, rpc.Options{})
	if uid, ok := s.PeerUID(); ok {
		t.Errorf("the peer over TCP is %d", uid)
	}
	if !strings.HasPrefix(s.RemoteAddr(), "127.0.0.1:") {
		t.Errorf("remote address %s", s.RemoteAddr())
	}
}

func TestDialErrors(t *testing.T) {
	refusing := func(tb testing.TB, answer http.HandlerFunc) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: patience, Handler: answer}
		go func() { _ = s.Serve(l) }() // ends with Close
		tb.Cleanup(func() { _ = s.Close() })
		return "ws://" + l.Addr().String()
	}
	notFound := refusing(t, http.NotFound)
	tests := []struct{ url, want string }{
		{"http://127.0.0.1/", "dial http://127.0.0.1/: the URL must begin with unix://, ws:// or wss://"},
		{"unix://s", "dial unix://s: a Unix socket is given as unix:///path/to.sock"},
		{"unix:///nowhere/s", "dial unix:///nowhere/s: dial unix /nowhere/s: connect: no such file or directory"},
		{notFound, "dial " + notFound + ": the server answered 404 Not Found"},
	}
	for _, tt := range tests {
		_, err := rpc.Dial(t.Context(), tt.url, rpc.DialOptions{}, rpc.Options{})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.url, err, tt.want)
		}
	}

	// A server that takes the connection and says nothing holds Dial no longer than its context.
	ctx, cancel := context.WithCancel(t.Context())
	silent, release := make(chan struct{}), make(chan struct{})
	url := refusing(t, func(http.ResponseWriter, *http.Request) {
		close(silent)
		<-release
	})
	go func() { // ends when the server has the request
		<-silent
		cancel()
	}()
	if _, err := rpc.Dial(ctx, url, rpc.DialOptions{}, rpc.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
}

func TestTLS(t *testing.T) {
	conns := make(chan *rpc.Conn, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := rpc.Accept(w, r, rpc.Options{Handler: echo}); err == nil {
			conns <- c
		}
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	url := "wss" + strings.TrimPrefix(server.URL, "https")
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := rpc.Dial(t.Context(), url, rpc.DialOptions{TLS: &tls.Config{RootCAs: roots}}, rpc.Options{Handler: echo})
	if err != nil {
		t.Fatal(err)
	}
	s := <-conns
	big := strings.Repeat("x", 3<<20)
	for _, end := range []*rpc.Conn{s, c} {
		var got []string
		if err := end.Call(t.Context(), "echo", []string{big}, &got); err != nil || len(got) != 1 || got[0] != big {
			t.Errorf("got %d, %v", len(got), err)
		}
	}
	c.Close(0, "bye")
	s.Close(0, "")
	if closed, ok := errors.AsType[*rpc.CloseError](s.Err()); !ok || closed.Reason != "bye" {
		t.Errorf("closed with %v", s.Err())
	}
	if _, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
}

// TestAcceptRefuses: what is no WebSocket is answered and makes no connection.
func TestAcceptRefuses(t *testing.T) {
	w := httptest.NewRecorder()
	_, err := rpc.Accept(w, httptest.NewRequest(http.MethodGet, "/", nil), rpc.Options{})
	if err == nil || w.Code != http.StatusBadRequest {
		t.Errorf("got %v, status %d", err, w.Code)
	}
}

// TestDialOutlives: the connection lives on when the context of dialling ends.
func TestDialOutlives(t *testing.T) {
	url, _ := serve(t, rpc.Options{Handler: echo})
	ctx, cancel := context.WithCancel(t.Context())
	c, err := rpc.Dial(ctx, url, rpc.DialOptions{}, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(0, "")
	cancel()
	if err := c.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Error(err)
	}
}
