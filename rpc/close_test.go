package rpc_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// TestClose: it may be called by many and again, cancels handlers and waits for them.
func TestClose(t *testing.T) {
	entered, left := make(chan struct{}), false
	s, c := pair(t, rpc.Options{Handler: func(ctx context.Context, _ *rpc.Conn, _ rpc.Request) (any, error) {
		close(entered)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, rpc.ErrClosed) {
			t.Errorf("cancelled with %v", cause)
		}
		left = true
		return nil, nil
	}}, rpc.Options{})
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "wait", nil, nil) }()
	<-entered
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s.Close(1001, "")
			if !left {
				t.Error("did not wait for the handler")
			}
		})
	}
	wg.Wait()
	s.Close(0, "")
	if !errors.Is(s.Err(), rpc.ErrClosed) {
		t.Errorf("got %v", s.Err())
	}
	if err := <-result; !errors.Is(err, rpc.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	c.Close(0, "")
	if closed, ok := errors.AsType[*rpc.CloseError](c.Err()); !ok || closed.Code != 1001 {
		t.Errorf("got %v", c.Err())
	}
}

// TestHangup: a handler may do that, and Close of what was hung up waits.
func TestHangup(t *testing.T) {
	s, c := pair(t, rpc.Options{Handler: func(_ context.Context, c *rpc.Conn, _ rpc.Request) (any, error) {
		c.Hangup(1008, strings.Repeat("ä", 100)) // a control frame holds 123 bytes
		return nil, nil
	}}, rpc.Options{})
	_ = c.Notify(t.Context(), "x", nil)
	<-c.Done()
	closed, ok := errors.AsType[*rpc.CloseError](c.Err())
	if !ok || closed.Code != 1008 || closed.Reason != strings.Repeat("ä", 61) {
		t.Errorf("got %v", c.Err())
	}
	s.Close(0, "")
}

// TestSilence: a silent end is pinged, and kept when it answers.
func TestSilence(t *testing.T) {
	url, conns := serve(t, rpc.Options{PingAfter: 200 * time.Millisecond})
	p := dialRaw(t, url)
	pings := 0
	pong := p.PingHandler()
	p.SetPingHandler(func(data string) error {
		if pings++; pings == 4 {
			p.send(`{"jsonrpc":"2.0","method":"x","id":1}`) // has the answer end the test
		}
		return pong(data)
	})
	c := <-conns
	p.next()
	if pings < 4 || c.Err() != nil {
		t.Errorf("%d pings, %v", pings, c.Err())
	}
}

// TestSilenceForGood: an end that stays silent is given up after a ping, also where clocks go in steps longer than it may be
// silent, as after a pause of the machine.
func TestSilenceForGood(t *testing.T) {
	for _, after := range []time.Duration{100 * time.Millisecond, 100 * time.Microsecond, 100 * time.Microsecond, 100 * time.Microsecond} {
		url, conns := serve(t, rpc.Options{PingAfter: after})
		p := dialRaw(t, url)
		pings := 0
		p.SetPingHandler(func(string) error {
			pings++
			return nil
		})
		c := <-conns
		if code, reason := p.closed(); code != 1001 || reason != "nothing heard" || pings != 1 {
			t.Errorf("closed with %d %q after %d pings", code, reason, pings)
		}
		if !strings.HasPrefix(c.Err().Error(), "connection lost: nothing heard for ") {
			t.Errorf("got %v", c.Err())
		}
	}
}

// TestStuckReader: an end that does not read is given up, and holds up nobody else meanwhile.
func TestStuckReader(t *testing.T) {
	url, conns := serve(t, rpc.Options{WriteTimeout: 300 * time.Millisecond, Handler: echo})
	stuck := dialRaw(t, url)
	s := <-conns
	other, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(0, "")

	big := strings.Repeat("x", 1<<20)
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() { // ends when the connection is given up
			for {
				if err := s.Notify(t.Context(), "n", []string{big}); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for s.Err() == nil {
		if err := other.Call(t.Context(), "ping", nil, nil); err != nil {
			t.Fatal(err)
		}
		// A caller who cannot wait need not.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := s.Call(ctx, "ping", nil, nil); err == nil {
			t.Error("called an end that does not read")
		}
		cancel()
	}
	for range cap(failed) {
		if err := <-failed; !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if !strings.Contains(s.Err().Error(), "connection lost: write: ") {
		t.Errorf("got %v", s.Err())
	}
	s.Close(0, "")
	_ = stuck.Close()
}

// TestCloseStuck: to close what does not read takes a second, not the write timeout.
func TestCloseStuck(t *testing.T) {
	url, conns := serve(t, rpc.Options{WriteTimeout: time.Hour})
	dialRaw(t, url)
	s := <-conns
	go func() { // ends with Close
		for s.Notify(t.Context(), "n", strings.Repeat("x", 1<<20)) == nil {
		}
	}()
	begun := time.Now()
	s.Close(0, "")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestNoFilesLeft: connections that were closed, cut off or refused leave no file descriptor behind.
func TestNoFilesLeft(t *testing.T) {
	url, conns := serve(t, rpc.Options{ArrayParams: true, MaxFrame: rpc.FrameLimit{Size: 100}})
	round := func() {
		for i := range 6 {
			c, err := rpc.Dial(t.Context(), url, rpc.DialOptions{}, rpc.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := <-conns
			switch i % 3 {
			case 0:
				rpc.Cut(c)
			case 1:
				_ = c.Notify(t.Context(), strings.Repeat("x", 200), nil)
			default:
				s.Close(0, "")
			}
			<-s.Done()
			<-c.Done()
			s.Close(0, "")
			c.Close(0, "")
		}
	}
	round()
	before := openFiles(t)
	for range 5 {
		round()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files, %d before", after, before)
	}
}

func openFiles(tb testing.TB) int {
	tb.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(list)
}
