package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/rpc/filter"
)

// none is the result of methods that answer with null.
type none *struct{}

type noArgs struct{}

type jobArgs struct {
	ID int64 `json:"id" doc:"number of the job"`
}

type queryArgs struct {
	Filters json.RawMessage `json:"filters" default:"[]" doc:"conditions that all must hold: [field, operator, value]"`
	Options json.RawMessage `json:"options" default:"{}" doc:"select, order_by, count, get, offset, limit, extra; with extra.raw_result secrets in results are shown"`
}

// registerCore registers core.*.
func (h *Host) registerCore(r *rpc.Registry) {
	rpc.Register(r, "core.ping", rpc.Meta{Description: "Answers pong."},
		func(context.Context, noArgs) (string, error) { return "pong", nil })
	rpc.Register(r, "core.set_options", rpc.Meta{Description: "Sets options of this connection and gives all of them."}, setOptions)
	rpc.Register(r, "core.subscribe", rpc.Meta{Description: "Asks for the events of a collection."}, h.subscribe)
	rpc.Register(r, "core.unsubscribe", rpc.Meta{Description: "Ends a subscription."}, unsubscribe)
	rpc.Register(r, "core.get_jobs", rpc.Meta{Description: "Lists jobs."}, h.getJobs)
	rpc.RegisterRaw[jobArgs](r, "core.job_wait", rpc.Meta{Description: "A job that ends as another one does.", Job: true}, h.jobWait)
	rpc.Register(r, "core.job_abort", rpc.Meta{Description: "Aborts a job."}, h.jobAbort)
	rpc.Register(r, "core.job_download_logs", rpc.Meta{Description: "Gives the URL of a job's log."}, h.jobDownloadLogs)
}

type optionsArgs struct {
	Options map[string]json.RawMessage `json:"options" doc:"legacy_jobs: calls of jobs answer with the id at once; private_methods; py_exceptions"`
}

func setOptions(ctx context.Context, in optionsArgs) (sessionOptions, error) {
	s := callOf(ctx).session
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.options
	var faults rpc.ArgErrors
	for _, o := range []struct {
		name string
		to   *bool
	}{
		{"legacy_jobs", &changed.LegacyJobs},
		{"private_methods", &changed.PrivateMethods},
		{"py_exceptions", &changed.PyExceptions},
	} {
		given, ok := in.Options[o.name]
		if !ok {
			continue
		}
		var err error
		if *o.to, err = rpc.BindValue[bool]("options."+o.name, given); err != nil {
			if wrong, ok := errors.AsType[rpc.ArgErrors](err); ok {
				faults = append(faults, wrong...)
			}
		}
	}
	if err := faults.Err(); err != nil {
		return sessionOptions{}, err
	}
	s.options = changed
	return changed, nil
}

type subscribeArgs struct {
	Event string `json:"event" minlen:"1" doc:"name of a collection, such as core.get_jobs, or * for all"`
}

// subscribe lets full administrators subscribe to names that nobody has; others only learn that they may not. Arguments, as in
// name:{"interval":2}, are for event sources, of which there are none.
func (h *Host) subscribe(ctx context.Context, in subscribeArgs) (any, error) {
	c := callOf(ctx)
	name, _, source := strings.Cut(in.Event, ":")
	event, owner := h.plugins.event(name)
	known := owner != nil || name == jobsCollection || name == "*"
	switch {
	case owner != nil && len(event.Roles) > 0 && !c.who.holds(event.Roles),
		owner == nil && name != jobsCollection && !c.who.admin:
		return nil, errNotAuthorized()
	case source && known:
		return nil, rpc.ArgErrors{{Attribute: "event", Message: name + " takes no arguments"}}
	}
	if c.id == nil {
		c.session.subscribe(in.Event)
		return nil, nil
	}
	// Clients take the next frame for the answer. What happens meanwhile must come too, but after it.
	c.session.out.hold()
	rpc.AfterReply(ctx, c.session.out.release)
	if source {
		c.session.out.put(notice{method: "notify_unsubscribed", params: noSource(in.Event)}, 0, false)
		return newUUID(), nil
	}
	return c.session.subscribe(in.Event), nil
}

// noSource tells that a subscription has ended, because there is no such event source.
func noSource(name string) json.RawMessage {
	return mustJSON(map[string]any{
		"collection": name, "error": rpc.ToWire(rpc.Errorf(rpc.ENOENT, "There is no event source %s", name)).Data,
	})
}

type unsubscribeArgs struct {
	ID string `json:"id" doc:"what core.subscribe gave"`
}

func unsubscribe(ctx context.Context, in unsubscribeArgs) (none, error) {
	callOf(ctx).session.unsubscribe(in.ID)
	return nil, nil
}

func (h *Host) getJobs(ctx context.Context, in queryArgs) (any, error) {
	query, err := filter.Parse(in.Filters, in.Options)
	if err != nil {
		return nil, queryError(err)
	}
	who := callOf(ctx).who
	var jobs []*jobEntry
	for _, table := range h.tables() {
		jobs = append(jobs, table.list()...)
	}
	jobs = slices.DeleteFunc(jobs, func(e *jobEntry) bool { return !who.in(e.audience) })
	slices.SortFunc(jobs, func(a, b *jobEntry) int { return cmp.Compare(a.ID, b.ID) })
	// Secrets in results are for those who ask for them by name.
	var extra struct {
		Raw any `json:"raw_result"`
	}
	raw := json.Unmarshal(query.Options().Extra, &extra) == nil && extra.Raw == true
	rows := make([]map[string]any, len(jobs))
	for i, e := range jobs {
		if raw {
			rows[i] = e.row()
		} else {
			rows[i] = e.shown()
		}
	}
	found, err := query.Run(rows)
	if err != nil {
		return nil, queryError(err)
	}
	return found, nil
}

func (h *Host) tables() []*jobTable {
	tables := []*jobTable{h.own.table}
	for _, p := range h.plugins.list() {
		tables = append(tables, p.jobs)
	}
	return tables
}

// queryError puts an error of package filter into the form that clients know.
func queryError(err error) error {
	if errors.Is(err, filter.ErrNoMatch) {
		text := err.Error()
		return &rpc.CallError{
			Errno: rpc.EINVAL, Reason: text, Bare: true,
			Trace: &rpc.Trace{Class: "MatchNotFound", Formatted: text, Repr: text},
		}
	}
	faults, ok := errors.AsType[filter.FieldErrors](err)
	if !ok {
		return err
	}
	var set rpc.ArgErrors
	for _, f := range faults {
		set.Add(f.Attribute, f.Message)
	}
	return set
}

func (h *Host) jobAbort(ctx context.Context, in jobArgs) (none, error) {
	e, err := h.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := writable(callOf(ctx).who, e); err != nil {
		return nil, err
	}
	if e.final() {
		return nil, nil
	}
	p, ok := h.plugins.ofJob(in.ID)
	if !ok {
		h.own.abort(in.ID)
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.limits.call)
	defer cancel()
	return nil, p.call(ctx, "plugin.jobs.abort", jobRef(in), nil)
}
