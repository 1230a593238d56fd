package host

import (
	"context"
	"encoding/json"

	"github.com/zferry/zferry/rpc"
)

// call is what a method of the host's own is told about its call.
type call struct {
	session *session
	conn    *rpc.Conn
	id      json.RawMessage // the JSON-RPC id; nil for a notification
	who     *identity       // nil only in methods that need no login
}

type callKey struct{}

// callOf finds the call that ctx is of.
func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		panic("host: a method was called without a session")
	}
	return c
}

// withoutLogin tells whether a method is for everybody.
func withoutLogin(method string) bool {
	switch method {
	case "core.ping", "core.set_options", "auth.login_with_api_key", "auth.login_ex", "auth.mechanism_choices":
		return true
	}
	return false
}

// handle answers a call of the client: it is one of the host's own methods, or of a plugin's.
func (s *session) handle(ctx context.Context, conn *rpc.Conn, r rpc.Request) (any, error) {
	if m, ok := s.host.methods.Lookup(r.Method); ok {
		c := &call{session: s, conn: conn, id: r.ID}
		if !withoutLogin(r.Method) {
			var err error
			if c.who, err = s.authenticated(); err != nil {
				return nil, err
			}
		}
		return m.Call(context.WithValue(ctx, callKey{}, c), r.Params)
	}
	route, ok := s.host.plugins.route(r.Method)
	if !ok {
		return nil, s.noMethod()
	}
	who, err := s.authenticated()
	if err != nil {
		return nil, err
	}
	// As everywhere, a method without roles is for everybody who is logged in.
	if len(route.Roles) > 0 && !who.holds(route.Roles) {
		return nil, errNotAuthorized()
	}
	if !offeredIn(s.api, r.Method) {
		return nil, errNoMethodHere(r.Method)
	}
	return s.forward(ctx, route, who, r)
}

// noMethod is the answer to a call of something unknown. While a plugin has never said what it has, it is not known to be
// unknown.
func (s *session) noMethod() error {
	p := s.host.plugins.unknown()
	if p == nil {
		return rpc.ErrMethodNotFound
	}
	if _, err := s.authenticated(); err != nil {
		return err
	}
	return p.away()
}

// forwarded is the params of plugin.call.
type forwarded struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Caller rpc.Caller      `json:"caller"`
	Output uint32          `json:"output,omitempty"` // the stream that its job writes
	// Input and MoreInputs are byte streams that the method reads; 0 and nil are none.
	Input      uint32   `json:"input,omitempty"`
	MoreInputs []uint32 `json:"more_inputs,omitempty"`
}

// caller is the session as a plugin is told of it, in a call with that id.
func (s *session) caller(who *identity, id json.RawMessage) rpc.Caller {
	return rpc.Caller{
		Session: s.id, Credentials: who.credentials, User: who.user, Roles: who.roles, FullAdmin: who.admin,
		Origin: s.origin, API: s.api, MessageID: id, LegacyJobs: s.currentOptions().LegacyJobs,
	}
}

// forward has the plugin carry out a call. If the client wants it so, a call of a job is answered when the job has ended;
// meanwhile it does not count as a call under way.
func (s *session) forward(ctx context.Context, to route, who *identity, r rpc.Request) (any, error) {
	f := s.forwarded(who, r.Method, r.Params, r.ID)
	var result json.RawMessage
	if err := to.plugin.call(ctx, "plugin.call", f, &result); err != nil {
		return nil, err
	}
	var id int64
	if !to.Job || r.ID == nil || json.Unmarshal(result, &id) != nil {
		return result, nil
	}
	if f.Caller.LegacyJobs {
		s.known(ctx, to.plugin, id)
		return result, nil
	}
	rpc.ReleaseSlot(ctx)
	job, err := to.plugin.await(ctx, id)
	if err != nil {
		return nil, err
	}
	return job.outcome()
}

// forwarded is a call on behalf of a user as a plugin is told of it.
func (s *session) forwarded(who *identity, method string, params, id json.RawMessage) forwarded {
	if len(params) == 0 {
		params = json.RawMessage("[]")
	}
	return forwarded{Method: method, Params: params, Caller: s.caller(who, id)}
}

// known makes sure that the host knows a job before it answers with its number: the client may ask for it at once, and the
// plugin tells of it on another way than the answer. Trouble is not reported: the job is there, and will be told of.
func (s *session) known(ctx context.Context, p *plugin, id int64) {
	if _, known := p.jobs.get(id); known {
		return
	}
	if err := p.ask(ctx, id); err != nil {
		s.host.log.Debug("a new job is not known yet", "job", id, "err", err)
	}
}

// job finds a job. One that is not known may be of a plugin whose table the host has not seen yet.
func (h *Host) job(ctx context.Context, id int64) (*jobEntry, error) {
	table := h.own.table
	p, ok := h.plugins.ofJob(id)
	if ok {
		table = p.jobs
	}
	if e, known := table.get(id); known {
		return e, nil
	}
	if ok {
		if err := p.seek(ctx, id); err != nil {
			return nil, err
		}
	}
	if e, known := table.get(id); known {
		return e, nil
	}
	return nil, errNoJob(id)
}

func errNoJob(id int64) error { return rpc.NotFound("Job with id", id) }

// readable tells why the user may not see the job, or nil.
func readable(who *identity, e *jobEntry) error {
	if who.in(e.audience) {
		return nil
	}
	return writable(who, e)
}

// writable tells why the user may not abort the job, or nil.
func writable(who *identity, e *jobEntry) error {
	switch {
	case who.admin, e.audience.Owner != nil && *e.audience.Owner == who.user:
		return nil
	case e.internal():
		return rpc.Errorf(rpc.EPERM, "Only users with full administrative privileges can access internally ran jobs")
	}
	return rpc.Errorf(rpc.EPERM, "Job is not owned by current session")
}

func errNotAuthorized() error { return rpc.Errorf(rpc.EACCES, "Not authorized") }
