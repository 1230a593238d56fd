// Package proxy is a TCP proxy on 127.0.0.1 whose connections a test can delay, freeze and cut.
package proxy

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes connections on to a target. Its methods may be called from any goroutine.
type Proxy struct {
	Addr string // host:port where it listens

	target   string
	listener net.Listener
	work     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	delay    time.Duration
	frozen   chan struct{} // closed while bytes may pass
	open     map[net.Conn]bool
	accepted int
}

// Start runs a proxy to target until the test ends.
func Start(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p, err := Run(target)
	if err != nil {
		tb.Fatalf("start proxy: %v", err)
	}
	tb.Cleanup(p.Close)
	return p
}

// Run starts a proxy to target. The caller closes it.
func Run(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, frozen: make(chan struct{}), open: map[net.Conn]bool{}}
	close(p.frozen)
	p.work.Go(p.accept)
	return p, nil
}

// Port is the port of Addr.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Close cuts all connections, takes no more and waits for what it started.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.Thaw()
	p.work.Wait()
}

// Delay holds back what is written from now on for d in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Freeze lets nothing pass until Thaw, as a network does that has gone away: both ends wait.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.frozen:
		p.frozen = make(chan struct{})
	default:
	}
}

// Thaw ends Freeze.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.frozen:
	default:
		close(p.frozen)
	}
}

// Cut closes all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

// Connections counts those that are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open) / 2
}

// Accepted counts all connections so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !p.keep(near, far) {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { p.pass(far, near) })
		both.Go(func() { p.pass(near, far) })
		p.work.Go(func() { // ends when both directions have
			both.Wait()
			p.forget(near, far)
		})
	}
}

func (p *Proxy) keep(near, far net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = near.Close()
		_ = far.Close()
		return false
	}
	p.open[near], p.open[far] = true, true
	p.accepted++
	return true
}

func (p *Proxy) forget(near, far net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = near.Close()
	_ = far.Close()
	delete(p.open, near)
	delete(p.open, far)
}

// parcel is what was read, and when it may go on.
type parcel struct {
	data []byte
	due  time.Time
}

// pass moves bytes in one direction until either side ends. Reading and writing are apart, so that a delay delays and does
// not slow down.
func (p *Proxy) pass(to, from net.Conn) {
	parcels := make(chan parcel, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(parcels)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if n > 0 {
				p.mu.Lock()
				due := time.Now().Add(p.delay)
				p.mu.Unlock()
				parcels <- parcel{buf[:n], due}
			}
			if err != nil {
				return
			}
		}
	})
	failed := false
	for b := range parcels {
		time.Sleep(time.Until(b.due))
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		<-frozen
		if failed {
			continue
		}
		if _, err := to.Write(b.data); err != nil {
			failed = true
			_ = from.Close()
		}
	}
	if c, ok := to.(interface{ CloseWrite() error }); ok && !failed {
		_ = c.CloseWrite()
	}
	reader.Wait()
}
