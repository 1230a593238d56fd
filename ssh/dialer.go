package ssh

import (
	"context"
	"crypto/sha256"
	"sync"
)

// Dialer hands out peers and keeps the limits that hold for a host however many peers there are of it: peers with equal
// configurations share their connections. The zero value is ready; a program has one. Its methods may be called from any
// goroutine.
type Dialer struct {
	mu    sync.Mutex // guards what follows; taken before host.mu
	hosts map[string]*host
	links map[[sha256.Size]byte]*link
}

// Dial is the Dial of a Dialer of its own.
func Dial(ctx context.Context, c Config) (*Peer, error) { return new(Dialer).Dial(ctx, c) }

// Dial logs in on a host and returns it as a Peer, which the caller closes. Errors: *ConfigError, *KeyError, *DialError,
// *HostKeyError, *AuthError, *LostError, or the cause of ctx.
func (d *Dialer) Dial(ctx context.Context, c Config) (*Peer, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Peer{dialer: d, link: d.join(c)}
	if _, err := p.control(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// join returns the link for a configuration, with one more user.
func (d *Dialer) join(c Config) *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hosts == nil {
		d.hosts = map[string]*host{}
		d.links = map[[sha256.Size]byte]*link{}
	}
	id := c.identity()
	l := d.links[id]
	if l == nil {
		h := d.hosts[c.addr()]
		if h == nil {
			h = newHost()
			d.hosts[c.addr()] = h
		}
		h.links++
		l = &link{cfg: c, id: id, host: h, turn: make(chan struct{}, 1), closing: make(chan struct{})}
		d.links[id] = l
	}
	l.users++
	return l
}

// leave is the opposite of join. The last one closes the link.
func (d *Dialer) leave(l *link) {
	d.mu.Lock()
	l.users--
	last := l.users == 0
	if last {
		delete(d.links, l.id)
		l.host.links--
		if l.host.links == 0 {
			delete(d.hosts, l.cfg.addr())
		}
	}
	d.mu.Unlock()
	if last {
		l.close()
	}
}

// link is what peers with equal configurations share.
type link struct {
	cfg     Config
	id      [sha256.Size]byte
	host    *host
	users   int           // guarded by Dialer.mu
	closing chan struct{} // closed when the last user has left

	turn chan struct{} // holds one value while somebody reads or sets ctl
	ctl  *conn         // the control connection, or nil

	warming sync.WaitGroup // Prepare's logins
}

// control returns the control connection, after logging in if there is none or the last one was lost.
func (l *link) control(ctx context.Context, stats *counters) (*conn, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	if l.closed() {
		return nil, ErrClosed
	}
	if l.ctl != nil && l.ctl.lost() == nil {
		return l.ctl, nil
	}
	if l.ctl != nil {
		l.ctl.Close()
		l.ctl = nil
	}
	c, err := l.host.login(ctx, &l.cfg)
	if err != nil {
		return nil, err
	}
	stats.control.Add(1)
	l.ctl = c
	return c, nil
}

func (l *link) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// close ends all connections and waits for what is on them.
func (l *link) close() {
	l.host.mu.Lock()
	close(l.closing) // under the lock, so that no login begins unseen
	l.host.mu.Unlock()
	l.warming.Wait()
	l.turn <- struct{}{} // waits for a login under way, which its caller's context ends
	if l.ctl != nil {
		l.ctl.Close()
		l.ctl = nil
	}
	<-l.turn
	l.host.closeAll(l)
}
