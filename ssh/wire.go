package ssh

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of the buffers of a connection. x/crypto/ssh writes each packet of 32 KiB in three small pieces; gathered into
// larger writes, on a goroutine of their own so that encryption goes on meanwhile, they cost a third less time.
const (
	writeBuffer = 512 << 10 // two of them at most, grown when they are needed
	readBuffer  = 128 << 10
)

// flushTimeout is how long Close goes on writing what has been written to it.
const flushTimeout = 200 * time.Millisecond

// wire is a connection that gathers what is written, reads ahead and knows when it last heard of the other side. One
// goroutine at a time may read, any number write.
type wire struct {
	net.Conn
	in    *bufio.Reader
	heard atomic.Int64 // bytes that have arrived

	mu      sync.Mutex // guards what follows
	changed *sync.Cond // on mu
	out     []byte     // waiting to be written, at most writeBuffer
	err     error      // of writing, or net.ErrClosed
	done    chan struct{}
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c, done: make(chan struct{})}
	w.in = bufio.NewReaderSize(counter{c, &w.heard}, readBuffer)
	w.changed = sync.NewCond(&w.mu)
	go w.send() // ends with Close, which waits for it
	return w
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Read reads what has arrived.
func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

// Write takes p over and returns; an error of writing it comes out of a later Write.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for len(p) > 0 {
		for len(w.out) >= writeBuffer && w.err == nil {
			w.changed.Wait()
		}
		if w.err != nil {
			return n, w.err
		}
		k := min(len(p), writeBuffer-len(w.out))
		w.out = append(w.out, p[:k]...)
		p, n = p[k:], n+k
		w.changed.Broadcast()
	}
	return n, nil
}

// send writes what Write takes, until that fails or Close has left nothing more to write.
func (w *wire) send() {
	defer close(w.done)
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.out) == 0 && w.err == nil {
			w.changed.Wait()
		}
		if len(w.out) == 0 {
			w.mu.Unlock()
			return
		}
		full := w.out
		w.out = spare[:0]
		w.changed.Broadcast()
		w.mu.Unlock()

		_, err := w.Conn.Write(full)
		spare = full
		if err != nil {
			w.mu.Lock()
			if w.err == nil {
				w.err = err
			}
			w.out = nil
			w.changed.Broadcast()
			w.mu.Unlock()
			return
		}
	}
}

// Close sends what was written, if the other side takes it at once, and closes the connection.
func (w *wire) Close() error {
	w.mu.Lock()
	if w.err == nil {
		w.err = net.ErrClosed
	}
	w.changed.Broadcast()
	w.mu.Unlock()
	_ = w.SetWriteDeadline(time.Now().Add(flushTimeout))
	<-w.done
	return w.Conn.Close()
}
