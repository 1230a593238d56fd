package plugin

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/methods"
)

// What waits for a slow host at the most. Jobs are not bounded: each waits once.
const (
	maxEvents  = 10_000
	maxLogs    = 1_000
	maxLogText = 8 << 10 // bytes of a text in a line; the plugin's own log has all of it
)

// notifier sends notifications to the host. *rpc.Conn is one.
type notifier interface {
	Notify(ctx context.Context, method string, params any) error
}

// outbox is what the host is to be told. Putting something in never blocks. Of the progress of a job only the newest waits;
// a change of its state is never left out. Without a host it remembers what the next one must know: the jobs that are not
// finished, and those that finished meanwhile.
type outbox struct {
	mu      sync.Mutex // guards the fields below
	open    bool       // a host takes what is put in
	queue   []item
	latest  map[int64]jobs.Job // the newest state of jobs that the host may not know
	logs    int                // lines in queue
	dropped int                // lines that found no room since the last one that did
	wake    chan struct{}      // holds a value when there may be something to send
}

// item is one notification.
type item struct {
	method string
	params any
	job    int64 // of plugin.job: rendered when it is sent
	state  jobs.State
}

func newOutbox() *outbox {
	return &outbox{latest: make(map[int64]jobs.Job), wake: make(chan struct{}, 1)}
}

// remember notes a job that the next host must hear of.
func (o *outbox) remember(j jobs.Job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latest[j.ID] = j
}

// job is jobs.Config.Publish.
func (o *outbox) job(j jobs.Job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if j.Transient && !o.open && j.State.Final() {
		delete(o.latest, j.ID) // nobody has heard of it
		return
	}
	o.latest[j.ID] = j
	if !o.open {
		return
	}
	if w := o.lastLocked(j.ID); w != nil && w.state == j.State && !j.State.Final() {
		w.params = j // newer progress
		return
	}
	o.addLocked(item{method: "plugin.job", job: j.ID, state: j.State, params: j})
}

// lastLocked is the last notification of a job that waits, nil if none does.
func (o *outbox) lastLocked(job int64) *item {
	for i := len(o.queue) - 1; i >= 0; i-- {
		if o.queue[i].job == job {
			return &o.queue[i]
		}
	}
	return nil
}

// event puts an event in. Without a host it is lost: who subscribes anew asks for the state first.
func (o *outbox) event(e methods.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open && len(o.queue)-o.logs < maxEvents {
		o.addLocked(item{method: "plugin.event", params: wireEvent(e)})
	}
}

// log puts a line in, or drops it if the host is slow.
func (o *outbox) log(r logLine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open {
		return
	}
	if o.logs >= maxLogs {
		o.dropped++
		return
	}
	if o.dropped > 0 {
		r.Attrs["dropped"] = o.dropped
		o.dropped = 0
	}
	o.logs++
	o.addLocked(item{method: "plugin.log", params: r})
}

func (o *outbox) addLocked(w item) {
	o.queue = append(o.queue, w)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// serve sends to a host that has just registered us until ctx ends or the connection fails, what it must know first.
func (o *outbox) serve(ctx context.Context, to notifier) error {
	o.mu.Lock()
	o.open = true
	o.queue, o.logs = nil, 0
	for _, id := range slices.Sorted(maps.Keys(o.latest)) {
		j := o.latest[id]
		o.addLocked(item{method: "plugin.job", job: id, state: j.State, params: j})
	}
	o.mu.Unlock()
	defer o.shut()
	for {
		w, ok := o.next()
		if !ok {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-o.wake:
			}
			continue
		}
		if err := to.Notify(ctx, w.method, w.wire()); err != nil {
			return err
		}
		o.sent(w)
	}
}

// shut forgets what waits, but for the jobs.
func (o *outbox) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open, o.queue, o.logs, o.dropped = false, nil, 0, 0
}

func (o *outbox) next() (item, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return item{}, false
	}
	w := o.queue[0]
	o.queue = o.queue[1:]
	if w.method == "plugin.log" {
		o.logs--
	}
	return w, true
}

// sent lets go of a finished job that the host knows now.
func (o *outbox) sent(w item) {
	if w.job == 0 || !w.state.Final() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.latest, w.job)
}

func (w item) wire() any {
	if j, ok := w.params.(jobs.Job); ok {
		return jobMessage(j)
	}
	return w.params
}

// message is a job with its audience, as plugin.job and plugin.jobs.list have it.
type message struct {
	Job      methods.JobObject `json:"job"`
	Audience audience          `json:"audience"`
}

type audience struct {
	Roles []string `json:"roles"`
	Owner *string  `json:"owner"`
}

func jobMessage(j jobs.Job) message {
	m := message{Job: methods.RenderJob(j), Audience: audience{Roles: j.ReadRoles}}
	if j.Owner != "" {
		m.Audience.Owner = &j.Owner
	}
	if m.Audience.Roles == nil {
		m.Audience.Roles = []string{}
	}
	return m
}

type eventMessage struct {
	Name     string   `json:"name"`
	Msg      string   `json:"msg"`
	ID       int64    `json:"id"`
	Fields   any      `json:"fields,omitempty"`
	Audience audience `json:"audience"`
}

func wireEvent(e methods.Event) eventMessage {
	return eventMessage{Name: e.Name, Msg: e.Msg, ID: e.ID, Fields: e.Fields, Audience: audience{Roles: e.Roles}}
}

// logLine is a line of the log as plugin.log has it.
type logLine struct {
	Time    time.Time      `json:"time"`
	Level   string         `json:"level"`
	Message string         `json:"message"`
	Attrs   map[string]any `json:"attrs"`
}

// logHandler is a slog.Handler that also tells the host.
type logHandler struct {
	slog.Handler
	outbox *outbox
	attrs  []slog.Attr
}

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	line := logLine{Time: r.Time.UTC(), Level: r.Level.String(), Message: r.Message, Attrs: make(map[string]any)}
	add := func(a slog.Attr) bool {
		text := a.Value.Resolve().String()
		if len(text) > maxLogText {
			text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
		}
		line.Attrs[a.Key] = text
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.outbox.log(line)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs), h.outbox, slices.Concat(h.attrs, attrs)}
}

// WithGroup implements slog.Handler. The host's lines have no groups.
func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.outbox, h.attrs}
}
