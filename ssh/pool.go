package ssh

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	maxStreams = 8           // connections for streams to one address, idle ones included
	maxLogins  = 4           // logins under way at one address; sshd drops some beyond 10
	maxIdle    = time.Minute // after which an unused connection is closed
)

// host holds the limits of one address, and the connections for streams to it.
type host struct {
	links  int           // guarded by Dialer.mu
	logins chan struct{} // holds a value for each login under way
	idles  time.Duration // how long an unused connection is kept

	mu      sync.Mutex           // guards what follows
	streams map[*streamConn]bool // all, and those being logged in
	idle    []*streamConn        // of them, unused; the longest unused first
	warming map[*link]bool       // links with a login that Prepare started, and whether a stream waits for it
	changed chan struct{}        // closed, and replaced, when something above has changed
}

// streamConn is a connection for one stream at a time.
type streamConn struct {
	*conn // nil while it is being logged in
	link  *link
	timer *time.Timer // closes it when it has been idle for long
	used  bool        // has been idle, and may have died there unnoticed
}

func newHost() *host {
	return &host{
		logins:  make(chan struct{}, maxLogins),
		idles:   maxIdle,
		streams: map[*streamConn]bool{},
		warming: map[*link]bool{},
		changed: make(chan struct{}),
	}
}

// login logs in when fewer than maxLogins are at it.
func (h *host) login(ctx context.Context, cfg *Config) (*conn, error) {
	select {
	case h.logins <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-h.logins }()
	return login(ctx, cfg)
}

// acquire returns a connection for one stream: an idle one, one that Prepare has under way, or a new one. The caller gives
// it back with put or drop.
func (h *host) acquire(ctx context.Context, l *link, stats *counters) (*streamConn, error) {
	for {
		h.mu.Lock()
		if l.closed() {
			h.mu.Unlock()
			return nil, ErrClosed
		}
		if s := h.takeIdleLocked(func(s *streamConn) bool { return s.link == l }); s != nil {
			h.mu.Unlock()
			if s.lost() == nil {
				return s, nil
			}
			h.drop(s)
			continue
		}
		changed := h.changed
		claimed, coming := h.warming[l]
		waits := coming && !claimed
		if waits {
			h.warming[l] = true
		} else {
			if s := h.reserveLocked(l); s != nil {
				h.mu.Unlock()
				return h.fill(ctx, s, stats)
			}
			if s := h.takeIdleLocked(func(*streamConn) bool { return true }); s != nil {
				h.mu.Unlock()
				h.drop(s) // another link's, in favour of this one
				continue
			}
		}
		h.mu.Unlock()
		err := pause(ctx, l, changed)
		if waits {
			h.unclaim(l)
		}
		if err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, l *link, changed <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.closing:
		return ErrClosed
	case <-changed:
		return nil
	}
}

// unclaim lets another stream wait for the login that Prepare has under way.
func (h *host) unclaim(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.warming[l] {
		h.warming[l] = false
	}
}

// prepare starts a login in the background unless an idle connection is there or on its way. It ends with ctx.
func (h *host) prepare(ctx context.Context, l *link, stats *counters) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, coming := h.warming[l]
	if coming || l.closed() || slices.ContainsFunc(h.idle, func(s *streamConn) bool { return s.link == l && s.lost() == nil }) {
		return
	}
	s := h.reserveLocked(l)
	if s == nil {
		return
	}
	h.warming[l] = false
	ctx, cancel := context.WithCancelCause(ctx)
	l.warming.Go(func() {
		select {
		case <-l.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	})
	l.warming.Go(func() {
		defer cancel(nil)
		// An error is not lost: the next stream meets the same trouble and reports it.
		if filled, err := h.fill(ctx, s, stats); err == nil {
			h.put(filled)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.warming, l)
		h.changedLocked()
	})
}

// fill logs in on a reserved place.
func (h *host) fill(ctx context.Context, s *streamConn, stats *counters) (*streamConn, error) {
	c, err := h.login(ctx, &s.link.cfg)
	if err != nil {
		h.forget(s)
		return nil, err
	}
	stats.stream.Add(1)
	h.mu.Lock()
	s.conn = c
	late := s.link.closed() // closeAll may not have seen it
	h.mu.Unlock()
	if late {
		h.drop(s)
		return nil, ErrClosed
	}
	return s, nil
}

// put makes a connection idle, or closes it if it is of no more use.
func (h *host) put(s *streamConn) {
	h.mu.Lock()
	if s.lost() != nil || s.link.closed() {
		h.mu.Unlock()
		h.drop(s)
		return
	}
	h.idle = append(h.idle, s)
	s.used = true
	s.timer = time.AfterFunc(h.idles, func() {
		h.mu.Lock()
		i := slices.Index(h.idle, s)
		if i >= 0 {
			h.idle = slices.Delete(h.idle, i, i+1)
		}
		h.mu.Unlock()
		if i >= 0 {
			h.drop(s)
		}
	})
	h.changedLocked()
	h.mu.Unlock()
}

// drop closes a connection that is not idle and frees its place.
func (h *host) drop(s *streamConn) {
	s.Close()
	h.forget(s)
}

func (h *host) forget(s *streamConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	h.changedLocked()
}

// closeAll closes every connection of a link, those with streams too.
func (h *host) closeAll(l *link) {
	h.mu.Lock()
	var all []*streamConn
	for s := range h.streams {
		if s.link == l && s.conn != nil {
			all = append(all, s)
		}
	}
	h.idle = slices.DeleteFunc(h.idle, func(s *streamConn) bool {
		if s.link == l {
			s.timer.Stop()
		}
		return s.link == l
	})
	h.mu.Unlock()
	for _, s := range all {
		h.drop(s)
	}
}

// takeIdleLocked takes one out of the idle connections, nil if there is none that fits: of a link the one used last, which
// is the likeliest to be alive.
func (h *host) takeIdleLocked(fits func(*streamConn) bool) *streamConn {
	for i, s := range slices.Backward(h.idle) {
		if fits(s) {
			s.timer.Stop()
			h.idle = slices.Delete(h.idle, i, i+1)
			return s
		}
	}
	return nil
}

// reserveLocked takes a place for a connection, or returns nil if all are taken.
func (h *host) reserveLocked(l *link) *streamConn {
	if len(h.streams) >= maxStreams {
		return nil
	}
	s := &streamConn{link: l}
	h.streams[s] = true
	return s
}

func (h *host) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}
