package host

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/zferry/zferry/rpc"
)

// WebSocket close codes that the host gives.
const (
	closeGoingAway = 1001
	closeInvalid   = 1007
	closePolicy    = 1008
	closeInternal  = 1011
	closeTryLater  = 1013
	closeReplaced  = 4001 // ours: another connection of the same plugin has taken its place
)

// maxBeforeRegistration is what a frame may have of somebody who may not be a plugin.
const maxBeforeRegistration = 1 << 20

// stages of a link.
const (
	linkNew = iota
	linkRegistering
	linkRegistered
)

// link is a connection of somebody who may turn out to be a plugin.
type link struct {
	host  *Host
	conn  *rpc.Conn
	log   *slog.Logger
	stage atomic.Int32
	open  atomic.Bool // the plugin has its answer, and calls may be sent to it

	fetched atomic.Bool // its table of jobs is known
	replied atomic.Bool // the plugin has sent something after its registration: it has the answer
	gone    atomic.Bool // the connection is lost
	undone  atomic.Bool // and so the registration does not count any more

	// Set by the registration, before the stage is linkRegistered.
	plugin  *plugin
	number  int // of the plugin's connections
	pid     int
	started string
	token   digest // that it was registered with; zero if with a secret
}

// PluginHandler takes the connections of plugins. The host serves it on its Unix socket; it may be mounted elsewhere too, on
// TLS or a loopback address.
func (h *Host) PluginHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := &link{host: h, log: h.log.With("peer", r.RemoteAddr)}
		h.serveConn(w, r, rpc.Options{
			Handler: l.handle, Notified: l.notified,
			MaxFrame:     rpc.FrameLimit{Size: maxBeforeRegistration},
			PingAfter:    h.limits.silence,
			WriteTimeout: h.limits.write,
			Streams:      true,
			Log:          l.log,
		}, l.run)
	})
}

// run stays with the connection to its end.
func (l *link) run(_ context.Context, conn *rpc.Conn) {
	timer := time.AfterFunc(l.host.limits.register, func() {
		if l.stage.CompareAndSwap(linkNew, linkRegistering) {
			l.log.Warn("somebody has connected as a plugin and has not registered in time")
			conn.Hangup(closePolicy, "not registered in time")
		}
	})
	defer timer.Stop()
	<-conn.Done()
	l.gone.Store(true)
	l.undo()
}

// undo takes back a registration whose connection is lost. Either may come last: a connection can be lost under the
// registration.
func (l *link) undo() {
	if !l.gone.Load() || l.stage.Load() != linkRegistered || !l.undone.CompareAndSwap(false, true) {
		return
	}
	if !l.replied.Load() && l.token != (digest{}) {
		// The answer may be lost, and a plugin that this host has launched knows no other token.
		l.host.tokens.giveBack(l.token)
	}
	if l.plugin.detach(l) {
		l.log.Warn("lost the connection of a plugin", "plugin", l.plugin.name, "err", l.conn.Err())
	}
}

// handle answers requests, of which there is one: plugin.register, the first frame of the connection.
func (l *link) handle(ctx context.Context, conn *rpc.Conn, r rpc.Request) (any, error) {
	if l.stage.Load() == linkRegistered {
		l.heard()
		return nil, rpc.ErrMethodNotFound
	}
	if r.Method != "plugin.register" || r.ID == nil || !l.stage.CompareAndSwap(linkNew, linkRegistering) {
		return nil, &rpc.Closing{Err: rpc.Errorf(rpc.EINVAL, "a connection begins with plugin.register"), Code: closePolicy, Reason: "not registered"}
	}
	answer, err := l.register(ctx, conn, r.Params)
	if err != nil {
		l.log.Warn("refused a plugin", "err", err)
		return nil, &rpc.Closing{Err: err, Code: closePolicy, Reason: "registration refused"}
	}
	rpc.AfterReply(ctx, func() { l.begin(ctx) })
	return answer, nil
}

func (l *link) register(ctx context.Context, conn *rpc.Conn, params json.RawMessage) (registered, error) {
	r, err := readRegistration(params)
	if err != nil {
		return registered{}, err
	}
	l.conn, l.pid, l.started = conn, r.PID, r.Started
	answer, err := l.host.plugins.register(ctx, l, r, &l.host.tokens)
	if err != nil {
		return registered{}, err
	}
	l.log = l.log.With("plugin", r.Name)
	l.log.Info("registered a plugin", "version", r.Version, "pid", r.PID, "methods", len(r.Methods), "series", answer.Jobs.First)
	conn.SetMaxFrame(rpc.FrameLimit{})
	l.stage.Store(linkRegistered)
	l.undo() // if it is lost already
	return answer, nil
}

// heard notes that the plugin has sent something after its registration.
func (l *link) heard() {
	l.replied.Store(true)
	l.plugin.heard(l)
}

// begin lets calls through, when the plugin has its answer, and fetches its table of jobs.
func (l *link) begin(ctx context.Context) {
	if !l.open.CompareAndSwap(false, true) {
		return
	}
	l.host.work.start(ctx, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, l.host.limits.call)
		defer cancel()
		if err := l.fetchAll(ctx); err != nil {
			l.log.Warn("the plugin's table of jobs could not be fetched", "err", err)
		}
	})
}

// jobList is the answer to plugin.jobs.list.
type jobList struct {
	Jobs []json.RawMessage `json:"jobs"`
}

func (l *link) fetchAll(ctx context.Context) error {
	var answer jobList
	if err := l.conn.Call(ctx, "plugin.jobs.list", struct{}{}, &answer); err != nil {
		return err
	}
	l.heard()
	entries, err := readEntries(answer.Jobs)
	err = errors.Join(err, l.plugin.jobs.merge(entries, l.number))
	l.fetched.Store(true)
	return err
}

type jobRef struct {
	ID int64 `json:"id"`
}

// fetch asks for one job.
func (l *link) fetch(ctx context.Context, id int64) (*jobEntry, error) {
	var answer json.RawMessage
	if err := l.conn.Call(ctx, "plugin.jobs.get", jobRef{id}, &answer); err != nil {
		return nil, err
	}
	return readEntry(answer)
}

// same tells whether a registration is of the process at the other end.
func (l *link) same(r registration) bool { return l.pid == r.PID && l.started == r.Started }

// alive tells whether there is still somebody at the other end. The end of a process and of its connections are not seen at the
// same moment.
func (l *link) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.host.limits.probe)
	defer cancel()
	err := l.conn.Call(ctx, "plugin.health", struct{}{}, nil)
	return !errors.Is(err, rpc.ErrClosed) && !errors.Is(err, rpc.ErrOutcomeUnknown)
}

// notified takes the notifications of a plugin, in their order. It must be quick: nothing else is read meanwhile.
func (l *link) notified(ctx context.Context, conn *rpc.Conn, r rpc.Request) {
	if l.stage.Load() != linkRegistered {
		conn.Hangup(closePolicy, "not registered")
		return
	}
	l.heard()
	l.begin(ctx)
	if l.plugin.current() != l {
		return // another connection has taken its place, and has the newer state
	}
	var err error
	switch r.Method {
	case "plugin.job":
		var e *jobEntry
		if e, err = readEntry(r.Params); err == nil {
			err = l.plugin.jobs.accept(e, l.number)
		}
	case "plugin.event":
		err = l.event(r.Params)
	case "plugin.log":
		l.writeLog(ctx, r.Params)
	}
	if err != nil {
		l.log.Warn("passed over what the plugin sent", "method", r.Method, "err", err)
	}
}
