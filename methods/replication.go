package methods

import (
	"context"
	"encoding/json"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/tasks"
)

// The roles of replication tasks.
const (
	replicationRead      = "REPLICATION_TASK_READ"
	replicationWrite     = "REPLICATION_TASK_WRITE"
	replicationWritePull = "REPLICATION_TASK_WRITE_PULL"
)

// Replication registers replication.* and returns what starts a task by itself.
func Replication(r *rpc.Registry, t *tasks.Service, k *keychain.Service, m *jobs.Manager, emit func(Event)) *Replications {
	read := []string{replicationRead, replicationWrite}
	write := []string{replicationWrite}
	x := &Replications{tasks: t, keychain: k, jobs: m, emit: emit}
	rpc.Register(r, "replication.query", rpc.Meta{Description: "Replication tasks with their state.", Roles: read}, x.query)
	rpc.Register(r, "replication.get_instance", rpc.Meta{Description: "One of them, by id.", Roles: read}, x.get)
	rpc.Register(r, "replication.create", rpc.Meta{Description: "Keeps a new task.", Roles: write}, x.create)
	rpc.Register(r, "replication.update", rpc.Meta{Description: "Changes fields of a task; those that are not given stay.", Roles: write}, x.update)
	rpc.Register(r, "replication.delete", rpc.Meta{Description: "Removes a task and aborts its run. Touches no data.", Roles: write}, x.delete)
	registerJob(r, m, "replication.run", rpc.Meta{
		Description: "Runs a task. A run that was interrupted is resumed.", Roles: write, Abortable: true, Logs: true, ReadRoles: []string{replicationRead},
	}, func(in runArgs) string { return tasks.Key(in.ID) }, x.run)
	registerJob(r, m, "replication.run_onetime", rpc.Meta{
		Description: "Replicates once, without a task.", Roles: write, Abortable: true, Logs: true,
	}, nil, x.once)
	x.registerLooks(r)
	return x
}

// Replications is the methods of replication.*.
type Replications struct {
	tasks    *tasks.Service
	keychain *keychain.Service
	jobs     *jobs.Manager
	emit     func(Event)
}

func (x *Replications) query(ctx context.Context, in queryArgs) (any, error) {
	list, err := x.tasks.List(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]replicationEntry, len(list))
	for i, e := range list {
		entries[i] = x.render(ctx, e, may(ctx, replicationWrite))
	}
	return answer(in, entries)
}

func (x *Replications) get(ctx context.Context, in idArgs) (any, error) {
	e, err := x.tasks.Get(ctx, in.ID)
	if err != nil {
		return nil, wireError(err, "")
	}
	return x.render(ctx, e, may(ctx, replicationWrite)), nil
}

func (x *Replications) create(ctx context.Context, in replicationCreateArgs) (any, error) {
	d := in.Data.definition()
	d.NoPull = !may(ctx, replicationWritePull)
	e, err := x.tasks.Create(ctx, d)
	if err != nil {
		return nil, wireError(err, "replication_create")
	}
	return x.render(ctx, e, true), nil
}

type deleteArgs struct {
	ID int64 `json:"id" doc:"number of the task"`
}

func (x *Replications) delete(ctx context.Context, in deleteArgs) (bool, error) {
	job, err := x.tasks.Delete(ctx, in.ID)
	if err != nil {
		return false, wireError(err, "")
	}
	if job != 0 {
		// A job that has ended meanwhile needs no abort.
		_ = x.jobs.Abort(job)
	}
	return true, nil
}

type runArgs struct {
	ID      int64 `json:"id" doc:"number of the task"`
	Options struct {
		ReallyRun bool `json:"really_run" default:"true" private:"true"`
	} `json:"options" default:"{}" doc:"none for callers"`
}

func (x *Replications) run(ctx context.Context, h *jobs.Handle, in runArgs) (any, error) {
	if err := x.enabledFor(ctx, in.ID); err != nil {
		return nil, failed(err, "")
	}
	return nil, failed(x.tasks.Run(ctx, h, in.ID, false), "")
}

func (x *Replications) once(ctx context.Context, h *jobs.Handle, in replicationOnceArgs) (any, error) {
	d := in.definition()
	d.NoPull = !may(ctx, replicationWritePull)
	return nil, failed(x.tasks.RunOnce(ctx, h, d), "replication_run_onetime")
}

// Again starts a task whose run was interrupted, as a job of the program's own.
func (x *Replications) Again(ctx context.Context, task int64) error {
	arguments, err := json.Marshal([]any{task})
	if err != nil {
		return err
	}
	_, err = x.jobs.Start(ctx, jobs.Spec{
		Method: "replication.run", Arguments: arguments, Abortable: true, Logs: true, ReadRoles: []string{replicationRead}, Restart: true, Key: tasks.Key(task),
		Run: func(ctx context.Context, h *jobs.Handle) (any, error) {
			return nil, failed(x.tasks.Run(ctx, h, task, true), "")
		},
	})
	return err
}

// Changed tells clients what has become of a task.
func (x *Replications) Changed(ctx context.Context, c tasks.Change) {
	ev := Event{Name: "replication.query", Msg: c.Msg, ID: c.Entry.ID, Roles: []string{replicationRead, replicationWrite}}
	switch {
	case c.Msg == "removed":
	case c.State: // the job stands inside the state here (truenas-api.md 3.7)
		state := renderState(c.Entry.State)
		state["job"] = x.job(c.Entry.State)
		ev.Fields = map[string]any{"state": state}
	default:
		ev.Fields = x.render(ctx, c.Entry, false)
	}
	x.emit(ev)
}

// job is the job of a task's run, nil if it is not known any more.
func (x *Replications) job(s tasks.State) *JobObject {
	if s.Job == 0 {
		return nil
	}
	j, err := x.jobs.Get(s.Job)
	if err != nil {
		return nil
	}
	o := RenderJob(j)
	return &o
}

// connectionOf is the SSH connection of a task as its entry shows it; one that is gone is null.
func (x *Replications) connectionOf(ctx context.Context, id *int64, show bool) *credentialEntry {
	if id == nil {
		return nil
	}
	c, err := x.keychain.Get(ctx, *id)
	if err != nil {
		return nil
	}
	e := renderCredential(c, show)
	return &e
}
