package host

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/zferry/zferry/rpc"
)

// What a connection may have under way, and how many of it at once.
const (
	maxCalls  = 10
	maxQueued = 20
)

// limitAnonymous is for frames before a login.
func limitAnonymous() rpc.FrameLimit {
	return rpc.FrameLimit{Size: 8192, Characters: true, Code: 1007, Reason: "Anonymous connection max message length is 8 kB"}
}

// limitUser is for frames after it.
func limitUser() rpc.FrameLimit {
	return rpc.FrameLimit{Size: 65536, Characters: true, Code: 1009, Reason: "Max message length is 64 kB"}
}

// session is a connection of a client.
type session struct {
	host *Host
	id   string
	api  string // the version of the API in the path of its URL; "current" is the newest
	// origin is where it comes from: an address and a port, or the user of a Unix socket.
	origin string
	local  bool // it came over a Unix socket
	// certificate is the one (DER) that the client was shown, nil without TLS.
	certificate []byte
	log         *slog.Logger
	out         *outbox
	send        func(ctx context.Context, conn *rpc.Conn, n notice) error // an event, in the protocol of the connection
	legacy      bool                                                      // the connection speaks the legacy protocol

	mu            sync.Mutex // guards the fields below
	who           *identity  // nil: not logged in
	options       sessionOptions
	subscriptions map[string]string // the collection of each id
}

type sessionOptions struct {
	LegacyJobs     bool `json:"legacy_jobs"`
	PrivateMethods bool `json:"private_methods"`
	PyExceptions   bool `json:"py_exceptions"`
}

// newSession is a session for what connects with a request, and how large its frames may be. A Unix socket's user may be logged
// in already.
func (h *Host) newSession(r *http.Request, api string) (*session, rpc.FrameLimit) {
	s := &session{
		host: h, id: newUUID(), api: api, origin: r.RemoteAddr, certificate: shownTo(r.Context()), out: newOutbox(h.limits.waiting),
		send: func(ctx context.Context, conn *rpc.Conn, n notice) error { return conn.Notify(ctx, n.method, n.params) },

		options:       sessionOptions{LegacyJobs: true},
		subscriptions: make(map[string]string),
	}
	limit := limitAnonymous()
	if uid, ok := peerOf(r.Context()); ok {
		s.local, s.origin = true, "uid "+strconv.Itoa(uid)
		if s.who = peerIdentity(uid); s.who != nil {
			limit = limitUser()
		}
	}
	s.log = h.log.With("session", s.id, "origin", s.origin)
	return s, limit
}

// serveSession is the handler of the paths of clients.
func (h *Host) serveSession(api string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, limit := h.newSession(r, api)
		h.serveConn(w, r, s.connOptions(limit), s.run)
	}
}

func (s *session) connOptions(limit rpc.FrameLimit) rpc.Options {
	return rpc.Options{
		Handler:  s.handle,
		MaxFrame: limit, MaxCalls: maxCalls, MaxQueued: maxQueued,
		ArrayParams:  true,
		WriteTimeout: s.host.limits.write,
		Log:          s.log,
	}
}

// tlsCertificate is the certificate (DER) that the client was shown, to which a login may be bound. It is nil without TLS.
func (s *session) tlsCertificate() []byte { return s.certificate }

// run sends the events of the session to the end of its connection.
func (s *session) run(ctx context.Context, conn *rpc.Conn) {
	s.host.hub.add(s, conn.Hangup)
	defer s.host.hub.remove(s)
	for {
		n, ok := s.out.take()
		if ok {
			if err := s.send(ctx, conn, n); err != nil {
				s.log.Debug("event not sent", "err", err)
			}
			continue
		}
		select {
		case <-s.out.more:
		case <-conn.Done():
			return
		}
	}
}

// authenticated is who is logged in, or the error that clients know.
func (s *session) authenticated() (*identity, error) {
	s.mu.Lock()
	who := s.who
	s.mu.Unlock()
	switch {
	case who == nil:
		return nil, rpc.Errorf(rpc.ENOTAUTHENTICATED, "Not authenticated")
	case who.expired():
		return nil, rpc.Errorf(rpc.EACCES, "Session is expired")
	}
	return who, nil
}

func (id *identity) expired() bool { return !id.expires.IsZero() && time.Now().After(id.expires) }

func (s *session) login(conn *rpc.Conn, who *identity) {
	s.mu.Lock()
	s.who = who
	s.mu.Unlock()
	conn.SetMaxFrame(limitUser())
	s.log.Info("logged in", "user", who.user)
}

func (s *session) logout(conn *rpc.Conn) {
	s.mu.Lock()
	s.who = nil
	clear(s.subscriptions)
	s.mu.Unlock()
	s.out.clear()
	conn.SetMaxFrame(limitAnonymous())
}

func (s *session) currentOptions() sessionOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	options := s.options
	options.LegacyJobs = options.LegacyJobs || s.legacy // its clients wait for jobs in another way
	return options
}

func (s *session) subscribe(collection string) (id string) {
	id = newUUID()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions[id] = collection
	return id
}

func (s *session) unsubscribe(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subscriptions, id)
}

// wants tells whether the client has subscribed to the event and may see it.
func (s *session) wants(p *publication) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, collection := range s.subscriptions {
		if collection == p.Collection || collection == "*" {
			return s.who != nil && !s.who.expired() && s.who.in(p.audience)
		}
	}
	return false
}
