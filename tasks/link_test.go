package tasks_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// link passes connections on to a target, and can be taken away and given back.
type link struct {
	t      *testing.T
	addr   string
	target string
	work   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	listener net.Listener
	open     map[net.Conn]bool
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	l := &link{t: t, addr: "127.0.0.1:0", target: target, open: map[net.Conn]bool{}}
	l.mend()
	t.Cleanup(func() {
		l.cut()
		l.work.Wait()
	})
	return l
}

func (l *link) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// cut closes all connections; new ones are refused.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.listener.Close()
	for c := range l.open {
		_ = c.Close()
	}
	clear(l.open)
}

// mend takes connections, on the port that it had before.
func (l *link) mend() {
	l.t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.listener, l.addr = listener, listener.Addr().String()
	l.mu.Unlock()
	l.work.Go(func() { // ends with the listener
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", l.target)
			if err != nil {
				_ = near.Close()
				continue
			}
			l.mu.Lock()
			l.open[near], l.open[far] = true, true
			l.mu.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				l.work.Go(func() { // ends with either side
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
					_ = way[1].Close()
				})
			}
		}
	})
}
