package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/zferry/zferry/rpc"
)

const bulkMethod = "core.bulk"

// registerCalls registers those of core.* that call other methods, or tell of them.
func (h *Host) registerCalls(r *rpc.Registry) {
	rpc.RegisterRaw[bulkArgs](r, bulkMethod, rpc.Meta{
		Description: "A job that calls a method with one set of arguments after the other, whatever becomes of each.", Job: true, Abortable: true,
	}, h.bulk)
	rpc.Register(r, "core.download", rpc.Meta{Description: "Starts a job, and gives its id and the URL of what it writes."}, h.download)
	rpc.Register(r, "core.get_methods", rpc.Meta{Description: "Describes the methods that the caller may call."}, h.getMethods)
	rpc.Register(r, "core.get_services", rpc.Meta{Description: "Lists the namespaces in which the caller may call something."}, h.getServices)
}

type bulkArgs struct {
	Method      string              `json:"method" doc:"what to call"`
	Params      [][]json.RawMessage `json:"params" doc:"a list of arguments for each call"`
	Description *string             `json:"description" default:"null" doc:"of a call, for the progress; {0} is its first argument, {0[name]} a member of that"`
}

// bulkResult is what has become of one call.
type bulkResult struct {
	JobID  *int64          `json:"job_id"`
	Result json.RawMessage `json:"result"`
	Error  *string         `json:"error"`
}

// bulk calls a method many times. What is wrong with the arguments is told by the job.
func (h *Host) bulk(ctx context.Context, params json.RawMessage) (any, error) {
	var args []json.RawMessage
	var method string
	if json.Unmarshal(params, &args) != nil || len(args) == 0 || json.Unmarshal(args[0], &method) != nil {
		return nil, rpc.Errorf(rpc.EINVAL, "Error handling job lock. This is most likely caused by invalid call arguments.")
	}
	c := callOf(ctx)
	// The calls are the caller's, as it is now, also when the session has another user later or none.
	inner := &session{
		host: h, id: c.session.id, api: c.session.api, origin: c.session.origin, local: c.session.local, log: c.session.log,
		out: newOutbox(h.limits.waiting), who: c.who, options: sessionOptions{LegacyJobs: true}, subscriptions: make(map[string]string),
	}
	return h.own.start(ctx, ownSpec{method: bulkMethod, params: params, lock: "bulk:" + method, run: func(ctx context.Context, j *ownJob) {
		in, err := rpc.Bind[bulkArgs](params)
		if err == nil {
			err = inner.mayBulk(in.Method)
		}
		var results []bulkResult
		if err == nil {
			results, err = inner.bulk(ctx, c.conn, in, j)
		}
		if err != nil {
			j.end(ctx, err)
			return
		}
		j.update(func(w *wireJob) {
			w.State, w.Result = stateSuccess, mustJSON(results)
			w.Progress = withPercent(w.Progress, 100)
		})
	}})
}

// mayBulk tells why the method cannot be called by core.bulk, or nil.
func (s *session) mayBulk(method string) error {
	switch {
	case method == bulkMethod:
		return rpc.ArgErrors{{Attribute: "method", Message: "core.bulk cannot call itself"}}
	case ofConnection(method):
		return rpc.ArgErrors{{Attribute: "method", Message: method + " is about the connection of its caller and is not for core.bulk"}}
	}
	return s.mayCall(method)
}

// ofConnection tells whether a method is about the connection that it is called on.
func ofConnection(method string) bool {
	switch method {
	case "core.set_options", "core.subscribe", "core.unsubscribe":
		return true
	}
	return strings.HasPrefix(method, "auth.")
}

// mayCall tells why the user may not call a method from inside another, or nil.
func (s *session) mayCall(method string) error {
	who, err := s.authenticated()
	if err != nil {
		return err
	}
	var roles []string
	if m, own := s.host.methods.Lookup(method); own {
		roles = m.Roles
	} else if route, ok := s.host.plugins.route(method); ok {
		roles = route.Roles
	} else if p := s.host.plugins.unknown(); p != nil {
		return p.away()
	} else {
		return rpc.Errorf(rpc.ENOMETHOD, "Method '%s' not found", method)
	}
	if len(roles) > 0 && !who.holds(roles) {
		return rpc.Errorf(rpc.EPERM, "Not authorized")
	}
	return nil
}

