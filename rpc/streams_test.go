package rpc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/zferry/zferry/rpc"
)

// numbered is how a call names its streams.
type numbered struct {
	Input  uint32 `json:"input,omitempty"`
	Output uint32 `json:"output,omitempty"`
}

// mirror copies the input stream of a call to its output stream.
func mirror(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
	if r.Method != "mirror" {
		return echo(ctx, c, r)
	}
	var n numbered
	if err := json.Unmarshal(r.Params, &n); err != nil {
		return nil, err
	}
	out := c.NewOutput(n.Output)
	in := c.NewInput(n.Input)
	copied, err := io.Copy(out, in)
	if err != nil {
		out.Abort(err.Error())
		return nil, err
	}
	return copied, out.Close()
}

// links are the options of a host and of its plugin.
func links() (host, plugin rpc.Options) {
	host = rpc.Options{Handler: mirror, Streams: true}
	plugin = rpc.Options{Handler: mirror, Streams: true, OddStreams: true}
	return host, plugin
}

// TestStreamsBothWays: 10 MB go each way at once, opened by each end, with calls between, and nothing stands still.
func TestStreamsBothWays(t *testing.T) {
	host, plugin := links()
	h, p := pair(t, host, plugin)
	data := make([]byte, 10_000_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	sum := sha256.Sum256(data)

	var transfers sync.WaitGroup
	for _, end := range []*rpc.Conn{h, p} {
		for range 2 {
			transfers.Go(func() {
				in, out := end.NewInput(end.NextStream()), end.NewOutput(end.NextStream())
				var both sync.WaitGroup
				both.Go(func() {
					if _, err := out.Write(data); err != nil {
						t.Error("write:", err)
					}
					if err := out.Close(); err != nil {
						t.Error("close:", err)
					}
				})
				both.Go(func() {
					hash := sha256.New()
					if _, err := io.Copy(hash, in); err != nil {
						t.Error("read:", err)
					}
					if !bytes.Equal(hash.Sum(nil), sum[:]) {
						t.Error("other bytes came back")
					}
				})
				var copied int
				if err := end.Call(t.Context(), "mirror", numbered{Input: out.ID(), Output: in.ID()}, &copied, in); err != nil || copied != len(data) {
					t.Errorf("copied %d, %v", copied, err)
				}
				both.Wait()
			})
		}
	}
	finished := make(chan struct{})
	var calls sync.WaitGroup
	for _, end := range []*rpc.Conn{h, p} {
		calls.Go(func() {
			for n := 0; ; n++ {
				if err := end.Call(t.Context(), "echo", []string{strings.Repeat("x", n%100_000)}, nil); err != nil {
					t.Error("call:", err)
					return
				}
				select {
				case <-finished:
					return
				default:
				}
			}
		})
	}
	transfers.Wait()
	close(finished)
	calls.Wait()
}

const (
	kindData = iota + 1
	kindCredit
	kindEnd
	kindAbort
)

// binary sends a frame of a stream.
func (p *peer) binary(kind byte, id uint32, payload string) {
	p.Helper()
	frame := binary.BigEndian.AppendUint32([]byte{kind}, id)
	if err := p.WriteMessage(websocket.BinaryMessage, append(frame, payload...)); err != nil {
		p.Fatal(err)
	}
}

func credit(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// frame is the next frame of any kind, text as it is, binary as "kind number length or reason".
func (p *peer) frame() string {
	p.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.Fatal(err)
	}
	kind, data, err := p.ReadMessage()
	switch {
	case err != nil:
		p.Fatal(err)
	case kind == websocket.TextMessage:
		return string(data)
	case data[0] == kindData:
		return fmt.Sprintf("data %d %d", binary.BigEndian.Uint32(data[1:]), len(data)-5)
	case data[0] == kindCredit:
		return fmt.Sprintf("credit %d %d", binary.BigEndian.Uint32(data[1:]), binary.BigEndian.Uint32(data[5:]))
	}
	return fmt.Sprintf("%d %d %q", data[0], binary.BigEndian.Uint32(data[1:]), data[5:])
}

func (p *peer) wantFrames(want ...string) {
	p.Helper()
	for _, w := range want {
		if got := p.frame(); got != w {
			p.Fatalf("got frame %s, want %s", got, w)
		}
	}
}

// downloads is a plugin whose calls write what their method says to stream 4: "100000" bytes, "abort" or nothing.
func downloads(tb testing.TB) (*peer, <-chan error) {
	tb.Helper()
	written := make(chan error, 1)
	_, plugin := links()
	plugin.Handler = func(_ context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
		out := c.NewOutput(4)
		var n int
		switch r.Method {
		case "abort":
			out.Abort("disk is gone")
			written <- nil
			return nil, nil
		default:
			_, _ = fmt.Sscan(r.Method, &n)
		}
		_, err := out.Write(make([]byte, n))
		if err == nil {
			err = out.Close()
		}
		written <- err
		return nil, nil
	}
	url, _ := serve(tb, plugin)
	return dialRaw(tb, url), written
}

// TestStreamCredit: the writer sends as much as it was given credit for, and no more.
func TestStreamCredit(t *testing.T) {
	p, written := downloads(t)
	p.send(`{"jsonrpc":"2.0","method":"100000","id":1}`)
	p.binary(kindCredit, 4, credit(10))
	p.wantFrames("data 4 10")
	p.binary(kindCredit, 4, credit(1))
	p.wantFrames("data 4 1")
	p.binary(kindCredit, 4, credit(99_989+1000))
	p.wantFrames("data 4 65536", "data 4 34453", `3 4 ""`, `{"id":1,"result":null,"jsonrpc":"2.0"}`)
	if err := <-written; err != nil {
		t.Error(err)
	}
	// It has just ended: what still comes for it is passed over.
	p.binary(kindCredit, 4, credit(1))
	p.binary(kindAbort, 4, "too late")
	p.send(sentinel)
}

// TestStreamEarly: credit that comes before the call's handler has looked is kept, and so is the end.
func TestStreamEarly(t *testing.T) {
	p, _ := downloads(t)
	p.binary(kindCredit, 4, credit(3))
	p.binary(kindCredit, 4, credit(4))
	p.send(`{"jsonrpc":"2.0","method":"10","id":1}`)
	p.wantFrames("data 4 7")
	p.binary(kindCredit, 4, credit(3))
	p.wantFrames("data 4 3", `3 4 ""`)

	p, written := downloads(t)
	p.binary(kindAbort, 4, "changed my mind")
	p.send(`{"jsonrpc":"2.0","method":"10","id":1}`)
	want := &rpc.AbortError{Reason: "changed my mind"}
	if err := <-written; err == nil || err.Error() != want.Error() {
		t.Errorf("got %v, want %v", err, want)
	}

	read := make(chan error, 1)
	_, plugin := links()
	plugin.Handler = func(_ context.Context, c *rpc.Conn, _ rpc.Request) (any, error) {
		data, err := io.ReadAll(c.NewInput(6))
		read <- err
		return len(data), nil
	}
	url, _ := serve(t, plugin)
	p = dialRaw(t, url)
	p.binary(kindEnd, 6, "") // an empty upload needs no credit
	p.send(`{"jsonrpc":"2.0","method":"upload","id":1}`)
	p.wantFrames(`{"id":1,"result":0,"jsonrpc":"2.0"}`)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestStreamAbort(t *testing.T) {
	t.Run("by the writer here", func(t *testing.T) {
		p, _ := downloads(t)
		p.send(`{"jsonrpc":"2.0","method":"abort","id":1}`)
		p.wantFrames(`4 4 "disk is gone"`)
	})
	t.Run("by the reader there", func(t *testing.T) {
		p, written := downloads(t)
		p.send(`{"jsonrpc":"2.0","method":"100","id":1}`)
		p.binary(kindCredit, 4, credit(1))
		p.wantFrames("data 4 1")
		p.binary(kindAbort, 4, "")
		if abort, ok := errors.AsType[*rpc.AbortError](<-written); !ok || abort.Error() != "stream aborted by the other end" {
			t.Errorf("got %v", abort)
		}
	})
	// Between two of our own ends: the host reads stream 2, and the plugin writes it.
	open := func(t *testing.T) (h, p *rpc.Conn, in *rpc.Input, out *rpc.Output) {
		host, plugin := links()
		h, p = pair(t, host, plugin)
		in, out = h.NewInput(h.NextStream()), p.NewOutput(2)
		if err := h.Call(t.Context(), "ping", nil, nil, in); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("begin")); err != nil {
			t.Fatal(err)
		}
		if n, err := in.Read(make([]byte, 10)); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		return h, p, in, out
	}
	fill := func(out *rpc.Output) error { // until there is no credit left
		_, err := out.Write(make([]byte, 10<<20))
		return err
	}
	t.Run("by the reader here", func(t *testing.T) {
		h, _, in, out := open(t)
		go in.Abort("enough")
		err := fill(out)
		if abort, ok := errors.AsType[*rpc.AbortError](err); !ok || abort.Reason != "enough" {
			t.Errorf("got %v", err)
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := out.Close(); err == nil {
			t.Error("an aborted stream was closed")
		}
		if err := h.Call(t.Context(), "ping", nil, nil); err != nil { // data on its way was passed over
			t.Error(err)
		}
	})
	t.Run("by the writer there", func(t *testing.T) {
		_, _, in, out := open(t)
		out.Abort(strings.Repeat("ä", 1000)) // cut to 1024 bytes
		_, err := in.Read(make([]byte, 1))
		if abort, ok := errors.AsType[*rpc.AbortError](err); !ok || abort.Reason != strings.Repeat("ä", 512) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("of a write that waits", func(t *testing.T) {
		h, _, in, out := open(t)
		waits := make(chan error, 1)
		go func() { waits <- fill(out) }()
		for in.Buffered() < 512<<10-len("begin") { // all the credit is used
			if err := h.Call(t.Context(), "ping", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		out.Abort("")
		if err := <-waits; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by a lost connection", func(t *testing.T) {
		_, p, in, out := open(t)
		rpc.Cut(p)
		if err := fill(out); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := p.NewInput(8).Read(make([]byte, 1)); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("not after the end", func(t *testing.T) {
		_, p, in, out := open(t)
		if _, err := out.Write([]byte("rest")); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		p.Close(0, "") // what was sent before it comes to the reader
		if data, err := io.ReadAll(in); string(data) != "rest" || err != nil {
			t.Errorf("got %q, %v", data, err)
		}
	})
	t.Run("opened twice", func(t *testing.T) {
		_, p, _, out := open(t)
		if _, err := p.NewInput(2).Read(make([]byte, 1)); err == nil || err.Error() != "stream 2 was opened before" {
			t.Errorf("got %v", err)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStreamFaults: what breaks the rules closes the connection.
func TestStreamFaults(t *testing.T) {
	tests := []struct {
		name   string
		send   func(p *peer)
		reason string
	}{
		{"short", func(p *peer) { _ = p.WriteMessage(websocket.BinaryMessage, []byte{2, 0, 0, 0}) }, "frame of a stream is too short"},
		{"empty", func(p *peer) { _ = p.WriteMessage(websocket.BinaryMessage, nil) }, "frame of a stream is too short"},
		{"unknown kind", func(p *peer) { p.binary(5, 4, "") }, "frame of unknown kind 5"},
		{"kind 0", func(p *peer) { p.binary(0, 4, "") }, "frame of unknown kind 0"},
		{"empty data", func(p *peer) { p.binary(kindData, 4, "") }, "frame of stream 4 has 0 bytes"},
		{"short credit", func(p *peer) { p.binary(kindCredit, 4, "abc") }, "frame of stream 4 has 3 bytes"},
		{"end with data", func(p *peer) { p.binary(kindEnd, 4, "x") }, "frame of stream 4 has 1 bytes"},
		{"data that nobody asked for", func(p *peer) { p.binary(kindData, 4, "x") }, "data for stream 4 beyond the credit"},
		{"a stream of the plugin that it did not open", func(p *peer) { p.binary(kindCredit, 7, credit(1)) }, "stream 7 was not opened"},
		{"data beyond the credit", func(p *peer) {
			p.send(`{"jsonrpc":"2.0","method":"mirror","params":{"input":6,"output":4},"id":1}`)
			p.wantFrames("credit 6 524288")
			for range 8 {
				p.binary(kindData, 6, strings.Repeat("x", 65536))
			}
			p.binary(kindData, 6, "x")
		}, "data for stream 6 beyond the credit"},
		{"data for a stream that the plugin writes", func(p *peer) {
			p.send(`{"jsonrpc":"2.0","method":"mirror","params":{"input":6,"output":4},"id":1}`)
			p.binary(kindCredit, 4, credit(1))
			p.wantFrames("credit 6 524288")
			p.send(sentinel)
			p.frame()
			p.binary(kindEnd, 4, "")
		}, "stream 4 is written by this end only"},
		{"credit for a stream that the plugin reads", func(p *peer) {
			p.send(`{"jsonrpc":"2.0","method":"mirror","params":{"input":6,"output":4},"id":1}`)
			p.wantFrames("credit 6 524288")
			p.binary(kindCredit, 6, credit(1))
		}, "credit for stream 6 from its writer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, plugin := links()
			url, _ := serve(t, plugin)
			p := dialRaw(t, url)
			tt.send(p)
			if code, reason := p.closed(); code != 1002 || reason != tt.reason {
				t.Errorf("closed with %d %q, want 1002 %q", code, reason, tt.reason)
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		_, plugin := links()
		url, _ := serve(t, plugin)
		p := dialRaw(t, url)
		p.binary(kindAbort, 4, strings.Repeat("x", 65536)) // at the limit
		p.binary(kindAbort, 4, strings.Repeat("x", 65537))
		if code, reason := p.closed(); code != 1009 || reason != "binary frame is too large" {
			t.Errorf("closed with %d %q", code, reason)
		}
	})
}

// TestStreamsRefused: calls that are refused open no streams, and the credit that came along is not kept for ever.
func TestStreamsRefused(t *testing.T) {
	host, plugin := links()
	h, p := pair(t, host, plugin)
	for range 3000 {
		in := h.NewInput(h.NextStream())
		if err := h.Call(t.Context(), "none", numbered{Output: in.ID()}, nil, in); !errors.Is(err, rpc.ErrMethodNotFound) {
			t.Fatal(err)
		}
		_ = in.Close()
	}
	if err := h.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	if live := rpc.LiveStreams(h); live != 0 {
		t.Errorf("the opener keeps %d streams", live)
	}
	if live := rpc.LiveStreams(p); live > 1024 {
		t.Errorf("the other end keeps %d streams", live)
	}
	var copied int
	in, out := h.NewInput(h.NextStream()), h.NewOutput(h.NextStream())
	_ = out.Close()
	if err := h.Call(t.Context(), "mirror", numbered{Input: out.ID(), Output: in.ID()}, &copied, in); err != nil {
		t.Error(err)
	}
	_ = in.Close()
}

// TestStreamNumbers: the host's are even, the plugin's odd, and none is 0.
func TestStreamNumbers(t *testing.T) {
	host, plugin := links()
	h, p := pair(t, host, plugin)
	for i := range uint32(3) {
		if got, want := h.NextStream(), 2*i+2; got != want {
			t.Errorf("host: %d, want %d", got, want)
		}
		if got, want := p.NextStream(), 2*i+1; got != want {
			t.Errorf("plugin: %d, want %d", got, want)
		}
	}
}
