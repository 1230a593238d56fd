package proxy_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zferry/zferry/testing/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo returns a connection through a proxy to a server that sends back what it gets.
func echo(t *testing.T) (*proxy.Proxy, net.Conn, func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	p := proxy.Start(t, l.Addr().String())
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); p.Close(); _ = l.Close(); <-served })
	lines := bufio.NewReader(c)
	return p, c, func() string {
		if _, err := c.Write([]byte("hello\n")); err != nil {
			return err.Error()
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		return line
	}
}

func TestDelay(t *testing.T) {
	p, _, say := echo(t)
	p.Delay(50 * time.Millisecond)
	begin := time.Now()
	if got := say(); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
}

func TestFreeze(t *testing.T) {
	p, c, say := echo(t)
	p.Freeze()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if got := say(); got == "hello\n" {
		t.Error("bytes passed")
	}
	_ = c.SetReadDeadline(time.Time{})
	p.Thaw()
	if got := say(); got != "hello\n" {
		t.Errorf("after the thaw got %q", got)
	}
}

func TestCut(t *testing.T) {
	p, _, say := echo(t)
	if got := say(); got != "hello\n" {
		t.Fatalf("got %q", got)
	}
	if n := p.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	p.Cut()
	if got := say(); got == "hello\n" {
		t.Error("bytes passed")
	}
	if n := p.Accepted(); n != 1 {
		t.Errorf("%d accepted", n)
	}
}