// bulk makes the calls. It fails only if ctx ends.
func (s *session) bulk(ctx context.Context, conn *rpc.Conn, in bulkArgs, j *ownJob) ([]bulkResult, error) {
	results := make([]bulkResult, 0, len(in.Params))
	for i, args := range in.Params {
		text := fmt.Sprintf("%d / %d", i, len(in.Params))
		if in.Description != nil {
			text += ": " + fillIn(*in.Description, args)
		}
		j.update(func(w *wireJob) {
			w.Progress = mustJSON(map[string]any{"percent": 100 * i / len(in.Params), "description": text, "extra": nil})
		})
		results = append(results, s.bulkCall(ctx, conn, in.Method, mustJSON(args)))
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return results, nil
}

// bulkCall makes one call, and waits for the end of the job that it starts.
func (s *session) bulkCall(ctx context.Context, conn *rpc.Conn, method string, params json.RawMessage) (r bulkResult) {
	fail := func(err error) bulkResult {
		text := reasonOf(err)
		r.Error = &text
		return r
	}
	answer, err := s.handle(ctx, conn, rpc.Request{Method: method, Params: params})
	if err != nil {
		return fail(err)
	}
	result, err := json.Marshal(answer)
	if err != nil {
		return fail(fmt.Errorf("result: %w", err))
	}
	await, isJob := s.awaiting(method)
	if !isJob {
		r.Result = result
		return r
	}
	var id int64
	if err := json.Unmarshal(result, &id); err != nil {
		return fail(fmt.Errorf("number of the job: %w", err))
	}
	r.JobID = &id
	e, err := await(ctx, id)
	if errors.Is(err, errAborted) {
		s.abortInner(ctx, id)
	}
	if err != nil {
		return fail(err)
	}
	if e.State != stateSuccess {
		_, err := e.outcome()
		return fail(err)
	}
	r.Result = e.Result
	return r
}

// awaiting gives what waits for the end of a job of the method, if it makes jobs.
func (s *session) awaiting(method string) (await func(ctx context.Context, id int64) (*jobEntry, error), isJob bool) {
	if m, ok := s.host.methods.Lookup(method); ok {
		return func(ctx context.Context, id int64) (*jobEntry, error) {
			return s.host.own.table.await(ctx, id, func() error { return errNoJob(id) })
		}, m.Job
	}
	route, ok := s.host.plugins.route(method)
	if !ok {
		return nil, false
	}
	return route.plugin.await, route.Job
}

// abortInner aborts the job that an aborted bulk has waited for. Trouble with that is the job's: it can be aborted by itself.
func (s *session) abortInner(ctx context.Context, id int64) {
	ctx = context.WithValue(context.WithoutCancel(ctx), callKey{}, &call{session: s, who: s.who})
	if _, err := s.host.jobAbort(ctx, jobArgs{ID: id}); err != nil {
		s.log.Warn("a job of an aborted core.bulk was not aborted", "job", id, "err", err)
	}
}

// reasonOf is the text of an error as clients are told it.
func reasonOf(err error) string {
	wire := rpc.ToWire(err)
	var data struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(wire.Data, &data) != nil || data.Reason == "" {
		return wire.Message
	}
	return strings.TrimSuffix(data.Reason, "\n")
}

// withPercent is a progress with another percent.
func withPercent(progress json.RawMessage, percent int) json.RawMessage {
	var p map[string]json.RawMessage
	if json.Unmarshal(progress, &p) != nil || p == nil {
		return progress
	}
	p["percent"] = json.RawMessage(strconv.Itoa(percent))
	return mustJSON(p)
}

// fillIn puts arguments into a description: {0} is the first, {0[name]} a member of it. Anything else in braces stays.
func fillIn(text string, args []json.RawMessage) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		field, after, closed := strings.Cut(rest, "}")
		value, known := argument(field, args)
		if !closed || !known {
			out.WriteString("{")
			text = rest
			continue
		}
		out.WriteString(value)
		text = after
	}
}

func argument(field string, args []json.RawMessage) (text string, ok bool) {
	number, member, named := strings.Cut(field, "[")
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(args) {
		return "", false
	}
	value := redact(args[i])
	if named {
		var object map[string]json.RawMessage
		if json.Unmarshal(value, &object) != nil {
			return "", false
		}
		if value, ok = object[strings.TrimSuffix(member, "]")]; !ok {
			return "", false
		}
	}
	if json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	return text, true
}
